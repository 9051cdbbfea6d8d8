"""Models that are trained in another way than their capability's own: what their plans are made of, and what proves them."""

import pytest
from planning_help import CLOUD, NOW, intent, laptop, plan_of

from kriptik.catalogue.load import load_catalogue
from kriptik.pipeline.contract import make_contract
from kriptik.pipeline.edit import edit_words
from kriptik.pipeline.job import plan_modality, plan_precision, plan_stages
from kriptik.pipeline.plan.choose import choose
from kriptik.pipeline.plan.fitting import approvable_parts
from kriptik.pipeline.plan.site import Machine, Site
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


ACE, LARGE = "ACE-Step/acestep-v15-xl-base", "facebook/musicgen-large"
FLAGSHIP = ("full_finetune_deepspeed", "lora", "dpo", "rlhf_ppo")


def rented(*methods):
    """RunPod is set up, and these methods are proved for music in both ways."""
    both = proved(*methods)
    return Site(
        providers=frozenset({"local", "runpod"}), machine=Machine(), statuses=both,
        ways={("sound", name): one for name, one in both.items()},
    )  # fmt: skip


def test_the_flagship_of_music_can_be_approved_where_each_of_its_stages_trains():
    wish, site = intent("music_generation", benchmark_model="suno", quality_tier="flagship"), rented(*FLAGSHIP)
    plan, _case = plan_of(wish, site)
    choices = plan.choices
    assert (choices.method, choices.base_model, choices.provider) == ("flagship_music", LARGE, "runpod")
    assert (choices.gpu, choices.gpu_count) == ("H100", 8) and plan.approvable, plan.why_not_approvable
    stages = plan_stages(plan)
    assert [(one.point.adaptation, one.point.objective, one.point.strategy) for one in stages] == [
        ("full", "codec_lm", "deepspeed"), ("lora", "codec_lm", "ddp"), ("lora", "dpo", "ddp"), ("lora", "ppo", "ddp")
    ]  # fmt: skip
    assert plan_precision(plan, site) == "fp32", "ZeRO moves no other weights here"
    assert stages[0].settings.strategy == {"stage": 3} and stages[0].settings.recompute
    assert (stages[1].settings.lora.rank, stages[1].settings.lora.targets) == (64, "all-linear")
    assert stages[3].requires_approval and stages[3].settings.objective["kl_coef"] == 0.1
    assert any("does not allow commercial use" in warning for warning in plan.warnings)
    mine = next(option for option in plan.options if option.in_plan)
    assert "no vocals" in mine.limits and "ACE-Step" in mine.limits, "what comes nearer to the bar is said"
    for gone in FLAGSHIP:
        other, _case = plan_of(wish, rented(*(one for one in FLAGSHIP if one != gone)))
        assert other.choices.method != "flagship_music" or not other.approvable, gone


def test_a_model_of_sound_is_planned_with_what_trains_it_and_refused_what_does_not():
    site = rented(*FLAGSHIP)
    for wish in (
        intent("music_generation", base_model="ACE-Step XL", quality_tier="flagship"),
        intent("music_generation", quality_tier="flagship", output={"license": "commercial"}),
    ):
        plan, _case = plan_of(wish, site)
        assert (plan.choices.base_model, plan.choices.method) == (ACE, "full_finetune_deepspeed") and plan.approvable
    asked, _case = plan_of(intent("music_generation", base_model="ACE-Step XL", methods=["flagship_music"]), site)
    assert not asked.approvable and "DPO does not train ACE-Step 1.5 XL (base)" in asked.why_not_approvable
    first, case = plan_of(intent("music_generation", quality_tier="flagship"), site)
    moved = edit_words(first, case, "use ACE-Step XL instead", now=NOW).plan.choices
    assert (moved.base_model, moved.method) == (ACE, "full_finetune_deepspeed"), "the method goes with the model"


def test_what_a_family_needs_is_a_fact_of_the_machine_that_trains():
    def here(*packages):
        return laptop(machine=Machine(memory_gb=24, packages=frozenset(packages)), statuses=proved("lora"))

    wish = intent("multimodal", base_model="SmolVLM2", methods=["lora"], provider="local")
    for lacks, site in (("num2words and torchvision", here()), ("torchvision", here("num2words"))):
        plan, _case = plan_of(wish, site)
        assert not plan.approvable and f"needs {lacks}, in a build" in plan.why_not_approvable
    plan, _case = plan_of(wish, here("num2words", "torchvision"))
    assert plan.approvable, plan.why_not_approvable
    free = wish.model_copy(update={"provider": None})
    assert choose(free, here("num2words", "torchvision"), None).choices.provider == "local"
    assert choose(free, here(), None).choices.provider != "local", "not placed where it would not load"
    for name in ("Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL", "InternVL"):
        plan, _case = plan_of(intent("multimodal", base_model=name, methods=["lora"], provider="runpod"), CLOUD)
        assert plan.approvable, "an image of docker/ holds it"
