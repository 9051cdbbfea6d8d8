"""Checkpoints on disk, the lock, stages, and what goes wrong."""

import errno
import json
import math
import os
import shutil
from pathlib import Path

import pytest
import torch
import toy

from kriptik.engine import checkpoint, lock
from kriptik.engine.checkpoint import Checkpoints, Shards
from kriptik.engine.interfaces import Bundle, MicroBatch, OptimizerSpec, ParamGroup, Update
from kriptik.engine.packed import pack, settled, unpack, update_from_plain, update_to_plain
from kriptik.engine.strategies.single import SingleRuntime
from kriptik.engine.train import MOST_DROPPED, train
from kriptik.server.runs import artefacts
from kriptik.spec.errors import WorkerError


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    toy.install(monkeypatch)


def go(job, control=toy.running):
    said = []
    return train(job, said.append, control, toy.Toy), said


def of(said, kind):
    return [body for body in said if body.type == kind]


def frozen(folder, asked=6, **settings):
    job = toy.job_in(folder, **settings)
    outcome, _ = go(job, toy.Wish(asked))
    assert outcome.state == "frozen"
    return job.model_copy(update={"generation": 2, "resume_from": outcome.checkpoint_id}), outcome


def make(store, name, **facts):
    store.begin(name)
    store.write(name, 0, Shards({"model": {"w": torch.ones(3)}}, {"step": 1}))
    return store.commit(name, {"stage": 0, "step": 1, "reason": "interval", **facts})


def test_the_server_reads_what_the_engine_writes(tmp_path):
    _, outcome = frozen(tmp_path)
    assert artefacts.committed(tmp_path) == [outcome.checkpoint_id]
    assert artefacts.sound(tmp_path, outcome.checkpoint_id)
    facts = artefacts.facts(tmp_path, outcome.checkpoint_id)
    assert (facts["stage"], facts["step"]) == (outcome.stage, outcome.step)


@pytest.mark.parametrize("file", ["model-r0.safetensors", "optimizer-r0.safetensors", "state-r0.json"])
def test_one_flipped_byte_is_refused(tmp_path, file):
    job, outcome = frozen(tmp_path)
    path = tmp_path / "checkpoints" / outcome.checkpoint_id / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(WorkerError, match=file):
        go(job)


@pytest.mark.parametrize("name", ["s0-000099-g1", "../elsewhere", ""])
def test_a_checkpoint_that_is_not_there(tmp_path, name):
    with pytest.raises(WorkerError) as caught:
        go(toy.job_in(tmp_path).model_copy(update={"resume_from": name}))
    assert caught.value.code == "bad_checkpoint"


def test_unfinished_ones_are_swept_and_say_so(tmp_path):
    (tmp_path / "checkpoints" / "s0-000001-g1").mkdir(parents=True)
    _, said = go(toy.job_in(tmp_path))
    assert not (tmp_path / "checkpoints" / "s0-000001-g1").exists()
    assert any("1 unfinished" in body.message for body in of(said, "log"))


@pytest.mark.parametrize("place", ["write_tensors", "write_json", "mark"])
def test_a_full_disk_leaves_no_half_checkpoint(tmp_path, monkeypatch, place):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, place, full)
    with pytest.raises(WorkerError) as caught:
        go(toy.job_in(tmp_path, checkpoint_every=2))
    assert caught.value.code == "disk_full" and "No space left" in caught.value.sentence
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_the_mark_is_create_only(tmp_path):
    store = Checkpoints(tmp_path)
    make(store, "s0-000001-g1")
    with pytest.raises(FileExistsError):
        checkpoint.mark(tmp_path / "checkpoints" / "s0-000001-g1")
    assert store.name(0, 1, 1) == "s0-000001-g1-2"


def test_kept_are_the_last_two_the_best_ends_and_the_start(tmp_path):
    store = Checkpoints(tmp_path)
    reasons = {3: {"reason": "stage_end"}, 2: {"evalLoss": 0.5}, 4: {"evalLoss": 0.9}}
    for step in range(1, 9):
        made = make(store, f"s0-{step:06d}-g1", **reasons.get(step, {}))
        os.utime(store.folder / made.id / "_COMPLETE", (step, step))
    store.retain(["s0-000005-g1", None])
    assert store.ids() == [f"s0-{step:06d}-g1" for step in (2, 3, 5, 7, 8)]


def test_only_what_differs_from_the_base_is_saved(tmp_path):
    _, outcome = frozen(tmp_path)
    saved = Checkpoints(tmp_path).tensors(outcome.checkpoint_id, "model")
    assert {"first.weight", "first.bias", "second.weight", "second.bias", "seen"} == set(saved)
    other, outcome = frozen(tmp_path / "b", asked=0)
    assert outcome.step == 0
    assert "seen" not in Checkpoints(other.run_dir).tensors(outcome.checkpoint_id, "model")


def test_freezing_twice_in_one_place_writes_nothing(tmp_path):
    job, outcome = frozen(tmp_path)
    again, said = go(job, toy.Wish(0))
    assert (again.state, again.checkpoint_id) == ("frozen", outcome.checkpoint_id)
    assert of(said, "checkpoint") == []


def test_stopped(tmp_path):
    outcome, said = go(toy.job_in(tmp_path), toy.Wish(7, "stopped"))
    assert outcome.state == "stopped" and of(said, "checkpoint")[-1].reason == "stop"


def test_the_lock_wins_and_is_written_once(tmp_path):
    job, _ = frozen(tmp_path)
    before = (tmp_path / "run.lock").read_bytes()
    settings = job.stages[0].settings.model_copy(update={"micro_batch": 4, "epochs": 9.0})
    changed = job.model_copy(update={"stages": [job.stages[0].model_copy(update={"settings": settings})]})
    outcome, said = go(changed)
    assert outcome.step == 12 and of(said, "metrics")[-1].total_steps == 12
    assert (tmp_path / "run.lock").read_bytes() == before


@pytest.mark.parametrize("allowed", [True, False])
def test_another_stack_is_inexact(tmp_path, allowed):
    job, _ = frozen(tmp_path)
    old = lock.read(tmp_path)
    lock.write(tmp_path, old.model_copy(update={"torch": "1.0"}), replace=True)
    job = job.model_copy(update={"allow_inexact": allowed})
    if not allowed:
        with pytest.raises(WorkerError, match=r"torch was '1\.0'"):
            go(job)
        return
    _, said = go(job)
    assert next(body for body in of(said, "worker") if body.state == "restored").exact is False
    assert any("torch was '1.0'" in body.message for body in of(said, "log"))


def test_stages_follow_one_another(tmp_path):
    straight = toy.job_in(tmp_path / "a", stages=2)
    outcome, said = go(straight)
    assert (outcome.state, outcome.stage) == ("completed", 1)
    told = [(body.index, body.status) for body in of(said, "stage")]
    assert told == [(0, "started"), (0, "completed"), (1, "started"), (1, "completed")]
    assert of(said, "result")[0].eval_before.stage == 0 and of(said, "result")[0].eval_after.stage == 1
    lines = [(body.stage, body.step, body.loss) for body in of(said, "metrics")]

    job = toy.job_in(tmp_path / "b", stages=2)
    job.stages[1].requires_approval = True
    outcome, early = go(job)
    assert outcome.state == "awaiting_approval"
    job = job.model_copy(update={"resume_from": outcome.checkpoint_id, "generation": 2})
    assert go(job)[0].state == "awaiting_approval", "an approval is the server's to give"
    job.stages[1].requires_approval = False
    outcome, middle = go(job, toy.Wish(9))
    assert (outcome.state, outcome.stage) == ("frozen", 1) and 0 < outcome.step < 12
    _, late = go(job.model_copy(update={"resume_from": outcome.checkpoint_id, "generation": 3}))
    assert [(b.stage, b.step, b.loss) for b in of(early + middle + late, "metrics")] == lines
    ends = [
        next(c for c in Checkpoints(one.run_dir).ids()[::-1] if c.startswith("s1-000012")) for one in (straight, job)
    ]
    one, other = (Checkpoints(j.run_dir).tensors(c, "model") for j, c in zip((straight, job), ends, strict=True))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_row_that_breaks_the_gradient_is_named_and_gives_up_in_the_end(tmp_path):
    job = toy.job_in(tmp_path, micro_batch=22, accumulation=1, epochs=9, samples=False)
    path = tmp_path / "train.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[5]["y"] = 1e38
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = []
    with pytest.raises(WorkerError) as caught:
        train(job, said.append, toy.running, toy.Toy)
    assert caught.value.code == "not_finite"
    dropped = [body for body in of(said, "log") if "was dropped" in body.message]
    assert len(dropped) == MOST_DROPPED and " 5" in dropped[0].message
    alarms = of(said, "alarm")
    assert len(alarms) == MOST_DROPPED and {alarm.kind for alarm in alarms} == {"not_finite"}
    kept = json.loads((Path(job.run_dir) / alarms[0].file).read_text())
    assert {"row": 5, **rows[5]} in kept["data"], "the rows are there to be looked at"


def test_a_dropped_update_changes_nothing():
    job_net = toy.PlainNet()
    names = [name for name, _ in job_net.named_parameters()]
    runtime = SingleRuntime(Bundle(job_net), toy.Toy(None), OptimizerSpec([ParamGroup(names)]))
    before = {name: one.detach().clone() for name, one in job_net.named_parameters()}
    for one in job_net.parameters():
        one.grad = torch.full_like(one, float("nan"))
    assert math.isnan(runtime.step(0.1, 1.0))
    assert all(one.grad is None for one in job_net.parameters())
    assert all(torch.equal(before[name], one) for name, one in job_net.named_parameters())
    assert runtime.state()[0] == {}


def test_updates_survive_packing():
    micro = MicroBatch({"x": torch.randn(3, 4).t(), "n": [1, 2]}, {"m": (torch.ones(1, dtype=torch.bool), None)}, 2.5, [4], 9)
    update = Update([micro], {"lp": torch.randn(2, dtype=torch.bfloat16), "k": {3: "x"}}, False)
    tensors = {}
    packed = json.loads(json.dumps(pack(update_to_plain(update), tensors, "queue")))
    back = update_from_plain(unpack(packed, checkpoint.separate(tensors), torch.device("cpu")))
    assert torch.equal(back.micros[0].inputs["x"], micro.inputs["x"]) and back.micros[0].inputs["x"].is_contiguous()
    assert torch.equal(back.state["lp"], update.state["lp"]) and back.state["k"] == {3: "x"}
    assert back.micros[0].extra["m"][1] is None and back.fresh is False and back.weight == 2.5
    assert settled(update).micros[0].inputs["x"].is_contiguous()
    with pytest.raises(WorkerError):
        pack({"bad": object()}, {}, "x")


def test_a_swept_folder_can_be_gone_already(tmp_path):
    store = Checkpoints(tmp_path)
    make(store, "s0-000001-g1")
    shutil.rmtree(store.folder)
    assert store.ids() == [] and store.sweep() == []
