"""A real HTTP server on loopback that speaks the worker protocol and can be told to misbehave. It keeps what it stores."""

import gzip
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WorkerServer:
    """Stores events by (generation, seq), acknowledges the highest contiguous one. `next_answers` is a list of misbehaviours."""

    def __init__(self, port=0):
        self.events, self.batches, self.acks, self.calls = {}, [], [], []
        self.lock = threading.Condition()
        self.desired = {"version": 0, "state": "running", "reason": "", "requests": []}
        self.lease_s, self.stop_at = 30.0, None
        self.next_answers = []
        self.let_go = threading.Event()
        self.fenced = self.away = False
        self.refuse_types = set()
        self.start(port)

    def start(self, port):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.handle(self, None)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.handle(self, gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)

        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_: None  # workers are killed in mid-call here
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self):
        self.let_go.set()
        with self.lock:
            self.lock.notify_all()
        self.http.shutdown()
        self.http.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def want(self, state, reason="asked", version=None):
        with self.lock:
            version = self.desired["version"] + 1 if version is None else version
            self.desired = {**self.desired, "version": version, "state": state, "reason": reason}
            self.lock.notify_all()

    def ack_seq(self):
        seq = 0
        while seq + 1 in self.events:
            seq += 1
        return seq

    def bodies(self, kind=None):
        found = [self.events[seq]["body"] for seq in sorted(self.events)]
        return [body for body in found if kind in (None, body["type"])]

    def handle(self, request, body):
        path = request.path.split("/generations/")[1].split("/", 1)[1]
        self.calls.append((request.command, path, request.headers.get("authorization")))
        special = None
        with self.lock:
            if self.next_answers and path == "events":
                special = self.next_answers.pop(0)
        if special == "hang":
            self.let_go.wait(60)
        if self.away or special == "hang up":
            request.close_connection = True
            request.connection.close()
            return
        if self.fenced:
            self.send(request, 409, {"code": "stale_generation"})
        elif special is not None and special[0] == "status":
            self.send(request, special[1], {"code": special[2]} if len(special) > 2 else {})
        elif path == "events":
            self.take(request, json.loads(body)["events"], special)
        elif path == "desired/ack":
            self.acks.append(json.loads(body))
            self.send(request, 200, self.lease())
        else:
            query = dict(part.split("=") for part in path.partition("?")[2].split("&"))
            with self.lock:
                newer = lambda: self.desired["version"] > int(query["since"]) or self.away  # noqa: E731
                self.lock.wait_for(newer, min(float(query["wait"]), 1.0))
            self.send(request, 200, self.lease())

    def take(self, request, events, special):
        if any(event["body"]["type"] in self.refuse_types for event in events):
            self.send(request, 422, {"code": "invalid_input", "detail": "this event cannot be stored"})
            return
        self.batches.append([event["seq"] for event in events])
        for event in events:
            if special == "forget" and event["seq"] > 1:
                continue
            before = self.events.setdefault(event["seq"], event)
            assert before == event, "one number, two events"
        if special == "lose the answer":
            request.close_connection = True
            request.connection.close()
            return
        self.send(request, 200, self.lease())

    def lease(self):
        left = None if self.stop_at is None else max(0.0, self.stop_at - time.monotonic())
        return {"ackSeq": self.ack_seq(), "leaseS": self.lease_s, "hardStopInS": left, "desired": self.desired}

    def money_for(self, seconds):
        self.stop_at = time.monotonic() + seconds

    def send(self, request, status, answer):
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)
