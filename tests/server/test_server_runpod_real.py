"""The real engine on rented machines: frozen, resumed on another one, and bit for bit what an undisturbed run gives."""

import hashlib
import sys
from pathlib import Path

import pytest
from cloud import PRICE, Cloud
from harness import until
from test_server_real_worker import start

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))
import tiny

pytestmark = pytest.mark.chaos


@pytest.mark.timeout(280)
def test_a_run_moved_to_another_machine_ends_like_a_quiet_one(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = Cloud(tmp_path, monkeypatch, image="worker:1", lease_s=10, checkpoint_s=3, teardown_s=5)
    try:
        tiny.tiny_model(tmp_path / "base")
        facts = {"gpu": "RTX4090", "price_per_hour": PRICE + 1}
        moved = start(made.server, tmp_path, provider="runpod", facts=facts, epochs=2)
        until(lambda: made.step(moved) >= 6, 120)
        made.server.api("POST", f"/jobs/{moved}/freeze")
        made.server.wait(moved, "frozen", limit_s=60)
        made.server.api("POST", f"/jobs/{moved}/resume", json={"newBudget": 6})
        quiet = start(made.server, tmp_path, provider="runpod", facts=facts, epochs=2)
        made.server.wait(quiet, "completed", limit_s=120)
        done = made.server.wait(moved, "completed", limit_s=120)
        assert done["generation"] == 2 and done["inexactResumes"] == 0
        assert weights(made, moved) == weights(made, quiet)
    finally:
        made.close()


def weights(made, job_id):
    file = made.server.core.run_dir(job_id) / "result" / "adapter" / "adapter_model.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest()
