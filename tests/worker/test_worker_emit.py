"""The emitter: at most a line of metrics a second, nothing thinned silently, numbers that JSON can carry."""

import json
import logging
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_worker import metrics

from kriptik.spec.events import CheckpointCommitted, CurrentSample, EvalResult, Log, Metrics
from kriptik.worker.emit import CAP_BYTES, MOST_TEXT, Emitter, heard, merged, sane
from kriptik.worker.spool import Spool


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "g1.jsonl", 1)


def bodies(spool, kind=None):
    found = [json.loads(line)["body"] for line in spool.read(0, 5000, 1 << 30)]
    return [body for body in found if kind in (None, body["type"])]


def checkpoint():
    facts = {"checkpoint_id": "s0-1", "stage": 0, "step": 1, "bytes": 1, "manifest_sha256": "0" * 64, "seconds": 0.1}
    return CheckpointCommitted(**facts, reason="interval")


def sample(n):
    return CurrentSample.model_validate({"index": n, "content": f"row {n}", "source": "rows"} | _needed(n))


def _needed(n):
    known = CurrentSample.model_fields
    return {name: n for name in ("stage", "step") if name in known}


def test_a_second_of_steps_is_one_line(spool, clock):
    emit = Emitter(spool, clock=clock)
    for n in range(1, 41):
        emit(metrics(n, 40))
        clock.now += 0.125
    emit.finish()
    lines = bodies(spool, "metrics")
    assert [line["step"] for line in lines] == [1, 9, 17, 25, 33, 40]
    assert sum(line["tokens"] for line in lines) == 400, "no token is lost in between"
    assert lines[1]["loss"] == pytest.approx(sum(1 / n for n in range(2, 10)) / 8)


def test_metrics_go_before_what_follows_them(spool, clock):
    emit = Emitter(spool, clock=clock)
    for n in (1, 2, 3):
        emit(metrics(n, 9))
    emit(checkpoint())
    assert [(b["type"], b.get("step")) for b in bodies(spool)] == [("metrics", 1), ("metrics", 3), ("checkpoint", 1)]


def test_what_waits_is_let_go_by_the_clock(spool, clock):
    emit = Emitter(spool, machine=lambda: {"cpu_utilization": 50.0}, clock=clock)
    emit(metrics(1, 9))
    emit(metrics(2, 9))
    emit.tick()
    assert len(bodies(spool)) == 1
    clock.now += 1
    emit.tick()
    assert [b["step"] for b in bodies(spool)] == [1, 2] and bodies(spool)[1]["cpuUtilization"] == 50.0


def test_current_samples_come_every_two_seconds(spool, clock):
    emit = Emitter(spool, clock=clock)
    for n in range(50):
        emit(sample(n))
        clock.now += 0.125
    assert [body["index"] for body in bodies(spool, "current_sample")] == [0, 16, 32, 48]


def test_over_the_cap_metrics_thin_out_and_it_is_said(spool, clock):
    emit = Emitter(spool, clock=clock, cap_bytes=15_000)
    for n in range(1, 400):
        emit(metrics(n, 400))
        clock.now += 1.0
        if n % 100 == 0:
            emit(checkpoint())
    for _ in range(40):
        emit(Log(message="chatter " * 50))
    emit.finish()
    kinds = [body["type"] for body in bodies(spool)]
    assert kinds.count("checkpoint") == 3, "what matters is always kept"
    assert kinds.count("metrics") < 60 and bodies(spool, "metrics")[-1]["step"] >= 360
    said = " ".join(body["message"] for body in bodies(spool, "log"))
    assert "over 0 MB" in said and "left out over the size cap" in said
    assert spool.size < 2.2 * 15_000 < CAP_BYTES


def test_numbers_that_json_cannot_carry(spool, clock):
    emit = Emitter(spool, clock=clock)
    odd = {"gradient_norm": math.inf, "kl_divergence": math.nan, "custom": {"a": math.nan, "b": 1.0}}
    emit(metrics(1, 9).model_copy(update=odd))
    emit(metrics(2, 9).model_copy(update={"loss": math.nan}))
    emit.finish()
    first, *rest = bodies(spool, "metrics")
    assert first["gradientNorm"] == 0 and first.get("klDivergence") is None and first["custom"] == {"b": 1.0}
    assert rest == [], "a loss that is no number is no point of a curve"
    assert any("loss" in body["message"] for body in bodies(spool, "log"))
    json.dumps(bodies(spool), allow_nan=False)


def test_endless_texts_are_cut_and_say_so():
    fit, _ = sane(Log(message="x" * (MOST_TEXT + 5)))
    assert len(fit.message) < MOST_TEXT + 20 and fit.message.endswith("(cut)")
    stages = {name: 0 for name in ("stage", "step") if name in EvalResult.model_fields}
    losses = {"loss": 1.0, "rows": 2, "row_losses": [1.0, math.nan], "row_tokens": [3, 4]}
    wanted = {name: value for name, value in {**stages, **losses, "tokens": 7}.items() if name in EvalResult.model_fields}
    fit, odd = sane(EvalResult(**wanted))
    assert fit.row_losses is None and fit.row_tokens is None and "row_losses" in odd, "losses and tokens stay in pairs"


def test_a_fenced_worker_writes_nothing_more(spool, clock):
    def guard():
        raise PermissionError

    with pytest.raises(PermissionError):
        Emitter(spool, guard=guard, clock=clock)(Log(message="x"))
    assert bodies(spool) == []


def test_after_the_last_word_there_is_silence(spool, clock):
    emit = Emitter(spool, clock=clock)
    emit(metrics(1, 9))
    emit.silence()
    emit(metrics(2, 9))
    emit(checkpoint())
    clock.now += 5
    emit.tick()
    assert len(bodies(spool)) == 1


STEPS = st.lists(st.tuples(st.floats(0, 10), st.integers(1, 1000), st.floats(1, 1e4)), min_size=2, max_size=30)


@given(STEPS)
def test_merging_keeps_sums_and_means(steps):
    lines = [metrics(1, 9).model_copy(update={"loss": x, "tokens": n, "tokens_per_second": v}) for x, n, v in steps]
    whole: Metrics = lines[0]
    for line in lines[1:]:
        whole = merged(whole, line)
    tokens = sum(n for _, n, _ in steps)
    assert whole.tokens == tokens
    assert whole.loss == pytest.approx(sum(x * n for x, n, _ in steps) / tokens, abs=1e-9)
    assert whole.tokens_per_second == pytest.approx(tokens / sum(n / v for _, n, v in steps))


def test_what_a_piece_of_the_engine_logs_is_heard():
    said, log = [], logging.getLogger("kriptik.engine.objectives.grpo")
    with heard(said.append):
        log.info("of %d answers", 64)
        log.warning("few of them")
        log.debug("not for people")
    log.warning("after the run")
    assert said == [Log(message="of 64 answers"), Log(severity="warning", message="few of them")]
