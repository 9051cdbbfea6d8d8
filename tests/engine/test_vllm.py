"""Rollouts by vLLM: the weights that answer are the trainer's, its numbers are corrected for, a resumed run gets the same answers.

Against a stand-in that speaks vLLM's wire format; against the real one where `KRIPTIK_TEST_VLLM` names its environment's Python.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import psutil
import pytest
import torch
from tiny import chat_rows, tiny_job, tiny_model
from toy import Wish

from kriptik.engine import stage
from kriptik.engine.modalities.text import Text
from kriptik.engine.text import vllm
from kriptik.engine.text.rollouts import Rollouts, trust
from kriptik.engine.train import train
from kriptik.spec.errors import WorkerError
from kriptik.spec.events import Desired, Metrics
from kriptik.spec.job import LoraSettings, StageSettings

REAL = os.environ.get("KRIPTIK_TEST_VLLM", "")
RULE = {"reward": "verifier", "verifier": "share", "pattern": "[aeiou]", "group_size": 4, "max_new_tokens": 8, "doctor": 0}


@pytest.fixture(autouse=True)
def served(monkeypatch):
    if REAL:
        for name, value in {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}.items():
            monkeypatch.setenv(name, value)
    else:
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "standin"))
    monkeypatch.setenv(vllm.PYTHON, REAL or sys.executable)


def job_of(root, adaptation="lora", steps=4, temperature=1.0, **more):
    settings = StageSettings(
        micro_batch=4, max_steps=steps, learning_rate=2e-2, max_seq_len=64, packing=False, checkpoint_every=2,
        lora=LoraSettings(rank=8, alpha=16, targets="all-linear"),
        objective={**RULE, "rollouts": "vllm", "temperature": temperature, **more},
    )  # fmt: skip
    if not (root / "base").exists():
        tiny_model(root / "base", hidden=128)  # vLLM's attention knows heads of 32 and more
    return tiny_job(root, rows=chat_rows(12), adaptation=adaptation, objective="grpo", settings=settings)


def opened(job):
    run = stage.load(job, Text)
    return stage.open_stage(run, 0, None)[0]


def answers(session, rows=3, count=4, temperature=1.0):
    with session.quiet():
        prompts = session.rows.encoded[:rows]
        return session.objective.rollouts.of(prompts, session, count=count, longest=8, temperature=temperature)


def test_it_answers_as_the_trainer_would(tmp_path):
    """Greedy answers alike, and the log-probabilities of sampled ones, with weights that have moved and at another temperature."""
    session = opened(job_of(tmp_path, temperature=0.7))
    with torch.no_grad():
        for name, one in session.bundle.trainee.named_parameters():
            if "lora_B" in name:
                one.add_(0.1 * torch.randn_like(one))
    try:
        greedy = answers(session, count=1, temperature=0.0)
        here = Rollouts().of(session.rows.encoded[:3], session, count=1, longest=8, temperature=0.0)
        assert [one.fields["ids"] for one in greedy] == [one.fields["ids"] for one in here]
        assert "log_probs" not in greedy[0].fields
        made = answers(session, temperature=0.7)
        assert len(made) == 12 and len({tuple(one.fields["ids"]) for one in made}) > 6
        for at, one in enumerate(made):
            asked = session.rows.encoded[at // 4].fields["ids"]
            assert one.fields["ids"][: len(asked)] == asked and len(one.fields["log_probs"]) == sum(one.fields["learnt"])
        micro = session.modality.collate(session.bundle, [[one] for one in made], 0, 0)
        micro.extra["temperature"] = 0.7
        with session.quiet():
            past, mask = session.modality.token_log_probs(session.runtime.forward(micro), micro)
        found = trust(made, past)
        assert float((found["gap"] * mask).max()) < 1e-3
        assert float((found["trust"] - 1).abs().mul(mask).max()) < 1e-3
    finally:
        session.objective.rollouts.end()


def test_the_newest_weights_answer_at_every_step_and_the_reward_rises(tmp_path):
    job, said = job_of(tmp_path, steps=6), []
    train(job, said.append, lambda: Desired(version=1))
    steps = [body for body in said if isinstance(body, Metrics)]
    assert all(body.custom["sampler_gap"] < 1e-3 for body in steps)
    assert sum(one.reward_score for one in steps[-2:]) > sum(one.reward_score for one in steps[:2])
    kept = sorted(path.name for path in (Path(job.run_dir) / vllm.FOLDER).glob("adapter-*"))
    assert kept == ["adapter-s0-000005"], "what was shown before is gone"
    if not REAL:
        seen = [json.loads(line) for line in (tmp_path / "seen.jsonl").read_text().splitlines()]
        assert [one["name"] for one in seen] == [f"s0-{step:06d}" for step in range(6)]
        assert len({one["sha256"] for one in seen}) == 6


def final(job, outcome):
    folder = Path(job.run_dir) / "checkpoints" / outcome.checkpoint_id
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.safetensors")}


def test_a_run_that_is_resumed_is_given_the_same_answers(tmp_path):
    """Trained to the end, then again from its second step as after a kill: what was sampled since is on record."""
    job = job_of(tmp_path, steps=4)
    whole = train(job, lambda body: None, lambda: Desired(version=1))
    record = Path(job.run_dir) / vllm.FOLDER
    before = {path.name: path.read_bytes() for path in record.glob("*.jsonl")}
    again = job.model_copy(update={"resume_from": "s0-000002-g1", "generation": 2})
    resumed = train(again, lambda body: None, lambda: Desired(version=1))
    assert final(job, whole) == final(job, resumed)
    assert {path.name: path.read_bytes() for path in record.glob("*.jsonl")}.items() >= dict(list(before.items())[-2:]).items()


def test_frozen_and_resumed_it_goes_on(tmp_path):
    job = job_of(tmp_path, steps=4)
    frozen = train(job, lambda body: None, Wish(3))
    assert frozen.state == "frozen"
    again = job.model_copy(update={"resume_from": frozen.checkpoint_id, "generation": 2})
    assert train(again, lambda body: None, lambda: Desired(version=1)).state == "completed"


@pytest.mark.parametrize("adaptation", ["dora", "full"])
def test_what_vllm_cannot_hold_is_refused(tmp_path, adaptation):
    with pytest.raises(WorkerError) as refused:
        train(job_of(tmp_path, adaptation=adaptation), lambda body: None, lambda: Desired(version=1))
    assert refused.value.code == "unfit_for_vllm" and "LoRA" in refused.value.next_step


def test_without_an_environment_it_says_so(tmp_path, monkeypatch):
    monkeypatch.delenv(vllm.PYTHON)
    with pytest.raises(WorkerError) as refused:
        train(job_of(tmp_path), lambda body: None, lambda: Desired(version=1))
    assert refused.value.code == "no_vllm" and vllm.PYTHON in refused.value.next_step


def test_a_server_that_does_not_start_or_is_gone_is_named(tmp_path, monkeypatch):
    session = opened(job_of(tmp_path))
    answers(session, rows=1)
    (server,) = [one for one in psutil.Process().children() if "api_server" in " ".join(one.cmdline())]
    server.kill()
    with pytest.raises(WorkerError) as gone:
        answers(session, rows=2)
    assert gone.value.code == "vllm_silent"
    session.objective.rollouts.end()
    with monkeypatch.context() as broken:
        broken.setattr(vllm, "DTYPES", {"fp32": "float31"})
        with pytest.raises(WorkerError) as unstarted:
            answers(session, rows=2)
    assert unstarted.value.code == "vllm_not_started" and "float31" in unstarted.value.sentence
    assert not [one for one in psutil.Process().children() if "api_server" in " ".join(one.cmdline())]


def test_a_killed_worker_leaves_no_server(tmp_path):
    job = job_of(tmp_path)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        session = opened(job)
        answers(session, rows=1)
        servers = [one.pid for one in psutil.Process().children() if "api_server" in " ".join(one.cmdline())]
        os.write(writing, json.dumps(servers).encode())
        os.kill(os.getpid(), 9)
    os.close(writing)
    os.waitpid(child, 0)
    (server,) = json.loads(os.read(reading, 1000))
    _gone, alive = psutil.wait_procs([psutil.Process(server)] if psutil.pid_exists(server) else [], timeout=30)
    assert not alive
