"""Judges: what they say is on the disk before it is used and never asked twice; a judge that cannot judge is refused."""

import json

import judge_server
import lives
import proving
import pytest
import tiny

from kriptik.catalogue.constitution import constitution
from kriptik.engine.text.judges import FOLDER, Record
from kriptik.engine.train import train
from kriptik.spec.errors import KriptikError, WorkerError
from kriptik.spec.job import LoraSettings, StageSettings


@pytest.fixture(scope="module")
def url():
    with judge_server.serving() as address:
        yield address


def job_in(folder, url, model="rule", objective="grpo", count=6, **options):
    folder.mkdir(parents=True, exist_ok=True)
    settings = StageSettings(
        max_steps=6,
        micro_batch=2,
        accumulation=2,
        learning_rate=5e-3,
        schedule="constant",
        max_seq_len=128,
        packing=False,
        lora=LoraSettings(rank=4, alpha=8),
        objective={"judge": {"kind": "endpoint", "url": url, "model": model}, "max_new_tokens": 6, **options},
    )
    return tiny.tiny_job(folder, rows=tiny.chat_rows(count), objective=objective, settings=settings)


def asked(job):
    return (tiny.Path(job.run_dir) / FOLDER / "r0.jsonl").read_text().splitlines()


@pytest.mark.exactness
def test_a_resumed_run_replays_what_the_judge_said(tmp_path, url):
    """Frozen amid the updates of one set of answers; the judge is not asked again for what is on record."""

    def make(folder):
        return job_in(folder, url, reward="judge", group_size=4, iterations=2)

    said, job = proving.proved(make, tmp_path, at=3)
    rewards = proving.metrics(said, "rewardScore")
    assert all(0 <= one <= 1 for one in rewards) and len(set(rewards)) > 1
    keys = [json.loads(line)["key"] for line in asked(job)]
    assert len(keys) == len(set(keys)) and keys == [json.loads(line)["key"] for line in asked(make(tmp_path / "frozen"))]


def test_a_judge_without_numbers_is_refused(tmp_path, url):
    with pytest.raises(WorkerError, match="gave a number for 0 of"):
        train(job_in(tmp_path, url, "weak", reward="judge", group_size=2), lambda body: None, lives.toy.running)


def test_a_judge_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("kriptik.llm.chat.WAIT_S", 0.0)
    with pytest.raises(KriptikError, match="does not answer") as refused:
        train(job_in(tmp_path, "http://127.0.0.1:9/v1", reward="judge"), lambda body: None, lives.toy.running)
    assert refused.value.code == "model_not_answering"


def test_the_model_itself_may_judge(tmp_path):
    """A random model says no numbers: refused, but it was asked, with the adapter off."""
    job = job_in(tmp_path, "", reward="judge", group_size=2)
    settings = job.stages[0].settings
    own = settings.model_copy(update={"objective": {**settings.objective, "judge": {"kind": "reference", "max_tokens": 4}}})
    job = job.model_copy(update={"stages": [job.stages[0].model_copy(update={"settings": own})]})
    with pytest.raises(WorkerError, match="gave a number"):
        train(job, lambda body: None, lives.toy.running)
    assert len(asked(job)) > 1


def test_a_torn_line_is_cut_off(tmp_path):
    record = Record(tmp_path / "r0.jsonl")
    record.add("a", "one")
    record.add("b", "two")
    whole = record.path.read_bytes()
    record.path.write_bytes(whole + b'{"key": "c", "ans')
    again = Record(record.path)
    assert (again.get("a"), again.get("b"), again.get("c")) == ("one", "two", None)
    assert record.path.read_bytes() == whole


@pytest.mark.exactness
def test_revisions_are_made_once_and_learnt(tmp_path, url):
    job = job_in(tmp_path, url, objective="causal_lm", rows="revisions", count=12)
    code, said = lives.live(job)
    assert code == 0
    rows = [json.loads(line) for line in (tiny.Path(job.run_dir) / "made/s0-train.jsonl").read_text().splitlines()]
    assert [row["messages"] for row in rows] == [row["messages"] for row in tiny.chat_rows(12)], "the judge revises by the rule"
    assert said[-1]["trainSeconds"] > 0 and len(asked(job)) == 24


@pytest.mark.exactness
def test_a_run_frozen_while_rows_are_made_goes_on_with_them(tmp_path, url):
    straight = job_in(tmp_path / "straight", url, objective="dpo", rows="judged_pairs", count=12)
    assert lives.live(straight)[0] == 0
    job = job_in(tmp_path / "frozen", url, objective="dpo", rows="judged_pairs", count=12)
    outcome = train(job, lambda body: None, lives.toy.Wish(2))
    assert (outcome.state, outcome.checkpoint_id, outcome.step) == ("frozen", None, 0)
    early = asked(job)
    assert 0 < len(early) < len(asked(straight))
    assert lives.live(job.model_copy(update={"generation": 2}))[0] == 0
    assert asked(job)[: len(early)] == early and len(asked(job)) == len(asked(straight))
    assert lives.final_tensors(job.run_dir) == lives.final_tensors(straight.run_dir)


@pytest.mark.parametrize(("objective", "rows"), [("causal_lm", "revisions"), ("dpo", "judged_pairs")])
def test_a_judge_too_weak_to_revise_or_choose_is_refused(tmp_path, url, objective, rows):
    """It says the same to everything: as a revision that is a change, so the trap is the judge that repeats the answer."""
    job = job_in(tmp_path, url, "weak", objective=objective, rows=rows, count=20, principles=["Be kind."])
    if rows == "revisions":
        settings = job.stages[0].settings
        told = {**settings.objective, "judge": {"kind": "endpoint", "url": url, "model": "echo"}}
        stage = job.stages[0].model_copy(update={"settings": settings.model_copy(update={"objective": told})})
        job = job.model_copy(update={"stages": [stage]})
    with pytest.raises(WorkerError, match=r"in \d+ of 16 rows") as refused:
        train(job, lambda body: None, lives.toy.running)
    assert refused.value.code == "judge_too_weak"


def test_principles_are_data():
    shipped = constitution()
    assert {one.id for one in shipped} == {"harmless", "honest", "helpful", "fair"}
    (own,) = constitution(["Never name prices."])
    assert all("Never name prices." in text for text in (own.critique, own.revision, own.comparison))
    with pytest.raises(KriptikError, match="principles"):
        constitution([{"id": "x"}])
