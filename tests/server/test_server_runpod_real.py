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

from kriptik.server.runs import jobfile
from kriptik.spec.catalogue import Point
from kriptik.spec.job import Stage, StageSettings

pytestmark = pytest.mark.chaos


@pytest.mark.timeout(600)
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


@pytest.mark.timeout(600)
def test_a_reward_model_goes_along(tmp_path, monkeypatch):
    """PPO on a rented machine asks the reward model that an earlier run left here; the machine cannot read this one's disk."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = Cloud(tmp_path, monkeypatch, image="worker:1", lease_s=10, checkpoint_s=3, teardown_s=5)
    try:
        tiny.tiny_model(tmp_path / "base")
        reward = made.server.core.run_dir("01EARLIER") / "result" / "model"
        reward.parent.mkdir(parents=True)
        tiny.tiny_reward_model(reward)
        settings = StageSettings(
            micro_batch=4, max_steps=2, max_seq_len=64, objective={"max_new_tokens": 4, "reward_model": str(reward)}
        )
        point = Point(adaptation="lora", objective="ppo", strategy="single", options={"reward": "reward_model"})
        stage = Stage(index=0, name="PPO", method="rlhf_ppo", point=point, settings=settings)
        facts = {"gpu": "RTX4090", "price_per_hour": PRICE + 1}
        run = start(made.server, tmp_path, provider="runpod", facts=facts, stage=stage)
        until(lambda: list((tmp_path / "pods").rglob("reward/0/config.json")), 120)
        (there,) = (tmp_path / "pods").rglob("jobs/g1.json")
        assert str(reward) not in there.read_text(), "its job names its own copy"
        assert str(reward) in jobfile.path(made.server.core.run_dir(run), 1).read_text()
        made.server.wait(run, "completed", limit_s=200)
    finally:
        made.close()


def weights(made, job_id):
    file = made.server.core.run_dir(job_id) / "result" / "adapter" / "adapter_model.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest()
