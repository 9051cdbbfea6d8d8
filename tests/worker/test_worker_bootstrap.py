"""A plain image becomes a worker: source from a real server on loopback, nothing installed that is there, given back on failure."""

import http.server
import io
import os
import subprocess
import sys
import tarfile
import threading
from importlib import metadata
from pathlib import Path

import pytest

from kriptik.server import source
from kriptik.worker import bootstrap

SCRIPT = Path(bootstrap.__file__).read_text()
POD = "import os, kriptik.worker; print('worker up in', os.path.dirname(kriptik.worker.__file__))"


def packed(requirements):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as made:
        for name, text in {"kriptik/__init__.py": "", "kriptik/worker/__init__.py": "", "kriptik/worker/pod.py": POD,
                           "requirements.txt": "\n".join(requirements)}.items():  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(text)
            made.addfile(info, io.BytesIO(text.encode()))
    return sink.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append((self.path, self.headers["Authorization"]))
        body = self.server.body
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_DELETE(self):
        self.server.seen.append((self.path, self.headers["Authorization"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.seen, made.body = [], packed([])
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def boot(server, folder):
    """As a container does: the script comes by the environment."""
    url = f"http://127.0.0.1:{server.server_port}"
    env = {
        "PATH": os.environ["PATH"],
        "KRIPTIK_BOOTSTRAP": SCRIPT,
        "KRIPTIK_JOB_URL": f"{url}/job",
        "KRIPTIK_WORKER_TOKEN": "t0ken",
        "KRIPTIK_WORK_DIR": str(folder),
        "KRIPTIK_END_URL": url + "/v2/pods/{POD}",
        "KRIPTIK_END_TOKEN_VARIABLE": "POD_KEY",
        "POD": "pod7",
        "POD_KEY": "podkey",
    }
    command = [sys.executable, "-c", "import os; exec(os.environ['KRIPTIK_BOOTSTRAP'])"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_a_plain_image_runs_the_servers_own_worker(server, tmp_path):
    server.body = packed([f"pytest=={metadata.version('pytest')}"])
    done = boot(server, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"worker up in {tmp_path}/kriptik-source/kriptik/worker" in done.stdout
    assert "Installing" not in done.stdout, "what the image holds is not fetched"
    assert server.seen == [("/job/source", "Bearer t0ken")]


@pytest.mark.parametrize("body", [b"", b"no archive"])
def test_what_cannot_become_a_worker_gives_the_machine_back(server, tmp_path, body):
    server.body = body
    done = boot(server, tmp_path)
    assert done.returncode == 1 and "Giving the machine back" in done.stdout
    assert server.seen[-1] == ("/v2/pods/pod7", "Bearer podkey")


def test_only_what_is_missing_is_installed():
    assert bootstrap.missing(["pytest==0.1", "no-such-package-here==1.2"]) == ["no-such-package-here==1.2"]


def test_the_source_is_whole_small_and_pinned(tmp_path):
    data = source.archive()
    bootstrap.unpack(data, tmp_path)
    lines = (tmp_path / "requirements.txt").read_text().split()
    assert f"torch=={metadata.version('torch').split('+')[0]}" in lines and not any(line.startswith("fastapi") for line in lines)
    assert not (tmp_path / "kriptik" / "server").exists() and len(data) < 3_000_000
    probe = "import kriptik.worker.pod, kriptik.worker.__main__, kriptik; print(kriptik.__file__)"
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", probe], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == str(tmp_path / "kriptik" / "__init__.py"), done.stderr
