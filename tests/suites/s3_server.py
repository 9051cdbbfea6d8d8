"""A real S3 server on a loopback port (moto's), and buckets in it."""

import contextlib
import uuid

import httpx
from moto.server import ThreadedMotoServer


@contextlib.contextmanager
def s3_server():
    """Gives its address."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def new_bucket(url, monkeypatch):
    """A bucket, and the usual variables that lead to it."""
    named = {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "REGION": "us-east-1", "ENDPOINT_URL": url, "ALLOW_HTTP": "true"}
    for name, value in named.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    bucket = f"b-{uuid.uuid4().hex[:12]}"
    httpx.put(f"{url}/{bucket}", trust_env=False, timeout=60).raise_for_status()
    return bucket
