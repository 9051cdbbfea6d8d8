"""What a run's judge is paid: said as it grows, bounded by what the run may still cost, and shared by all processes of the run."""

from decimal import Decimal
from pathlib import Path

import pytest

from kriptik.llm import chat
from kriptik.spec.budget import asked_file
from kriptik.spec.catalogue import Point
from kriptik.spec.job import ModelRef, Stage, StageSettings, TrainJob
from kriptik.spec.llm import NoAnswerError, Usage
from kriptik.worker.tab import Tab, open_tab

JUDGE = {"kind": "endpoint", "url": "http://127.0.0.1:9/v1", "model": "m", "key_env": None,
         "input_usd_per_million": 0.5, "output_usd_per_million": 1.5}  # fmt: skip


def job_in(folder, asking="1", price="0", judge=JUDGE):
    point = Point(adaptation="lora", objective="grpo", strategy="single")
    settings = StageSettings(objective={"reward": "judge", "judge": judge})
    return TrainJob(
        job_id="j", generation=3, run_dir=str(folder), cache_dir=str(folder), capability="chat", base_model=ModelRef(id="m"),
        stages=[Stage(index=0, name="s", method="rlaif", point=point, settings=settings)],
        price_per_hour=Decimal(price), asking_usd=asking and Decimal(asking),
    )  # fmt: skip


def test_where_nobody_is_paid_there_is_no_tab(tmp_path):
    assert open_tab(job_in(tmp_path, asking=None)) is None


def test_calls_of_the_judge_go_through_the_tab_of_their_generation(tmp_path):
    tab = open_tab(job_in(tmp_path))
    prices, purse = chat._CHARGED[chat.Endpoint("http://127.0.0.1:9/v1", "m", None)]
    assert purse is tab and tab.path == asked_file(Path(tmp_path), 3)
    assert prices.cost(Usage(1_000_000, 1_000_000)) == 2


def test_what_was_paid_is_told_when_it_grew(tmp_path):
    tab, said = Tab(job_in(tmp_path)), []
    for cost in ("0.1", "0.2"):
        tab.settle(tab.set_aside(Decimal("0.3"), "m"), Decimal(cost), Usage(1, 1))
        tab.tell(said.append)
        tab.tell(said.append)
    tab.set_aside(Decimal("0.3"), "m")
    tab.tell(said.append)
    assert [body.usd for body in said] == [Decimal("0.1"), Decimal("0.3")]


def test_past_what_the_run_may_cost_nobody_is_asked_and_the_run_ends_as_out_of_money(tmp_path):
    tab = Tab(job_in(tmp_path, asking="0.5"))
    tab.settle(tab.set_aside(Decimal("0.4"), "m"), Decimal("0.3"), Usage(1, 1))
    with pytest.raises(NoAnswerError) as refused:
        tab.set_aside(Decimal("0.21"), "m")
    assert refused.value.code == "hard_stop" and "$0.2000 is left" in refused.value.sentence
    assert tab.set_aside(Decimal("0.2"), "m")


def test_the_machine_uses_it_up_as_well(tmp_path):
    now = [0.0]
    tab = Tab(job_in(tmp_path, asking="1", price="6"), clock=lambda: now[0])
    now[0] = 300.0
    with pytest.raises(NoAnswerError):
        tab.set_aside(Decimal("0.51"), "m")
    assert tab.set_aside(Decimal("0.49"), "m")
