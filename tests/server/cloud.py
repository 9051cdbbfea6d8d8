"""A server whose runs go to RunPod: real client code, a fake account that runs real workers, prices high enough to see."""

import sys
from decimal import Decimal
from pathlib import Path

from counter_pod import expected
from harness import Server, add_run
from runpod_fake import KEY, FakeRunPod
from runpod_http import RunPodServer

from kriptik.providers import runpod, runpod_api
from kriptik.providers.runpod import RunPodProvider
from kriptik.server.runs import reconciler

SUITES = Path(__file__).resolve().parents[1] / "suites"
SRC = Path(runpod.__file__).resolve().parents[2]
IMAGES = {"counter:1": [sys.executable, str(SUITES / "counter_pod.py")], "worker:1": [sys.executable, "-m", "kriptik.worker.pod"]}
PRICE = Decimal("36")
"""Dollars per hour and GPU: a cent a second."""


class Cloud:
    """Account, its HTTP, the provider and the server. `close()` holds everything to account."""

    def __init__(self, tmp_path, monkeypatch, image="counter:1", clock=None, **settings):
        monkeypatch.setattr(runpod_api, "LOG_IDLE_S", 0.1)
        monkeypatch.setattr(runpod, "LISTING_S", 0.2)
        monkeypatch.setattr(reconciler, "SWEEP_EVERY_S", 0.3)
        images = {}
        for name, command in IMAGES.items():
            images[name] = (command, {"PYTHONPATH": str(SRC), "KRIPTIK_WORK_DIR": "."})
        self.account = FakeRunPod(tmp_path / "pods", images, **({"clock": clock} if clock else {}))
        self.account.prices["NVIDIA GeForce RTX 4090"] = (PRICE, PRICE)
        self.http = RunPodServer(self.account)
        self.provider = RunPodProvider(KEY, image, base_url=self.http.url, timeout_s=5)
        options = {"teardown_s": 2, "checkpoint_s": 1, "bill_settle_s": 0, "storage_price_per_gb_month": 0, **settings}
        self.server = Server(tmp_path / "home", self.provider, {"runpod": self.provider}, **options)

    def run(self, steps=60, cap="5", price=None, knobs=None, **more):
        """An approved run on one RTX 4090."""
        authorised = price or PRICE + Decimal("0.01")
        facts = {"gpu": "RTX4090", "price_per_hour": authorised}
        return add_run(self.server.core, steps, cap, knobs or {}, provider="runpod", facts=facts, **more)

    def result(self, job_id):
        return (self.server.core.run_dir(job_id) / "result" / "state.json").read_text()

    def step(self, job_id):
        job = self.server.job(job_id)
        assert job["state"] != "failed", job["failure"]
        return (job.get("metrics") or {}).get("step", 0)

    def close(self):
        self.server.stop()
        try:
            self.http.check()
        finally:
            self.http.close()


__all__ = ["PRICE", "Cloud", "expected"]
