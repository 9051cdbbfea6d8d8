"""Models that are trained in another way than their capability's own: what their plans are made of, and what proves them."""

import pytest
from planning_help import CLOUD, intent, laptop, plan_of

from kriptik.catalogue.load import load_catalogue
from kriptik.pipeline.contract import make_contract
from kriptik.pipeline.job import plan_modality, plan_stages
from kriptik.pipeline.plan.fitting import approvable_parts
from kriptik.spec.catalogue import MethodStatus

STABLE, MUSICGEN = "stabilityai/stable-audio-open-1.0", "facebook/musicgen-small"


def proved(*methods):
    """Trainable for music, and nothing else is."""
    return {
        name: MethodStatus(id=name, stages=one.stages, status="trainable" if name in methods else "planned",
                           reason=None if name in methods else "No conformance proof yet.", capabilities=one.capabilities)
        for name, one in load_catalogue().methods.items()
    }  # fmt: skip


@pytest.mark.parametrize(("model", "modality", "objective", "pairs"), [
    (STABLE, "sound", "denoise", "diffusion_dpo"), (MUSICGEN, "music", "codec_lm", "dpo"),
])  # fmt: skip
def test_the_model_says_how_it_is_trained(model, modality, objective, pairs):
    plan, _case = plan_of(intent("music_generation", base_model=model, methods=["lora"]), CLOUD)
    assert plan.choices.base_model == model and plan.approvable
    assert plan_modality(plan) == modality
    (stage,) = plan_stages(plan)
    assert (stage.point.adaptation, stage.point.objective) == ("lora", objective)
    both, _case = plan_of(intent("music_generation", base_model=model, methods=["lora", "dpo"]), CLOUD)
    assert [one.point.objective for one in plan_stages(both)] == [objective, pairs]


def test_one_ways_proof_is_not_the_others():
    wish = intent("music_generation", base_model=STABLE, methods=["lora"])
    music_only = laptop(statuses=proved("lora"))
    plan, _case = plan_of(wish, music_only)
    assert "LoRA" in approvable_parts(plan.choices, music_only)
    both = laptop(statuses=proved("lora"), ways={("sound", name): one for name, one in proved("lora").items()})
    plan, case = plan_of(wish, both)
    assert approvable_parts(plan.choices, both) is None
    other, _case = plan_of(intent("music_generation", base_model=MUSICGEN, methods=["lora"]), music_only)
    assert approvable_parts(other.choices, music_only) is None
    contract = make_contract(plan, case, contract_id="c", now=plan.created_at, assumed=[])
    assert "mean squared error" in contract.evaluation_strategy and contract.recommended_methods[0].trainable
    assert not any(one.trainable for one in contract.recommended_methods[1:])
