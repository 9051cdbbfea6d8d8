"""A hub, a viewer, arXiv and a web search on the loopback, speaking the real ones' wire formats.

`files` are the repository's (name → bytes); `lie` changes what is sent for one; `refuse[path part]` is a status answered instead.
`models` are base models (id → facts of /api/models); `granted` those whose terms were accepted; `moved` renamed ones.
"""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SHA = "5f0c2a1e9d3b4c7f8a6e5d4c3b2a19080706f5e4"
FEED = """<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>http://arxiv.org/abs/2401.00001v2</id><updated>2024-02-01T09:30:00Z</updated>
<title>A Dataset of
 Roof Repairs</title><summary>We collect 10,000 questions about roofs.</summary></entry></feed>"""


class DataHub:
    def __init__(self):
        self.files, self.lie, self.refuse, self.asked, self.feed = {}, {}, {}, [], FEED
        self.token = ""
        self.models, self.granted, self.moved, self.last = {}, set(), {}, ""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                hub.asked.append((self.path, dict(self.headers)))
                hub.last = self.path
                status, kind, body = hub.answer(urlsplit(self.path), parse_qs(urlsplit(self.path).query), self.headers)
                try:
                    self.send_response(status)
                    self.send_header("content-type", kind)
                    self.send_header("content-length", str(len(body)))
                    if status == 307:
                        self.send_header("location", body.decode())
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:  # the caller had enough, as it must with what is too long
                    pass

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, url, query, headers):
        for part, status in self.refuse.items():
            if part in url.path:
                return status, "application/json", b'{"error": "refused"}'
        if self.token and headers.get("authorization") != f"Bearer {self.token}" and "/datasets" in url.path:
            return 401, "application/json", b'{"error": "Invalid credentials"}'
        if url.path.startswith("/api/models/"):
            return self.model(url.path.removeprefix("/api/models/"), headers)
        if url.path == "/api/datasets":
            return self.json([self.about()])
        if url.path.startswith("/api/datasets/"):
            return self.json(self.about(blobs="blobs" in query))
        if url.path == "/splits":
            return self.json({"splits": [{"config": "default", "split": "test"}, {"config": "default", "split": "train"}]})
        if url.path == "/first-rows":
            return self.json({"features": [], "rows": [{"row_idx": 0, "row": {"question": "Why?", "answer": "So."}}]})
        if "/resolve/" in url.path:
            name = url.path.partition(f"/resolve/{SHA}/")[2]
            body = self.lie.get(name, self.files.get(name))
            return (200, "application/octet-stream", body) if body is not None else (404, "text/plain", b"")
        if url.path == "/api/query":
            return 200, "application/atom+xml", self.feed.encode()
        if url.path == "/search":
            return self.json({"results": [{"url": "https://example.org/roofs", "title": "Roofs", "content": "Many roofs"}]})
        if url.path == "/res/v1/web/search":
            found = {"results": [{"url": "https://example.org/roofs", "title": "Roofs", "description": "Many roofs"}]}
            return self.json({"web": found})
        return 404, "application/json", b"{}"

    def model(self, name, headers):
        name, _, _asked = name.partition("/auth-check")
        if name in self.moved:
            return 307, "text/plain", f"/api/models/{self.moved[name]}".encode()
        signed = headers.get("authorization") == f"Bearer {self.token}" if self.token else "authorization" in headers
        if name not in self.models or (self.models[name].get("private") and not signed):
            return (404 if signed else 401), "application/json", b'{"error": "Repository not found"}'
        if "auth-check" in self.last:
            return (200 if signed and name in self.granted else 403 if signed else 401), "application/json", b"{}"
        return self.json({"id": name, "sha": SHA, "gated": False, "private": False, **self.models[name]})

    def about(self, blobs=True):
        siblings = [{"rfilename": "README.md"}]
        for name, body in self.files.items():
            facts = {"size": len(body), "lfs": {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}} if blobs else {}
            siblings.append({"rfilename": name, **facts})
        return {
            "id": "firm/roofs",
            "sha": SHA,
            "downloads": 1234,
            "likes": 12,
            "gated": False,
            "lastModified": "2025-05-04T12:00:00.000Z",
            "description": "Questions and answers about roofs, collected by a firm over ten years of work on them.",
            "cardData": {"license": "cc-by-4.0"},
            "tags": ["license:cc-by-4.0", "language:en", "size_categories:1K<n<10K"],
            "siblings": siblings,
        }

    @staticmethod
    def json(value):
        return 200, "application/json", json.dumps(value).encode()


@contextmanager
def data_hub():
    hub = DataHub()
    thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.server.shutdown()
        hub.server.server_close()
        thread.join(5)
