"""The specification's first two scenarios from the sentence to the plan. Freeze and compare are played in `tests/server`."""

import pytest
from planning_help import CLOUD, plan_of

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
