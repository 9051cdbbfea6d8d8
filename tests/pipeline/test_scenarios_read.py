"""The specification's four scenarios from the sentence to the plan. Freeze and compare are also played in `tests/server`."""

import pytest
from planning_help import CLOUD, FAQ, laptop, plan_of

from kriptik.pipeline.intent.parser import OfflineParser
from kriptik.pipeline.plan.known import model_of


def read(words):
    return OfflineParser().parse(words)


@pytest.mark.parametrize("words", ["Train a model to generate Suno-quality music", "Train a model to generate Suno-quality music with expressive vocals"])  # fmt: skip  # noqa: E501
def test_music_is_a_pipeline_of_several_stages_on_a_cluster(words):
    wish = read(words)
    assert wish.is_training_request and wish.capability == "music_generation" and not wish.needs_clarification
    assert wish.benchmark_model == "suno" and wish.quality_tier == "flagship"
    plan, _case = plan_of(wish, CLOUD)
    assert len(plan.pipeline.stages) > 1 and plan.choices.gpu_count > 1
    assert plan.choices.gpu.startswith(("H100", "A100"))


def test_a_quick_llama_for_customer_support_is_a_cheap_adapter():
    wish = read("Quick fine-tune Llama for customer support")
    assert wish.capability == "text_generation" and wish.quality_tier == "consumer" and wish.base_model == "Llama"
    plan, _case = plan_of(wish, CLOUD)
    choices = plan.choices
    assert choices.method == "qlora" and plan.pipeline is None
    assert "llama" in choices.base_model.lower() and model_of(choices.base_model).params_b <= 9
    assert choices.gpu_count == 1 and plan.estimate.cost_usd.max < 50


@pytest.mark.parametrize("thing", ["bot", "assistant", "dialogue"])
def test_it_is_chat_where_that_is_said(thing):
    assert read(f"Quick fine-tune Llama for a customer support {thing}").capability == "chat"


def test_a_plan_freezes_below_its_limit_and_says_what_is_kept():
    """Scenario 3: the marks that a job is frozen by are in the plan, below the limit, and every option has them."""
    plan, _case = plan_of(read("Quick fine-tune SmolLM2 for our customer support, budget $2"), laptop(), FAQ)
    choices = plan.choices
    assert choices.budget_max_usd == 2 and choices.notify_at_percent < choices.freeze_at_percent < 100
    budget = next(tile for tile in plan.tiles if tile.category == "budget")
    assert "frozen" in budget.description and "everything kept" in budget.description
    assert any("freeze with a verified checkpoint" in step for step in plan.detailed_steps)
    for option in plan.options:
        assert option.cost_usd.max <= 2 and option.choices.freeze_at_percent == choices.freeze_at_percent


def test_a_plan_measures_base_and_tuned_on_the_same_rows():
    """Scenario 4: what is compared at the end is measured before the training starts."""
    plan, _case = plan_of(read("Quick fine-tune SmolLM2 for our customer support, budget $2"), laptop(), FAQ)
    steps = plan.detailed_steps
    before = next(place for place, step in enumerate(steps) if "answers of the base model on the held-out rows" in step)
    after = next(place for place, step in enumerate(steps) if "Measure again on the same held-out rows" in step)
    assert before < after and plan.approvable


@pytest.mark.parametrize("words", ["Train a model to generate Suno-quality music", "Quick fine-tune Llama for customer support"])
def test_each_scenario_comes_with_options_at_different_prices(words):
    plan, _case = plan_of(read(words), CLOUD)
    prices = [option.cost_usd.likely for option in plan.options]
    assert 2 <= len(prices) <= 3 and len(set(prices)) == len(prices)
    assert [option.key for option in plan.options if option.in_plan] == ["recommended"]
    assert not any("flagship" in option.choices.method for option in plan.options) or "Suno" in words
