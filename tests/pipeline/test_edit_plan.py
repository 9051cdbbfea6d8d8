"""Edits of a plan: by alternative, value and words; what follows is named, what is unrelated stays, for any sequence of edits."""

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planning_help import CLOUD, FAQ, NOW, intent, laptop, plan_of

from kriptik.pipeline.edit import edit_tile, edit_words
from kriptik.pipeline.plan.known import excluded, members, model_of
from kriptik.pipeline.plan.site import Case
from kriptik.spec.errors import BadInputError, KriptikError
from kriptik.spec.plan import PlanModification, PlanStatus, TrainingImplementationPlan

WISH = intent("chat", quality_tier="consumer")


def words(plan, case, text):
    return edit_words(plan, case, text, now=NOW)


def tile(plan, case, category, value, kind="custom_value"):
    return edit_tile(plan, case, category, PlanModification(type=kind, value=value), now=NOW)


def moved(edit):
    return {change.param: (change.before, change.after) for change in edit.changes}


def test_smaller_model_moves_what_depends_on_it_and_nothing_else():
    plan, case = plan_of(WISH, CLOUD)
    edit = words(plan, case, "I want a smaller model")
    assert model_of(edit.plan.choices.base_model).params_b < model_of(plan.choices.base_model).params_b
    assert {"base_model", "params", "vram", "time"} <= set(moved(edit)) and "data_amount" not in moved(edit)
    assert edit.affected[0] == "model" and "data" not in edit.affected and "method" not in edit.affected
    for change in edit.changes:
        assert change.reason and change.asked == (change.param == "base_model")
    assert edit.plan.status is PlanStatus.MODIFIED and edit.plan.id == plan.id
    assert len(edit.plan.user_modifications) == 1
    model_tile = next(t for t in edit.plan.tiles if t.category == "model")
    assert model_tile.status == "modified" and not model_tile.is_recommended


def test_settings_set_by_hand_survive_later_edits():
    plan, case = plan_of(WISH, CLOUD)
    first = words(plan, case, "lr 3e-4, batch size 8 and 5 epochs")
    second = words(first.plan, case, "a larger model, with DoRA")
    settings_now = second.plan.choices.settings
    assert settings_now.learning_rate == 3e-4 and settings_now.epochs == 5
    assert settings_now.micro_batch * settings_now.accumulation == 8
    third = words(second.plan, case, "use the recommended settings")
    assert third.plan.choices.settings.learning_rate != 3e-4
    assert not {"learning_rate", "epochs"} & set(third.plan.choices.custom_settings)


def test_excluded_method_is_gone_from_plan_and_alternatives():
    plan, case = plan_of(intent("chat", quality_tier="professional"), CLOUD)
    assert "dpo" in members(plan.choices.method)
    edit = words(plan, case, "no DPO please")
    assert "dpo" not in members(edit.plan.choices.method)
    for shown in next(t for t in edit.plan.tiles if t.category == "method").alternatives:
        assert excluded(shown.value, ["dpo"]) is None
    assert edit.plan.intent.excluded_methods == ["dpo"]
    back = words(edit.plan, Case(edit.plan.intent, CLOUD), "add DPO after all")
    assert members(back.plan.choices.method)[-1] == "dpo" and back.plan.intent.excluded_methods == []


def test_a_limit_brings_the_plan_under_it_by_the_mildest_steps():
    plan, case = plan_of(intent("music_generation", quality_tier="flagship"), CLOUD)
    edit = words(plan, case, "only $500")
    assert edit.plan.choices.budget_max_usd == Decimal("500.00")
    assert edit.plan.estimate.cost_usd.likely <= 500
    assert any("to stay under $500" in change.reason for change in edit.changes)


def test_no_cloud_on_a_laptop_finds_what_the_laptop_can_train():
    plan, case = plan_of(intent("chat", quality_tier="professional"), laptop())
    assert plan.choices.provider != "local"
    edit = words(plan, case, "no cloud, do it on this machine")
    choices = edit.plan.choices
    assert (choices.provider, choices.gpu) == ("local", "cpu") and edit.plan.estimate.fits
    assert any("too large for this machine" in change.reason for change in edit.changes)


def test_a_named_model_is_kept_when_it_does_not_fit_and_that_is_said():
    plan, case = plan_of(intent("chat", base_model="Llama 3.3 70B"), laptop())
    edit = words(plan, case, "no cloud")
    assert edit.plan.choices.base_model == "meta-llama/Llama-3.3-70B-Instruct"
    assert not edit.plan.approvable and "GB" in edit.plan.why_not_approvable


def test_larger_model_that_no_longer_fits_gets_a_larger_gpu():
    plan, case = plan_of(intent("chat", base_model="Llama 3.1 8B", methods=["lora"]), CLOUD)
    edit = words(plan, case, "use Llama 3.3 70B instead")
    assert edit.plan.estimate.fits and edit.plan.choices.method == "lora", "the method stays as named"
    assert {"gpu", "gpu_count"} & set(moved(edit)) and "gpu" in edit.affected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a smaller and a bigger model", "contradiction"),
        ("no cloud, on runpod", "contradiction"),
        ("use lora, no lora", "contradiction"),
        ("use 100000 epochs", "out_of_bounds"),
        ("higher resolution", "no_resolution"),
        ("use dreambooth", "method_of_another_kind"),
        ("use SDXL", "model_of_another_kind"),
        ("make it nice", "edit_not_understood"),
        ("alert at 95% and freeze at 90%", "alert_above_freeze"),
    ],
)
def test_what_cannot_be_done_changes_nothing_and_says_what_can(text, code):
    plan, case = plan_of(WISH, CLOUD)
    before = plan.document()
    with pytest.raises(BadInputError) as refused:
        words(plan, case, text)
    assert refused.value.code == code and refused.value.next_step
    assert plan.document() == before


def test_alternatives_of_every_tile_can_be_selected():
    plan, case = plan_of(WISH, CLOUD)
    for shown in plan.tiles:
        for alternative in shown.alternatives:
            edit = tile(plan, case, shown.category, alternative.value, "select_alternative")
            assert edit.changes and edit.changes[0].asked, (shown.category, alternative.value)
            assert shown.category in edit.affected or shown.category == "budget"
            effect = float(edit.plan.estimate.cost_usd.likely - plan.estimate.cost_usd.likely)
            assert effect == pytest.approx(float(alternative.price_effect_usd), abs=0.02, rel=0.02), (
                "the tile's price effect is what comes"
            )
    with pytest.raises(BadInputError) as refused:
        tile(plan, case, "model", "nonsense", "select_alternative")
    assert refused.value.code == "unknown_alternative"


@pytest.mark.parametrize(
    ("category", "value", "param", "after"),
    [
        ("config", {"epochs": 4, "learningRate": 5e-5}, "epochs", 4),
        ("config", {"batchSize": 16}, "batch_size", 16),
        ("budget", 25, "budget_max_usd", 25),
        ("budget", {"budgetMaxUsd": 30, "notifyAtPercent": 60}, "notify_at_percent", 60),
        ("gpu", {"gpu": "H100", "gpuCount": 2}, "gpu", "H100"),
        ("gpu", {"provider": "lambda"}, "provider", "lambda"),
        ("method", "dora", "method", "dora"),
        ("model", "Qwen/Qwen3-8B", "base_model", "Qwen/Qwen3-8B"),
        ("data", 3000, "data_amount", 3000),
    ],
)
def test_custom_values(category, value, param, after):
    plan, case = plan_of(WISH, CLOUD)
    assert moved(tile(plan, case, category, value))[param][1] == after


@pytest.mark.parametrize(
    ("category", "value"),
    [
        ("config", {"epochs": -1}),
        ("config", {"learningRate": float("nan")}),
        ("config", {"wings": 2}),
        ("config", "fast"),
        ("budget", 0),
        ("budget", -1),
        ("budget", 1e400),
        ("budget", True),
        ("gpu", {"gpu": "abacus"}),
        ("gpu", {"gpuCount": 0}),
        ("method", "magic"),
        ("model", ""),
        ("data", -5),
        ("data", None),
    ],
)
def test_bad_values_are_refused(category, value):
    plan, case = plan_of(WISH, CLOUD)
    with pytest.raises(KriptikError) as refused:
        tile(plan, case, category, value)
    assert refused.value.status == 422 and refused.value.next_step


def test_more_rows_than_attached_are_refused():
    plan, case = plan_of(intent(base_model="SmolLM2"), rows=FAQ)
    with pytest.raises(BadInputError) as refused:
        words(plan, case, "use 5000 examples")
    assert refused.value.code == "too_few_rows"


EDITS = st.sampled_from(
    [
        "a smaller model",
        "a bigger model",
        "use 3 epochs",
        "halve the batch",
        "cheaper",
        "faster",
        "only $20",
        "use DoRA instead",
        "no dpo",
        "add dpo afterwards",
        "no qlora",
        "no cloud",
        "use the cloud",
        "use two A100s",
        "on a 4090",
        "lr 1e-4 and rank 64",
        "fit it in 24 GB",
        "use 1000 examples",
        "make it professional",
        "consumer tier is fine",
        "within 3 hours",
        "use runpod",
        "keep the model, cheaper",
        "recommended settings",
        "best option",
        "economy option",
        "a 7B model",
    ]
)
STARTS = [
    (intent("chat", quality_tier="consumer"), CLOUD, None),
    (intent("text_generation", base_model="SmolLM2", budget_max_usd=1), laptop(), FAQ),
    (intent("code_generation", quality_tier="professional", excluded_methods=["full_finetune"]), CLOUD, None),
    (intent("music_generation", quality_tier="flagship"), laptop(), None),
]
PLANS = [plan_of(*start) for start in STARTS]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(start=st.sampled_from(PLANS), edits=st.lists(EDITS, min_size=1, max_size=4))
def test_any_sequence_of_edits_keeps_a_sound_plan(start, edits):
    plan, case = start
    for text in edits:
        before = plan.choices
        banned = plan.intent.excluded_methods
        try:
            edit = words(plan, case, text)
        except KriptikError as refused:
            assert refused.status == 422 and refused.next_step
            continue
        plan = edit.plan
        case = Case(plan.intent, case.site, case.rows)
        _sound(plan)
        if "dpo" not in text:
            assert excluded(plan.choices.method, banned) is None
        if "examples" not in text:
            assert plan.choices.data_rows == before.data_rows and plan.choices.dataset_id == before.dataset_id
        if "keep the model" in text:
            assert plan.choices.base_model == before.base_model
        if "lr" not in text and "learning_rate" in before.custom_settings and "recommended" not in text and "option" not in text:
            assert plan.choices.settings.learning_rate == before.settings.learning_rate
        told = {change.param for change in edit.changes}
        for name in ("base_model", "method", "gpu", "gpu_count", "provider", "budget_max_usd"):
            assert (getattr(before, name) != getattr(plan.choices, name)) == (name in told), name


def _sound(plan):
    taken = plan.estimate
    for interval in (taken.time_hours, taken.vram_gb, taken.disk_gb):
        assert 0 <= interval.low <= interval.likely <= interval.high
    assert taken.cost_usd.min <= taken.cost_usd.likely <= taken.cost_usd.max
    prices = [option.cost_usd.likely for option in plan.options]
    assert prices == sorted(prices) and 1 <= len(prices) <= 3
    assert len(plan.tiles) == 6 and plan.choices.budget_max_usd > 0
    assert plan.approvable == (plan.why_not_approvable is None)
    assert TrainingImplementationPlan.model_validate(plan.document()) == plan
