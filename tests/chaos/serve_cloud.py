"""A server process of its own over a fake account elsewhere: `serve_cloud.py HOME PORT ACCOUNT_URL OPTIONS_JSON [KIND N]`.

With KIND and N it kills itself at the n-th boundary of that kind: before_create, after_create, before_terminate, after_terminate,
before_save, after_save.
"""

import contextlib
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import uvicorn
from runpod_fake import KEY

from kriptik.providers import runpod, runpod_api
from kriptik.providers.runpod import RunPodProvider
from kriptik.server.app import create_app
from kriptik.server.runs import reconciler
from kriptik.server.settings import Settings

home, port, account, options = sys.argv[1:5]
kind, number = (sys.argv[5], int(sys.argv[6])) if len(sys.argv) > 6 else (None, 0)
seen = Counter()


def spark(name):
    seen[name] += 1
    if name == kind and seen[name] == number:
        os.kill(os.getpid(), signal.SIGKILL)


class Fused(RunPodProvider):
    """RunPod's client, with the boundaries."""

    def create(self, spec):
        spark("before_create")
        made = super().create(spec)
        spark("after_create")
        return made

    def terminate(self, resource_id):
        spark("before_terminate")
        super().terminate(resource_id)
        spark("after_terminate")


runpod_api.LOG_IDLE_S, runpod.LISTING_S, runpod.SETTLE_S, reconciler.SWEEP_EVERY_S = 0.1, 0.2, 2.0, 0.3
provider = Fused(KEY, "counter:1", base_url=account, timeout_s=5)
settings = Settings.from_env(home=Path(home), port=int(port), **json.loads(options))
app = create_app(settings, providers={"runpod": provider})
plain = app.state.core.db.write


@contextlib.contextmanager
def write():
    spark("before_save")
    with plain() as session:
        yield session
    spark("after_save")


app.state.core.db.write = write
uvicorn.run(app, port=int(port), log_level="error", access_log=False, timeout_graceful_shutdown=1)
