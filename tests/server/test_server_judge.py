"""A judge chosen by a person, from the plan to the end of the run: what is refused before, and what it is paid.

The last three train for real: the worker asks a judge over HTTP, and what that costs stands in the run's ledger.
"""

import json
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from harness import Server, until
from typer.testing import CliRunner

from kriptik.cli.main import app
from kriptik.llm.purse import Purse
from kriptik.providers.local import LocalProvider
from kriptik.server import planning
from kriptik.spec.budget import asked_file
from kriptik.spec.errors import KriptikError
from kriptik.store import ledger

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))
import judge_server
import tiny

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
ASK = "Train SmolLM2 135M by RLAIF for our chat, budget $2"
PRICE = {"inputUsdPerMillion": 10, "outputUsdPerMillion": 50}
A_CALL = Decimal("0.0015")
"""What the judge of these tests uses in a call, at that price."""


@pytest.fixture(autouse=True)
def rlaif_trains(monkeypatch):
    """Whether it is proved on this checkout is the conformance suite's business."""
    real = planning.method_statuses

    def statuses():
        mine = {"status": "trainable", "reason": None, "capabilities": ["text_generation", "chat", "custom", "code_generation"]}
        return [one.model_copy(update=mine) if one.id in ("lora", "rlaif") else one for one in real()]

    monkeypatch.setattr(planning, "method_statuses", statuses)


@pytest.fixture(scope="module")
def url():
    with judge_server.serving() as address:
        yield address


def rows_in(folder, count=40):
    path = folder / "prompts.jsonl"
    turns = [(f"How do I fix pipe {i}, model {i * 7}?", f"Turn valve {i * 13} left, then wait {i} minutes.") for i in range(count)]
    rows = [{"messages": [{"role": "user", "content": one}, {"role": "assistant", "content": other}]} for one, other in turns]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def planned(server, tmp_path, prompt=ASK):
    with rows_in(tmp_path).open("rb") as file:
        dataset = server.api("POST", "/data", 201, files={"file": ("prompts.jsonl", file)})
    return server.api("POST", "/parse-intent", json={"prompt": prompt, "context": {"existingData": dataset["id"]}})["plan"]


def told(server, plan, value, status=200, tile="method"):
    edit = {"modification": {"type": "custom_value", "value": value}}
    return server.api("PUT", f"/plans/{plan['id']}/tiles/{tile}", status, json=edit)


def approve(server, plan, status=200, budget=2):
    body = {"budgetAuthorization": {"maxBudget": budget, "termsAccepted": True}}
    return server.api("POST", f"/plans/{plan['id']}/approve", status, json=body)


def test_a_judge_is_chosen_shown_and_kept_without_its_key(server, tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "open sesame")
    plan = planned(server, tmp_path)
    assert plan["choices"]["method"] == "rlaif" and plan["choices"].get("judge") is None
    judge = {"model": "qwen3-32b", "url": "https://judges.example.com/v1", "keyEnv": "JUDGE_KEY", **PRICE}
    edited = told(server, plan, {"judge": judge, "principles": "Be kind.\nhonest"})
    kept = server.api("GET", f"/plans/{plan['id']}")["plan"]
    assert kept["choices"]["judge"]["keyEnv"] == "JUDGE_KEY" and kept["choices"]["principles"] == ["Be kind.", "honest"]
    assert kept["estimate"]["judgeUsd"]["likely"] > 0 and "open sesame" not in json.dumps(kept)
    (tile,) = (one for one in edited["plan"]["tiles"] if one["category"] == "method")
    assert "qwen3-32b at https://judges.example.com/v1" in tile["description"] and edited["affectedTiles"] == ["method", "budget"]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"judge": {"model": "m", "url": "http://169.254.169.254/latest"}}, "bad_judge_url"),
        ({"judge": {"model": "m", "url": "https://judges.example.com/v1"}}, "judge_price_unknown"),
        ({"judge": {"model": "m", "url": "https://judges.example.com/v1", "keyEnv": "sk-secret", **PRICE}}, "bad_judge_key"),
        ({"judge": {"model": "m", "url": "https://judges.example.com/v1", "keyEnv": "KRIPTIK_SECRET", **PRICE}}, "bad_judge_key"),
        ({"rollouts": "sglang"}, "unknown_rollouts"),
        ({"principles": ["x" * 501]}, "bad_principles"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_of_it_is_kept(server, tmp_path, value, code):
    plan = planned(server, tmp_path)
    refused = told(server, plan, value, 422)
    assert refused["code"] == code and refused["nextStep"] and "sk-secret" not in json.dumps(refused)
    assert server.api("GET", f"/plans/{plan['id']}")["plan"]["choices"] == plan["choices"]


def test_a_judge_for_a_method_that_has_none_is_a_contradiction(server, tmp_path):
    plan = planned(server, tmp_path, "Quick fine-tune SmolLM2 by LoRA for our customer support, budget $1")
    refused = told(server, plan, {"judge": "claude-opus-4-8"}, 422)
    assert refused["code"] == "no_judge" and "rlaif" in refused["nextStep"]


def test_without_the_key_of_its_judge_no_run_is_made(server, tmp_path, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    plan = planned(server, tmp_path)
    told(server, plan, {"judge": "claude-opus-4-8"})
    refused = approve(server, plan, 409)
    assert refused["code"] == "judge_key_missing" and "ANTHROPIC_API_KEY" in refused["detail"]
    assert server.api("GET", "/jobs")["jobs"] == []


def test_without_vllm_no_run_is_made_that_samples_by_it(server, tmp_path, monkeypatch):
    monkeypatch.delenv("KRIPTIK_VLLM", raising=False)
    plan = planned(server, tmp_path)
    told(server, plan, {"rollouts": "vllm"})
    assert approve(server, plan, 409)["code"] == "no_vllm"


def test_what_a_judge_was_paid_is_posted_once_and_counts_as_spent(server):
    job = server.train(steps=500, knobs={"stepS": 0.05}, cap="5")
    core = server.core
    for total in ("0.2", "0.2", "0.15", "0.5"):
        with core.db.write() as session:
            ledger.judged(session, job, 1, Decimal(total), core.clock())
    receipt = server.api("GET", f"/jobs/{job}/ledger")
    rows = [row for row in receipt["entries"] if row["kind"] == "judge"]
    assert [row["amount"] for row in rows] == [0.2, 0.3] and {row["credit"] for row in rows} == {"judge"}
    assert server.job(job)["currentSpend"] == pytest.approx(0.5)
    with core.db.write() as session:
        ledger.judged(session, job, 2, Decimal("4.4"), core.clock())
    core.bus.wake(job)
    assert server.wait(job, "frozen")["freezeState"]["reason"] == "budget"
    server.api("POST", f"/jobs/{job}/stop")
    server.wait(job, "stopped")


@pytest.fixture
def real(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    provider = LocalProvider(tmp_path / "local", Decimal(0))
    made = Server(tmp_path / "home", provider, threads=1)
    monkeypatch.setenv("KRIPTIK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KRIPTIK_URL", f"http://127.0.0.1:{made.port}")
    folder = made.core.cache_dir / "models" / BASE.replace("/", "--")
    folder.parent.mkdir(parents=True, exist_ok=True)
    tiny.tiny_model(folder)
    (folder / "kriptik.json").write_text(json.dumps({"id": BASE, "source": "test", "sha256": "0" * 64}))
    yield made
    made.stop()
    alive = [one.name for one in provider.list_own("kt-") if one.status == "running"]
    for name in alive:
        provider.terminate(name)
    assert not alive, "something still bills"


def answers_of(server, job):
    return (server.core.run_dir(job) / "asked" / "r0.jsonl").read_text().splitlines()


@pytest.mark.chaos
def test_the_command_line_takes_a_paid_judge_to_the_end_of_a_run(real, tmp_path, url, monkeypatch):
    """Every answer that was asked for is paid, no more and no less, and nothing that was handed out holds the key."""
    monkeypatch.setenv("JUDGE_KEY", judge_server.KEY)
    options = ["--data", str(rows_in(tmp_path)), "--edit", "use 2 steps", "--edit", "use batch size 2"]
    judge = f"keyed at {url}, key in JUDGE_KEY, for $10/$50"
    (tmp_path / "rules.txt").write_text("Be kind.\nhelpfulness\n")
    options += ["--judge", judge, "--principle", str(tmp_path / "rules.txt")]
    said = CliRunner().invoke(app, ["train", ASK, "--budget", "2", "--yes", "--detach", *options])
    assert said.exit_code == 0, (said.output, said.exception)
    (job,) = real.api("GET", "/jobs")["jobs"]
    ended = real.wait(job["id"], "completed", limit_s=120)
    calls = len(answers_of(real, job["id"]))
    receipt = real.api("GET", f"/jobs/{job['id']}/ledger")
    paid = sum(Decimal(str(row["amount"])) for row in receipt["entries"] if row["kind"] == "judge")
    assert calls >= 2 * 2 * 8 and paid == calls * A_CALL and ended["currentSpend"] == pytest.approx(float(paid))
    handed = (real.core.run_dir(job["id"]) / "jobs" / "g1.json").read_text()
    assert judge_server.KEY not in handed and "Be kind." in handed and '"key_env": "JUDGE_KEY"' in handed
    assert "helpful" in handed and "harmless" not in json.dumps(json.loads(handed)["stages"])


@pytest.mark.chaos
def test_a_judge_that_refuses_ends_the_run_with_its_reason(real, tmp_path, url):
    plan = planned(real, tmp_path)
    told(real, plan, {"judge": {"model": "locked", "url": url, **PRICE}})
    told(real, plan, {"maxSteps": 2}, tile="config")
    job = approve(real, plan)["jobId"]
    failed = until(lambda: (found := real.job(job))["state"] == "failed" and found, 120)
    assert failed["failure"]["code"] == "model_not_answering" and "status 401" in failed["failure"]["message"]
    assert failed["currentSpend"] == 0, "who turns away is not paid"


@pytest.mark.chaos
def test_a_judge_is_paid_up_to_the_cap_and_the_run_goes_on_with_more(real, tmp_path, url):
    """At $0.0015 a call the first budget is used up on the way; what was answered is not asked again."""
    plan = planned(real, tmp_path)
    told(real, plan, {"judge": {"model": "rule", "url": url, **PRICE}})
    told(real, plan, {"maxSteps": 3, "batchSize": 2}, tile="config")
    job = approve(real, plan, budget=0.1)["jobId"]
    frozen = real.wait(job, "frozen", limit_s=120)
    assert frozen["freezeState"]["reason"] == "budget" and 0 < frozen["currentSpend"] <= 0.1
    first = answers_of(real, job)
    assert len(first) * A_CALL == Decimal(str(frozen["currentSpend"]))
    real.api("POST", f"/jobs/{job}/resume", json={"newBudget": 5})
    ended = real.wait(job, "completed", limit_s=120)
    said = answers_of(real, job)
    assert said[: len(first)] == first and len({json.loads(line)["key"] for line in said}) == len(said)
    assert ended["currentSpend"] == pytest.approx(float(len(said) * A_CALL))
    files = [asked_file(real.core.run_dir(job), number) for number in (1, 2)]
    assert sum(Purse(file, Decimal(0)).spent() for file in files) == len(said) * A_CALL


def test_the_command_line_says_what_is_wrong_with_a_judge(server, tmp_path, monkeypatch):
    monkeypatch.setenv("KRIPTIK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KRIPTIK_URL", f"http://127.0.0.1:{server.port}")
    said = CliRunner().invoke(app, ["plan", ASK, "--judge", "m at http://8.8.8.8/v1"])
    assert isinstance(said.exception, KriptikError) and said.exception.code == "bad_judge_url"
    told = CliRunner().invoke(app, ["plan", ASK, "--judge", "claude-opus-4-8", "--json"])
    assert json.loads(told.output)["plan"]["choices"]["judge"]["keyEnv"] == "ANTHROPIC_API_KEY"
