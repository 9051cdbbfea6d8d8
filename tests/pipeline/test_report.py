"""The report's arithmetic: the interval is paired, criteria are checked, texts are escaped."""

import math
import random
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kriptik.pipeline import report_pages
from kriptik.pipeline.report import check, held_out_loss, side_by_side
from kriptik.spec.contract import SuccessCriterion
from kriptik.spec.events import EvalResult, QualitySample
from kriptik.spec.job import JobState
from kriptik.spec.report import RunReport, SideBySide


def evaluated(losses, tokens):
    total = sum(tokens)
    loss = sum(a * b for a, b in zip(losses, tokens, strict=True)) / total
    return EvalResult(stage=0, step=0, loss=loss, rows=len(losses), tokens=total, row_losses=losses, row_tokens=tokens)


def test_a_clear_drop_has_a_narrow_interval_above_zero():
    chance = random.Random(1)
    tokens = [chance.randint(20, 90) for _ in range(80)]
    before = [3.5 + chance.gauss(0, 0.6) for _ in tokens]
    after = [b * 0.8 + chance.gauss(0, 0.05) for b in before]
    found = held_out_loss(evaluated(before, tokens), evaluated(after, tokens))
    assert found is not None
    assert found.interval[0] < found.relative_drop < found.interval[1]
    assert found.interval[0] > 0.17 and found.interval[1] < 0.23, "pairing removes the spread between rows"
    assert found.rows == 80 and found.tokens == sum(tokens)


def test_no_change_is_not_called_a_gain():
    chance = random.Random(2)
    before = [3 + chance.gauss(0, 1) for _ in range(60)]
    after = [b + chance.gauss(0, 0.3) for b in before]
    found = held_out_loss(evaluated(before, [30] * 60), evaluated(after, [30] * 60))
    assert found is not None and found.interval[0] < 0 < found.interval[1]


@given(st.lists(st.tuples(st.floats(0.1, 9), st.floats(0.1, 9), st.integers(1, 200)), min_size=1, max_size=30))
def test_the_interval_holds_the_estimate_and_never_moves(rows):
    before, after, tokens = (list(column) for column in zip(*rows, strict=True))
    one = held_out_loss(evaluated(before, tokens), evaluated(after, tokens))
    assert one == held_out_loss(evaluated(before, tokens), evaluated(after, tokens))
    assert one is not None and one.interval[0] <= one.interval[1]
    assert math.isclose(one.relative_drop, 1 - one.after / one.before, rel_tol=1e-9, abs_tol=1e-9)


def test_other_rows_before_and_after_give_no_figure():
    assert held_out_loss(evaluated([3.0], [5]), evaluated([2.0, 2.0], [5, 5])) is None
    assert held_out_loss(evaluated([3.0], [5]), evaluated([2.0], [6])) is None
    assert held_out_loss(None, evaluated([2.0], [6])) is None


@pytest.mark.parametrize(("value", "passed"), [(0.1, True), (0.9, False)])
def test_criteria_are_checked(value, passed):
    loss = held_out_loss(evaluated([4.0, 3.0], [10, 10]), evaluated([2.0, 2.0], [10, 10]))
    criterion = SuccessCriterion(metric="held_out_loss", comparison="relative_drop_at_least", value=value, sentence="It falls.")
    assert check(criterion, loss).passed is passed
    assert check(criterion, None).passed is None


def test_side_by_side_takes_the_newest_answer():
    def said(output, base, step):
        return QualitySample(stage=0, step=step, input="Q?", output=output, base=base)

    assert side_by_side([said("b", True, 0), said("old", False, 5), said("new", False, 9)]) == [
        SideBySide(prompt="Q?", expected=None, base="b", tuned="new")
    ]


def test_pages_escape_what_people_and_models_wrote():
    evil = "<script>alert(1)</script> | *x*"
    report = RunReport(
        job_id="j",
        name=evil,
        state=JobState.COMPLETED,
        prompt=evil,
        base_model="m",
        method="lora",
        data={"source": evil, "licence": "", "trainRows": 1, "heldOutRows": 1, "overlapRows": 0},
        held_out_loss=None,
        criteria=[],
        side_by_side=[SideBySide(prompt=evil, expected=evil, base=evil, tuned=evil)],
        spend_usd=Decimal("0.5"),
        max_budget_usd=Decimal(1),
        estimated_cost_usd=(Decimal(0), Decimal(1)),
        estimated_hours=(0, 1),
        actual_hours=0.1,
        train_seconds=1,
        tokens=1,
        tokens_per_second=1,
        generations=1,
        freezes=0,
        inexact_resumes=0,
        artefacts={},
        created_at=datetime.now(UTC),
    )
    page = report_pages.html(report)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "<script" not in report_pages.markdown(report)
