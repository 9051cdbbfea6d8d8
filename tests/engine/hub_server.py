"""A hub on the loopback that speaks the real one's wire format: repositories, file lists, preupload, LFS batch, commits.

`refuse[step]` is a status answered instead at that step (create, list, preupload, batch, put, commit); `slow` holds a step back.
"""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    def __init__(self, token):
        self.token = token
        self.repos, self.private, self.blobs, self.seen = {}, {}, {}, []
        self.refuse, self.slow = {}, {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                return

            def do_POST(self):
                hub.answer(self)

            do_GET = do_PUT = do_POST

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def answer(self, request):
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        step = self.step(request.path)
        self.seen.append((step, request.path))
        threading.Event().wait(self.slow.get(step, 0))
        if step in self.refuse:
            return self.say(request, self.refuse[step], {"error": "refused"})
        if step != "put" and request.headers.get("authorization") != f"Bearer {self.token}":
            return self.say(request, 401, {"error": "Invalid credentials"})
        return getattr(self, step)(request, body)

    def step(self, path):
        for step, part in (
            ("create", "/repos/create"), ("preupload", "/preupload/"), ("batch", "/lfs/objects/batch"),
            ("commit", "/commit/"), ("put", "/blob/"), ("validate", "/validate-yaml"),
        ):  # fmt: skip
            if part in path:
                return step
        return "list"

    def say(self, request, status, body):
        data = json.dumps(body).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def create(self, request, body):
        told = json.loads(body)
        name = f"{told['organization']}/{told['name']}"
        status = 409 if name in self.repos else 200
        self.repos.setdefault(name, {".gitattributes": b""})
        self.private[name] = told.get("visibility") == "private" or told.get("private")
        more = {"error": "You already created this repo"} if status == 409 else {}
        self.say(request, status, {"url": f"{self.url}/{name}", **more})

    def validate(self, request, body):
        self.say(request, 200, {"warnings": [], "errors": []})

    def list(self, request, body):
        name = "/".join(request.path.split("?")[0].split("/")[3:5])
        files = [{"type": "file", "path": path, "oid": "0" * 40, "size": len(data)} for path, data in self.repos[name].items()]
        about = {"id": name, "sha": "0" * 40, "siblings": [{"rfilename": file["path"]} for file in files]}
        self.say(request, 200, files if "/tree/" in request.path else about)

    def preupload(self, request, body):
        told = [
            {"path": one["path"], "uploadMode": "lfs" if one["size"] > 100_000 else "regular", "shouldIgnore": False, "oid": None}
            for one in json.loads(body)["files"]
        ]
        self.say(request, 200, {"files": told})

    def batch(self, request, body):
        told = [
            {"oid": one["oid"], "size": one["size"], "actions": {"upload": {"href": f"{self.url}/blob/{one['oid']}"}}}
            for one in json.loads(body)["objects"]
        ]
        self.say(request, 200, {"transfer": "basic", "objects": told})

    def put(self, request, body):
        oid = request.path.rsplit("/", 1)[1]
        if hashlib.sha256(body).hexdigest() != oid:
            return self.say(request, 400, {"error": "damaged"})
        self.blobs[oid] = body
        return self.say(request, 200, {})

    def commit(self, request, body):
        repo = "/".join(request.path.split("/")[3:5])
        for line in filter(None, body.split(b"\n")):
            told = json.loads(line)
            value = told["value"]
            if told["key"] == "file":
                self.repos[repo][value["path"]] = base64.b64decode(value["content"])
            elif told["key"] == "lfsFile":
                self.repos[repo][value["path"]] = self.blobs[value["oid"]]
        self.say(request, 200, {"success": True, "commitOid": "1" * 40, "commitUrl": f"{self.url}/{repo}/commit/{'1' * 40}"})
