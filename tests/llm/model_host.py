"""A host on the loopback that answers as Anthropic's Messages API (streamed) and as an OpenAI-compatible endpoint do.

`replies` are taken in turn: a text, or a dict {text, stop, status, body, wait_s, raw}. `asked` keeps what was sent.
"""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUSY = b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}'


class ModelHost:
    def __init__(self):
        self.replies, self.asked = [], []
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                host.asked.append((self.path, dict(self.headers), body))
                reply = host.replies.pop(0)
                reply = {"text": reply} if isinstance(reply, str) else reply
                time.sleep(reply.get("wait_s", 0))
                if status := reply.get("status"):
                    self._send(status, "application/json", reply.get("body", BUSY))
                elif "raw" in reply:
                    self._send(200, "application/json", reply["raw"])
                elif self.path.endswith("/messages"):
                    self._send(200, "text/event-stream", claude(reply).encode())
                else:
                    self._send(200, "application/json", json.dumps(compatible(reply)).encode())

            def _send(self, status, kind, payload):
                try:
                    self.send_response(status)
                    self.send_header("content-type", kind)
                    self.send_header("content-length", str(len(payload)))
                    self.end_headers()
                    self.wfile.write(payload)
                except OSError:  # the caller gave up, as the slow cases want
                    pass

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


def claude(reply):
    """The event stream of one message with a thinking block before its text."""
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-4-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 900, "output_tokens": 1},
    }
    used = {"output_tokens": 700, "output_tokens_details": {"thinking_tokens": 500}}
    events = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Which methods reach it?"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sig"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": reply["text"]}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": reply.get("stop", "end_turn"), "stop_sequence": None}, "usage": used},
        {"type": "message_stop"},
    ]
    return "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events)


def compatible(reply):
    """A chat completion."""
    refused = reply.get("stop") == "refusal"
    message = {"role": "assistant", "content": None if refused else reply["text"], "refusal": reply["text"] if refused else None}
    details = {"reasoning_tokens": 500}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 900, "completion_tokens": 700, "completion_tokens_details": details},
    }


@contextmanager
def model_host():
    host = ModelHost()
    thread = threading.Thread(target=host.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        host.server.shutdown()
        host.server.server_close()
        thread.join(5)
