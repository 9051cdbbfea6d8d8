"""A judge by rule behind an OpenAI-compatible endpoint on this machine: it marks, criticises, revises and compares.

`serving()` runs it in a process of its own and gives its address; `python judge_server.py` prints its port and serves.
"""

import json
import re
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def vowels(text):
    return sum(one in "aeiou" for one in text) / max(1, len(text))


def answer(messages):
    """Marks vowels, prefers the shorter answer, revises to the asked words in reverse."""
    last = messages[-1]["content"]
    if last.startswith("Mark an answer"):
        said = re.search(r"The answer:\n(.*)\n\nReply with", last, re.DOTALL)[1]
        return str(1 + round(9 * vowels(said)))
    if "Answer A:" in last:
        one, other = re.search(r"Answer A:\n(.*)\n\nAnswer B:\n(.*)\n\nReply with", last, re.DOTALL).groups()
        return "A" if len(one) <= len(other) else "B"
    if last.startswith("Rewrite"):
        asked = next(one["content"] for one in messages if one["role"] == "user")
        return " ".join(reversed(asked.removeprefix("Repeat in reverse: ").split())) + "."
    return "It is not what was asked for."


def echo(messages):
    """Says again what was answered first, as small models do when they are asked to revise."""
    return next(one["content"] for one in messages if one["role"] == "assistant")


MODELS = {"rule": answer, "weak": lambda messages: "I would rather not say.", "echo": echo, "keyed": answer, "locked": answer}
KEY = "open sesame"
USED = {"prompt_tokens": 100, "completion_tokens": 10}


def refused(model, headers):
    """The keyed one answers who has the key, the locked one nobody."""
    return model == "locked" or (model == "keyed" and headers.get("Authorization") != f"Bearer {KEY}")


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        no = refused(body["model"], self.headers)
        said = {"message": {"role": "assistant", "content": MODELS[body["model"]](body["messages"])}}
        found = json.dumps({"error": "no"} if no else {"choices": [said], "usage": USED}).encode()
        self.send_response(401 if no else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    def log_message(self, *arguments):
        pass


@contextmanager
def serving():
    """The endpoint's address."""
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
