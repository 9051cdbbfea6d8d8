"""What is chosen for which request: the specification's scenarios, what was named, what was ruled out, what runs here."""

import time

import pytest
from clock import within
from planning_help import CLOUD, FAQ, intent, laptop, plan_of, statuses

from kriptik.catalogue.load import load_catalogue
from kriptik.pipeline.intent.vocabulary import vocabulary
from kriptik.pipeline.plan import moves
from kriptik.pipeline.plan.choose import choose
from kriptik.pipeline.plan.known import excluded, members, model_of, unfit
from kriptik.pipeline.plan.models import DEVICE_MOST_B
from kriptik.spec.errors import BadInputError


def test_the_demo_is_approvable_on_a_laptop():
    plan, _case = plan_of(intent(base_model="SmolLM2", quality_tier="consumer", budget_max_usd=1), rows=FAQ)
    choices = plan.choices
    assert choices.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert (choices.method, choices.provider, choices.gpu, choices.gpu_count) == ("lora", "local", "cpu", 1)
    assert plan.approvable and plan.why_not_approvable is None
    assert choices.dataset_id == "ds" and choices.data_rows == 497
    assert choices.settings.learning_rate == 1e-3 and choices.settings.epochs == 1
    assert 30 <= plan.estimate.total_steps <= 80, "small data needs enough updates"
    assert plan.estimate.cost_usd.max <= 1


def test_quick_llama_is_qlora_on_a_small_llama_and_one_gpu():
    plan, _case = plan_of(intent(base_model="Llama", quality_tier="consumer"))
    choices = plan.choices
    assert choices.method == "qlora" and "llama" in choices.base_model.lower()
    assert model_of(choices.base_model).params_b <= 9 and choices.gpu_count == 1 and choices.gpu != "cpu"
    assert plan.summary.quality_tier == "consumer" and plan.estimate.cost_usd.max < 50 and plan.pipeline is None
    assert not plan.approvable
    assert "QLoRA" in plan.why_not_approvable and "SmolLM2 135M Instruct with LoRA" in plan.why_not_approvable


def test_flagship_music_is_the_reference_pipeline():
    plan, _case = plan_of(intent("music_generation", benchmark_model="suno", quality_tier="flagship"))
    assert plan.choices.method == "flagship_music" and plan.choices.gpu == "H100" and plan.choices.gpu_count == 8
    names = [stage.name for stage in plan.pipeline.stages]
    assert names == ["Base Model Preparation", "Style Specialization", "Quality Alignment", "Human Preference Tuning"]
    assert plan.estimate.time_hours.likely == pytest.approx(120)
    assert plan.choices.base_model == "facebook/musicgen-large", "its last stages learn from probabilities of codes"
    assert not plan.approvable and "does not train yet" in plan.why_not_approvable, "where nothing of it is proved"
    assert plan.summary.quality_benchmark == "suno-level"


def test_flagship_video_is_the_reference_pipeline():
    plan, _case = plan_of(intent("video_generation", quality_tier="flagship"))
    assert plan.choices.method == "flagship_video" and (plan.choices.gpu, plan.choices.gpu_count) == ("A100-80GB", 8)
    assert plan.estimate.time_hours.likely == pytest.approx(216)


def test_production_ready_ends_in_preference_tuning_unless_the_rows_cannot():
    plan, _case = plan_of(intent("chat", quality_tier="professional"), CLOUD)
    assert members(plan.choices.method)[-1] == "dpo" and len(plan.pipeline.stages) == 2
    plan, _case = plan_of(intent("chat", quality_tier="professional"), CLOUD, rows=FAQ)
    assert "dpo" not in members(plan.choices.method), "question and answer rows hold no preferences"


def test_what_is_named_stands():
    wish = intent(
        "chat",
        base_model="Llama 3.3 70B",
        methods=["dora"],
        hardware={"gpu": "H100", "count": 4},
        provider="modal",
        budget_max_usd=70,
    )
    choices = choose(wish, laptop(), None).choices
    assert choices.base_model == "meta-llama/Llama-3.3-70B-Instruct" and choices.method == "dora"
    assert (choices.gpu, choices.gpu_count, choices.provider) == ("H100", 4, "modal")
    assert float(choices.budget_max_usd) == 70


def test_named_gpu_gets_a_method_that_fits_it():
    choices = choose(intent("chat", base_model="Llama 3.1 8B", hardware={"gpu": "RTX4090"}), CLOUD, None).choices
    assert choices.gpu == "RTX4090"
    plan, _case = plan_of(intent("chat", base_model="Llama 3.1 8B", hardware={"gpu": "RTX4090"}), CLOUD)
    assert plan.estimate.fits


@pytest.mark.parametrize("capability", sorted(load_catalogue().capabilities))
@pytest.mark.parametrize("tier", ["consumer", "professional", "flagship", "research"])
@pytest.mark.parametrize("banned", [[], ["lora"], ["qlora", "dpo"], ["full_finetune"]])
def test_every_capability_and_tier_has_a_plan_without_what_was_ruled_out(capability, tier, banned):
    plan, _case = plan_of(intent(capability, quality_tier=tier, excluded_methods=banned), CLOUD)
    assert excluded(plan.choices.method, banned) is None
    for alternative in next(t for t in plan.tiles if t.category == "method").alternatives:
        assert excluded(alternative.value, banned) is None
    assert capability in model_of(plan.choices.base_model).entry.capabilities
    assert plan.estimate.total_steps >= 1 and plan.estimate.cost_usd.min <= plan.estimate.cost_usd.max


def test_all_methods_ruled_out_is_said():
    everything = list(load_catalogue().methods)
    with pytest.raises(BadInputError) as refused:
        choose(intent("voice_cloning", excluded_methods=everything), CLOUD, None)
    assert refused.value.code == "no_method"


def test_commercial_use_avoids_licences_that_forbid_it():
    wish = intent("music_generation", output={"license": "commercial"})
    model = model_of(choose(wish, CLOUD, None).choices.base_model)
    assert model.licence.commercial != "no"
    plan, _case = plan_of(intent("music_generation", base_model="MusicGen-Large", output={"license": "commercial"}), CLOUD)
    assert plan.choices.base_model == "facebook/musicgen-large", "what was named stands"
    assert any("does not allow commercial use" in warning for warning in plan.warnings)


def test_size_limit_and_device_are_respected():
    assert model_of(choose(intent("chat", output={"max_params_b": 2}), CLOUD, None).choices.base_model).params_b <= 2.04
    for device in ("phone", "android", "raspberry pi"):
        found = choose(intent("chat", output={"target_device": device}), CLOUD, None).choices.base_model
        assert model_of(found).params_b <= 4.1
    read = {key.removeprefix("device.") for key in vocabulary("en").lists if key.startswith("device.")}
    assert set(DEVICE_MOST_B) <= read, "a device that the parser never names bounds nothing"


def test_a_budget_moves_the_choice_where_nothing_was_named():
    free = choose(intent("code_generation", quality_tier="flagship"), CLOUD, None).choices
    tight = choose(intent("code_generation", quality_tier="flagship", budget_max_usd=30), CLOUD, None).choices
    assert model_of(tight.base_model).params_b < model_of(free.base_model).params_b


def test_names_that_do_not_exist_are_mapped_and_said():
    plan, _case = plan_of(intent("code_generation", base_model="DeepSeek-Coder-V3"), CLOUD)
    assert plan.choices.base_model == "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct"
    assert any("DeepSeek-Coder-V3" in warning for warning in plan.warnings)


def test_an_unknown_model_is_planned_but_not_approvable():
    plan, _case = plan_of(intent("chat", base_model="acme/wonder-13b"), CLOUD)
    assert plan.choices.base_model == "acme/wonder-13b" and not plan.approvable
    assert "not in the catalogue" in plan.why_not_approvable
    assert plan.estimate.time_hours.source == "guess"


def test_without_a_capability_one_question_is_asked():
    wish = intent().model_copy(update={"capability": None, "needs_clarification": True, "question": "Text or pictures?"})
    with pytest.raises(BadInputError) as asked:
        choose(wish, CLOUD, None)
    assert asked.value.code == "needs_clarification" and asked.value.next_step == "Text or pictures?"


def test_a_planned_method_is_shown_but_not_approvable():
    plan, _case = plan_of(intent(base_model="SmolLM2", methods=["vera"]), rows=FAQ)
    assert plan.choices.method == "vera" and not plan.approvable
    assert "VeRA" in plan.why_not_approvable and "LoRA" in plan.why_not_approvable
    trainable, _case = plan_of(intent(base_model="SmolLM2", methods=["vera"]), laptop(statuses=statuses("vera")), rows=FAQ)
    assert trainable.approvable


def test_rows_of_another_kind_are_said_before_money_is_spent():
    plan, _case = plan_of(intent(base_model="SmolLM2", methods=["dpo"]), laptop(statuses=statuses("dpo")), rows=FAQ)
    assert not plan.approvable and "preferences" in plan.why_not_approvable


def test_planning_takes_milliseconds():
    wish = intent(base_model="SmolLM2", quality_tier="consumer", budget_max_usd=1)
    plan_of(wish, rows=FAQ)
    best = min(_seconds(lambda: plan_of(wish, rows=FAQ)) for _ in range(5))
    assert best < within(0.05)


def _seconds(call):
    start = time.process_time()
    call()
    return time.process_time() - start


def test_qlora_asked_for_by_name_trains_on_this_machine():
    here = laptop(statuses=statuses("lora", "qlora"))
    asked = intent(base_model="SmolLM2-135M", methods=["qlora"])
    choices = choose(asked, here, FAQ).choices
    assert (choices.method, choices.gpu, choices.provider) == ("qlora", "cpu", "local")
    assert choose(intent(base_model="SmolLM2-135M"), here, FAQ).choices.method == "lora", "unasked, it only costs time"


@pytest.mark.parametrize("tier", ["consumer", "professional", "flagship", "research"])
def test_a_named_method_gets_a_model_of_a_family_that_it_trains(tier):
    plan, case = plan_of(intent("image_generation", methods=["textual_inversion"], quality_tier=tier), CLOUD)
    assert plan.choices.base_model == "stabilityai/stable-diffusion-xl-base-1.0" and plan.approvable
    assert "CLIP text encoders alone" in next(tile for tile in plan.tiles if tile.category == "model").description
    offered = [plan.choices, *(option.choices for option in plan.options)]
    assert all(unfit(one.method, model_of(one.base_model)) is None for one in offered)
    assert not moves.larger_models(plan.choices, case), "none of them could be trained by the method that was named"


def test_a_method_and_a_model_that_do_not_go_together_are_refused_before_money_is_spent():
    plan, _case = plan_of(intent("image_generation", base_model="SD 3.5", methods=["textual_inversion"]), CLOUD)
    named = model_of(plan.choices.base_model)
    assert named.entry.trainable_family == "sd3", "what was named stands"
    assert not plan.approvable and f"does not train {named.title}" in plan.why_not_approvable
    assert plan.options and all(option.choices.method != "textual_inversion" for option in plan.options)
    music, _case = plan_of(intent("music_generation", base_model="MusicGen", methods=["moe_diffusion"]), CLOUD)
    assert "does not train MusicGen" in music.why_not_approvable
    sound, _case = plan_of(intent("music_generation", methods=["moe_diffusion"]), CLOUD)
    family = model_of(sound.choices.base_model).entry.trainable_family
    assert sound.approvable and family in ("stable_audio", "audioldm2", "ace_step15")


def test_a_method_that_does_not_fit_the_model_is_not_chosen_and_does_not_stay():
    wish = intent("image_generation", quality_tier="consumer", excluded_methods=["dora", "lora", "dreambooth"])
    plan, case = plan_of(wish, CLOUD)
    assert plan.choices.method == "full_finetune"
    small = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    word = plan.choices.model_copy(update={"method": "textual_inversion", "base_model": small})
    assert moves.swap(word, case, base_model="stabilityai/stable-diffusion-3.5-medium").method == "full_finetune"
    kept = moves.swap(plan.choices, case, method="textual_inversion")
    assert kept.base_model == plan.choices.base_model and "does not train" in moves.why_not(kept, case)
