"""The fake account on a loopback port. Every request and every answer is held to the OpenAPI document.

What breaks it is answered with 422 and noted in `violations`, which a test must find empty at its end.
"""

import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from openapi_check import Contract, runpod_document

TITLES = {400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found", 409: "Conflict",
          422: "Unprocessable Entity", 429: "Too Many Requests", 500: "Internal Server Error", 503: "Unavailable"}  # fmt: skip
DOCUMENT, OFFICIAL = runpod_document()


class RunPodDesk:
    """Answers requests of the account, without any socket. `handle` is all there is to call.

    `lose(operation, n)`: carried out, but the answer never comes. `fail(operation, status, n)`: not carried out.
    `twice(operation, n)`: carried out two times, the second answer comes.
    Operations: list, create, get, delete, action, logs, catalog, billing.
    """

    def __init__(self, account):
        self.account, self.contract = account, Contract(DOCUMENT)
        self.violations, self.calls = [], Counter()
        self.losing, self.doubling, self.failing = Counter(), Counter(), {}
        self.per_minute = None
        self._minute = [None, 0]

    def lose(self, operation, count=1):
        self.losing[operation] += count

    def fail(self, operation, status, count=1, retry_after=None):
        self.failing[operation] = [status, count, retry_after]

    def twice(self, operation, count=1):
        self.doubling[operation] += count

    def handle(self, method, target, authorization, raw=b""):
        """(status, headers, body), or None where the answer is lost on its way."""
        parts = urlsplit(target)
        path, query = parts.path, dict(parse_qsl(parts.query, keep_blank_values=True))
        operation, pod_id = _operation(method, path)
        asked = (authorization.removeprefix("Bearer "), method, operation, pod_id, path, query, raw)
        self.calls[operation] += 1
        status, body, headers = self._decide(*asked)
        if self.doubling[operation] > 0 and status < 400:
            self.doubling[operation] -= 1
            status, body, headers = self._decide(*asked)
        if operation == "logs" and status == 200:
            return 200, {"Content-Type": "text/event-stream"}, self._log(path, body)
        if self.losing[operation] > 0 and status < 400:
            self.losing[operation] -= 1
            return None
        return self._checked(method, path, status, body, headers)

    def check(self):
        """Nothing broke the contract; nothing is left; nobody else's was touched."""
        assert not self.violations, self.violations
        self.account.check()

    def _decide(self, token, method, operation, pod_id, path, query, raw):
        pod = self.account.pods.get(pod_id)
        whole = token in self.account.keys
        if not whole and not (pod is not None and token == pod.own_key):
            return self._problem(401, "missing or unknown bearer token")
        if operation in self.failing and self.failing[operation][1] > 0:
            failing = self.failing[operation]
            failing[1] -= 1
            return self._problem(failing[0], "as the test wants it", failing[2])
        if self._over_limit():
            return self._problem(429, "rate limit exceeded for the minute window", 5)
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            return self._problem(400, "the body is not JSON")
        wrong = self.contract.request(method, path, query, body)
        if wrong:
            self.violations.append((method, path, wrong))
            return self._problem(422, "Request validation failed.")
        return getattr(self, f"_{operation}")(pod_id, query, body)

    def _list(self, _pod_id, _query, _body):
        return 200, {"pods": [self.account.show(pod) for pod in self.account.listed()]}, {}

    def _create(self, _pod_id, _query, body):
        status, answer = self.account.create(body)
        return (status, answer, {}) if status == 201 else self._problem(status, answer)

    def _get(self, pod_id, _query, _body):
        self.account.look()
        pod = self.account.pods.get(pod_id)
        return (200, self.account.show(pod), {}) if pod else self._problem(404, "pod not found")

    def _delete(self, pod_id, _query, _body):
        return (204, None, {}) if self.account.delete(pod_id) else self._problem(404, "pod not found")

    def _action(self, pod_id, _query, body):
        pod = self.account.pods.get(pod_id)
        if pod is None:
            return self._problem(404, "pod not found")
        if body["action"] == "terminate":
            self.account.delete(pod_id)
            return 204, None, {}
        return self._problem(409, f"{body['action']} is not valid now: there are not enough free GPUs on the host machine")

    def _logs(self, pod_id, query, _body):
        pod = self.account.pods.get(pod_id)
        if pod is None:
            return self._problem(404, "pod not found")
        lines = pod.log.read_text(errors="replace").splitlines() if pod.log.exists() else []
        tail = int(query.get("tail", 100))
        return 200, lines[-tail:] if tail else [], {}

    def _catalog(self, _pod_id, query, _body):
        if "include" in query and "product" not in query:
            return self._problem(400, "product is required with include")
        return 200, {"gpus": self.account.catalog(query.get("cloud"))}, {}

    def _billing(self, _pod_id, query, _body):
        now = self.account.clock().isoformat()
        span = {"startTime": datetime.fromisoformat(query["startTime"]).isoformat(), "endTime": now}
        asked = query.get("podId")
        bills = {pod_id: float(amount) for pod_id, amount in self.account.bills().items() if asked in (None, pod_id)}
        records = [{**span, "podId": pod_id, **_amounts(amount)} for pod_id, amount in bills.items()]
        named = {"podId": asked} if asked else {}
        meta = {"query": {**span, "bucketSize": query.get("bucketSize", "day"), **named}, "recordCount": len(records),
                "uniquePodCount": len(records), "totals": _amounts(sum(bills.values()))}  # fmt: skip
        return 200, {"records": records, "metadata": meta}, {}

    def _unknown(self, *_):
        return self._problem(404, "no such path")

    def _problem(self, status, detail, retry_after=None):
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return status, {"title": TITLES.get(status, "Error"), "status": status, "detail": detail}, headers

    def _over_limit(self):
        minute = int(datetime.now(UTC).timestamp() // 60)
        if self._minute[0] != minute:
            self._minute = [minute, 0]
        self._minute[1] += 1
        return self.per_minute is not None and self._minute[1] > self.per_minute

    def _checked(self, method, path, status, body, headers):
        kind = "application/json" if status < 400 else "application/problem+json"
        wrong = self.contract.answer(method, path, status, kind, body)
        if wrong:
            self.violations.append((method, path, status, wrong))
        kinds = {} if body is None else {"Content-Type": kind}
        data = b"" if body is None else json.dumps(body).encode()
        return status, {**headers, "RateLimit-Policy": '"minute";q=60;w=60', **kinds}, data

    def _log(self, path, lines):
        """The log as an event stream."""
        wrong = self.contract.answer("GET", path, 200, "text/event-stream", "id: x")
        if wrong:
            self.violations.append(("GET", path, 200, wrong))
        found = b""
        for number, line in enumerate(lines):
            data = json.dumps({"ts": "2026-06-01T12:02:03Z", "source": "container", "line": line})
            found += f"id: 2026-06-01T12:02:03Z/{number:012d}\ndata: {data}\n\n".encode()
        return found


class RunPodServer(RunPodDesk):
    """The desk on a loopback port."""

    def __init__(self, account):
        super().__init__(account)
        self.log_open_s = 5.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def do_GET(self):
                outer.serve(self)

            do_POST = do_DELETE = do_PATCH = do_PUT = do_GET

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.account.close()

    def serve(self, handler):
        size = int(handler.headers.get("Content-Length") or 0)
        raw = handler.rfile.read(size) if size else b""
        found = self.handle(handler.command, handler.path, handler.headers.get("Authorization", ""), raw)
        if found is None:
            handler.close_connection = True
            handler.connection.close()
            return
        status, headers, data = found
        stream = headers.get("Content-Type") == "text/event-stream"
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if stream:
            handler.send_header("Connection", "close")
        elif status != 204:
            handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)
        if stream:  # it stays open, as RunPod's does
            handler.wfile.flush()
            time.sleep(self.log_open_s)
            handler.close_connection = True


def _amounts(amount):
    return {"totalAmount": amount, "gpuAmount": amount, "cpuAmount": 0, "diskAmount": 0}


def _operation(method, path):
    parts = path.strip("/").split("/")[1:]
    match (method, parts):
        case ("GET", ["pods"]):
            return "list", None
        case ("POST", ["pods"]):
            return "create", None
        case ("GET", ["pods", pod_id]):
            return "get", pod_id
        case ("DELETE", ["pods", pod_id]):
            return "delete", pod_id
        case ("POST", ["pods", pod_id, "action"]):
            return "action", pod_id
        case ("GET", ["pods", pod_id, "logs"]):
            return "logs", pod_id
        case ("GET", ["catalog", "gpus"]):
            return "catalog", None
        case ("GET", ["billing", "pods"]):
            return "billing", None
    return "unknown", None
