"""The real worker under the real server: probe, training, a freeze, a resume, a killed worker and a restarted server in one run.

The end is bit for bit that of a run which nobody disturbed; the test session answers from the trained weights.
"""

import hashlib
import json
import os
import signal
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from harness import Server, until

from kriptik.providers.local import LocalProvider
from kriptik.server.runs.launch import RunFacts, launch
from kriptik.spec.base import new_id
from kriptik.spec.budget import BudgetAuthorization
from kriptik.spec.catalogue import Point
from kriptik.spec.job import SamplePrompt, Stage, StageSettings
from kriptik.store.tables import ContractRow, TrainingPlan

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))
import tiny

pytestmark = pytest.mark.chaos


@pytest.fixture
def real(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    provider = LocalProvider(tmp_path / "local", Decimal(6))
    server = Server(tmp_path / "home", provider, threads=1, local_price_per_hour="6", teardown_s=5, checkpoint_s=2, lease_s=10)
    tiny.tiny_model(tmp_path / "base")
    yield server
    server.stop()
    alive = [r.name for r in provider.list_own("kt-") if r.status == "running"]
    for name in alive:
        provider.terminate(name)
    assert not alive, "something still bills"


def start(server, root, cap="5", provider="local", facts=None, epochs=3, stage=None):
    data = tiny.write_rows(root / "train.jsonl", tiny.chat_rows(60))
    held = tiny.write_rows(root / "eval.jsonl", tiny.chat_rows(12, seed=4))
    data = data.model_copy(update={"eval_path": held.train_path, "eval_rows": 12})
    settings = StageSettings(micro_batch=1, epochs=epochs, learning_rate=3e-3, max_seq_len=64, checkpoint_every=20, eval_every=60)
    point = Point(adaptation="lora", objective="causal_lm", strategy="single")
    stage = stage or Stage(index=0, name="Fine-tune", method="lora", point=point, settings=settings)
    core, now, plan_id = server.core, server.core.clock(), new_id()
    prompt = SamplePrompt(messages=[{"role": "user", "content": "Repeat in reverse: json text"}], expected="text json.")
    with core.db.write() as session:
        contract = ContractRow(id=new_id(), user_id=core.owner_id, version=1, locked=True, body={}, created_at=now)
        session.add(contract)
        session.flush()
        kept = {"user_id": core.owner_id, "contract": {}, "plan": {}, "status": "approved", "created_at": now, "updated_at": now}
        session.add(TrainingPlan(id=plan_id, contract_id=contract.id, **kept))
        session.flush()
        job = launch(
            session,
            core,
            user_id=core.owner_id,
            plan_id=plan_id,
            name="Real",
            provider=provider,
            base_model=str(root / "base"),
            stages=[stage],
            data=data,
            authorization=BudgetAuthorization(max_budget=cap, terms_accepted=True),
            now=now,
            facts=RunFacts(prompt="train", capability="chat", modality="text", method="lora", samples=[prompt], **(facts or {})),
        )
    return job.id


def weights(server, job_id):
    file = server.core.run_dir(job_id) / "result" / "adapter" / "adapter_model.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest()


def step_of(server, job_id):
    job = server.job(job_id)
    assert job["state"] != "failed", job["failure"]
    return (job.get("metrics") or {}).get("step", 0)


def worker_pid(server, job_id):
    number = server.job(job_id)["generation"]
    return json.loads((server.core.run_dir(job_id) / "events" / f"g{number}.worker.json").read_text())["pid"]


def ready(server, session_id):
    session = server.api("GET", f"/test/sessions/{session_id}")
    assert session["state"] in ("starting", "ready"), session
    return session["state"] == "ready"


@pytest.mark.timeout(600)
def test_a_disturbed_run_ends_like_a_quiet_one(real, tmp_path):
    quiet = start(real, tmp_path)
    done = real.wait(quiet, "completed", limit_s=120)
    assert done["probe"]["learns"] and done["result"]["evalAfter"]["loss"] < done["result"]["evalBefore"]["loss"]

    job = start(real, tmp_path)
    until(lambda: step_of(real, job) >= 15, 90)
    real.api("POST", f"/jobs/{job}/freeze")
    frozen = real.wait(job, "frozen", limit_s=60)
    assert frozen["freezeState"]["checkpoint"] and frozen["budget"]["spendRate"] == 0
    real.api("POST", f"/jobs/{job}/resume", json={"newBudget": 6})
    until(lambda: step_of(real, job) > frozen["metrics"]["step"] + 22, 90)
    os.kill(worker_pid(real, job), signal.SIGKILL)
    until(lambda: real.job(job)["generation"] == 3, 60)
    real.restart()
    ended = real.wait(job, "completed", limit_s=150)

    assert weights(real, job) == weights(real, quiet)
    assert ended["inexactResumes"] == 0 and ended["generation"] == 3
    assert ended["result"]["evalAfter"]["loss"] == done["result"]["evalAfter"]["loss"]
    assert ended["currentSpend"] < 6

    session = real.api("POST", "/test/deploy", json={"jobId": job})
    until(lambda: ready(real, session["id"]), 60)
    asked = {"sessionId": session["id"], "request": {"textPrompt": "Repeat in reverse: json text", "maxTokens": 8}}
    both = real.api("POST", "/test/compare", json=asked)
    assert both["base"]["metadata"]["weights"] != both["tuned"]["metadata"]["weights"]
    real.api("DELETE", f"/test/sessions/{session['id']}")

    export = real.api("POST", f"/jobs/{job}/exports", 201, json={"formats": ["adapter", "merged", "ollama"], "ggufType": "q8_0"})
    until(lambda: real.api("GET", f"/jobs/{job}/exports/{export['id']}")["state"] not in ("waiting", "working"), 90)
    written = real.api("GET", f"/jobs/{job}/exports/{export['id']}")
    assert written["state"] == "done", written
    assert [check["name"] for check in written["result"]["parity"]] == ["template", "merged", "gguf_template", "gguf", "modelfile"]
    exported = next(f for f in written["result"]["files"] if f["path"].endswith("adapter/adapter_model.safetensors"))
    assert exported["sha256"] == weights(real, job), "what is exported is what the run ended with"
    until(lambda: not [r for r in real.provider.list_own("kt-") if r.status == "running"], 30)
