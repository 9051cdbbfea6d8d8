"""The six tiles, the whole options, the contract and the job behind a plan."""

import math
from dataclasses import replace

import pytest
from planning_help import CLOUD, FAQ, NOW, intent, laptop, plan_of

from kriptik.catalogue.load import load_catalogue
from kriptik.pipeline.contract import make_contract
from kriptik.pipeline.job import plan_modality, plan_name, plan_precision, plan_stages, sample_prompts
from kriptik.pipeline.plan.cost import card_of, gpu_of, peak, stages_of
from kriptik.pipeline.plan.data import mismatch, volume_of
from kriptik.pipeline.plan.fitting import approvable_parts
from kriptik.pipeline.plan.known import model_of
from kriptik.pipeline.plan.memory import stage_need
from kriptik.pipeline.plan.moves import cost_of
from kriptik.pipeline.plan.site import Machine, Rows, Site
from kriptik.spec.catalogue import MethodStatus
from kriptik.spec.plan import TILE_ORDER

WISHES = [
    intent(base_model="SmolLM2", quality_tier="consumer", budget_max_usd=1),
    intent("chat", quality_tier="professional"),
    intent("music_generation", quality_tier="flagship"),
    intent("image_generation", data={"type": "image", "amount": 50, "unit": "images"}),
    intent("voice_cloning", data={"type": "audio", "amount": 5, "unit": "minutes"}),
    intent("embeddings"),
]


@pytest.mark.parametrize("wish", WISHES, ids=lambda w: w.capability)
@pytest.mark.parametrize("site", [laptop(), laptop("0"), CLOUD], ids=["laptop", "free", "cloud"])
def test_six_tiles_with_alternatives_and_effects(wish, site):
    plan, case = plan_of(wish, site)
    assert [tile.category for tile in plan.tiles] == list(TILE_ORDER)
    for tile in plan.tiles:
        assert tile.recommendation and tile.description
        assert tile.value not in [a.value for a in tile.alternatives]
        least = 1 if tile.category == "budget" else 2
        assert len(tile.alternatives) >= least, tile.category
        for alternative in tile.alternatives:
            assert alternative.price_effect_usd is not None and alternative.time_effect_hours is not None
            assert alternative.available == (alternative.why_not is None)
            if not alternative.available:
                assert len(alternative.why_not) > 10
    assert cost_of(plan.choices, case) >= 0


@pytest.mark.parametrize("wish", WISHES, ids=lambda w: w.capability)
def test_two_or_three_options_rising_in_price(wish):
    plan, _case = plan_of(wish)
    assert 2 <= len(plan.options) <= 3
    prices = [option.cost_usd.likely for option in plan.options]
    assert prices == sorted(prices) and len(set(prices)) == len(prices)
    middle = next(option for option in plan.options if option.key == "recommended")
    assert middle.choices == plan.choices
    for option in plan.options:
        assert option.expected_quality and option.limits
        if wish.base_model:
            assert option.choices.base_model == plan.choices.base_model, "what was named is the same in all"


def test_the_method_tile_says_every_axis():
    plan, _case = plan_of(intent(base_model="SmolLM2"), rows=FAQ)
    stages = next(t for t in plan.tiles if t.category == "method").facts["stages"]
    assert stages[0] == {
        "name": "LoRA",
        "method": "lora",
        "adaptation": "lora",
        "objective": "causal_lm",
        "strategy": "single",
        "hours": None,
    }


def test_data_tile_compares_have_and_need():
    plan, _case = plan_of(intent(base_model="SmolLM2"), rows=FAQ)
    facts = next(t for t in plan.tiles if t.category == "data").facts
    assert facts["have"] == 497 and facts["need"] == 200 and facts["verdict"] == "enough" and facts["dataset"] == "faq"
    empty, _case = plan_of(intent(base_model="SmolLM2"))
    assert next(t for t in empty.tiles if t.category == "data").facts["have"] == 0
    assert any(question.field == "data" for question in empty.pending_decisions)


def test_a_contract_is_measurable_and_versions_name_their_parent():
    plan, case = plan_of(intent(base_model="SmolLM2", budget_max_usd=1), rows=FAQ)
    first = make_contract(plan, case, contract_id="c", now=NOW, assumed=["No quality was named."])
    assert first.version == 1 and first.parent_id is None and not first.locked
    assert {c.metric for c in first.success_criteria} >= {"held_out_loss", "overlap_rows", "spend_usd"}
    assert first.recommended_base_models[0].id == first.selected_base_model and len(first.recommended_base_models) >= 3
    assert len(first.recommended_methods) >= 3 and first.selected_method == "lora"
    assert first.data_requirements and first.implementation_plan == plan.detailed_steps
    second = make_contract(plan, case, contract_id="d", now=NOW, parent=first)
    assert second.version == 2 and second.parent_id == "c" and second.assumptions == first.assumptions
    assert second.content_hash() != first.content_hash()


def test_a_pipeline_is_the_contracts_selected_method():
    plan, case = plan_of(intent("music_generation", quality_tier="flagship"))
    contract = make_contract(plan, case, contract_id="c", now=NOW)
    assert contract.selected_method.required_gpu == "H100_CLUSTER_8"
    assert contract.selected_method.total_estimated_hours == 120


def test_stages_have_every_axis_and_look_at_held_out_rows_on_the_way():
    plan, _case = plan_of(intent(base_model="SmolLM2", budget_max_usd=1), rows=FAQ)
    (stage,) = plan_stages(plan, FAQ)
    assert (stage.point.adaptation, stage.point.objective, stage.point.strategy) == ("lora", "causal_lm", "single")
    assert stage.settings.eval_every and stage.settings.sample_every and stage.settings.checkpoint_every_s <= 300
    steps = plan.estimate.total_steps
    assert stage.settings.eval_every == stage.settings.sample_every == math.ceil(steps / 2), "half way once, whether odd or even"
    assert plan_modality(plan) == "text" and plan_precision(plan, Site()) == "fp32"
    assert plan_name(plan) == "a request"


def test_a_cpu_with_bf16_units_trains_language_models_in_it():
    plain, quick = (laptop(machine=Machine(memory_gb=24, cores=2, cpu_bf16=native)) for native in (False, True))
    wish = intent(base_model="SmolLM2", budget_max_usd=1)
    (slow, _), (fast, _) = (plan_of(wish, site, FAQ) for site in (plain, quick))
    assert (plan_precision(slow, plain), plan_precision(fast, quick)) == ("fp32", "bf16")
    assert fast.estimate.time_hours.likely < slow.estimate.time_hours.likely
    assert fast.estimate.vram_gb.likely < slow.estimate.vram_gb.likely
    for changed in ({"capability": "embeddings"}, {"method": "rlhf_ppo"}, {"provider": "runpod"}):
        assert not card_of(fast.choices.model_copy(update=changed), quick).bf16, changed


def test_a_gpu_without_bf16_trains_adapters_of_language_models_in_fp16():
    def of(**changes):
        choices = base.choices.model_copy(update=changes)
        return base.model_copy(update={"choices": choices})

    base, _case = plan_of(intent(base_model="SmolLM2", methods=["lora"], budget_max_usd=5), CLOUD, FAQ)
    assert plan_precision(of(gpu="T4"), CLOUD) == plan_precision(of(gpu="T4", gpu_count=2), CLOUD) == "fp16"
    assert plan_precision(of(gpu="L4"), CLOUD) == "bf16"
    for changed in ({"method": "full_finetune"}, {"method": "rlhf_ppo"}, {"capability": "embeddings"}):
        assert plan_precision(of(gpu="T4", **changed), CLOUD) == "fp32", changed
    plain = gpu_of("T4")
    half = card_of(of(gpu="T4").choices, CLOUD)
    assert (peak(plain, None), peak(half, None)) == (8.1, 65)
    (stage,) = stages_of(base.choices, volume_of(base.choices, FAQ))
    model = model_of(base.choices.base_model)
    assert stage_need(model, *stage, half, 1).total < stage_need(model, *stage, plain, 1).total


@pytest.mark.parametrize("method", sorted(load_catalogue().methods))
def test_every_method_becomes_stages_without_an_open_axis(method):
    entry = load_catalogue().methods[method]
    plan, _case = plan_of(intent(entry.capabilities[0], methods=[method]), CLOUD)
    stages = plan_stages(plan)
    assert len(stages) == len(entry.stages) and [s.index for s in stages] == list(range(len(stages)))
    for stage, point in zip(stages, entry.stages, strict=True):
        assert stage.point.adaptation and stage.point.objective and stage.point.strategy
        assert point.adaptation in (None, stage.point.adaptation)
        assert stage.point.options == point.options
    assert plan.choices.gpu_count >= entry.min_gpus


def test_composed_methods_go_on_with_the_adapter_of_the_stage_before():
    plan, _case = plan_of(intent("chat", methods=["dora", "dpo"]), CLOUD)
    first, second = plan_stages(plan)
    assert plan.choices.method == "dora+dpo"
    assert first.point.adaptation == second.point.adaptation == "dora" and second.point.objective == "dpo"
    assert second.settings.learning_rate < first.settings.learning_rate


def test_sample_prompts_are_held_out_questions():
    rows = [
        {"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}"}], "key": str(i)}
        for i in range(9)
    ]
    samples = sample_prompts(rows, 3)
    assert [s.messages[-1]["content"] for s in samples] == ["q0", "q3", "q6"] and samples[0].expected == "a0"
    assert sample_prompts([{"messages": [{"role": "user", "content": "no answer"}]}]) == []
    pair = {"prompt": [{"role": "user", "content": "p"}], "chosen": [{"role": "assistant", "content": "good"}], "rejected": []}
    assert sample_prompts([pair])[0].expected == "good"
    text = {"text": "one two three four five six seven eight nine ten"}
    assert sample_prompts([text])[0].messages[0]["content"] == "one two three four five"


def test_alignment_comes_first_and_stands_on_the_bits_of_what_follows():
    named = intent("multimodal", methods=["qlora", "cross_modal_alignment"], quality_tier="consumer")
    plan, _ = plan_of(named, CLOUD)
    assert plan.choices.method == "cross_modal_alignment+qlora"
    stages = plan_stages(plan)
    assert [stage.point.adaptation for stage in stages] == ["projector", "lora"]
    assert [stage.point.base_precision for stage in stages] == ["nf4", "nf4"] and plan_precision(plan, Site()) == "nf4"
    assert plan_modality(plan) == "vision_language"
    assert [stage.settings.learning_rate for stage in stages] == [1e-3, 2e-4]
    longest = load_catalogue().models[plan.choices.base_model].arch.picture_tokens
    assert all(stage.settings.max_seq_len >= longest for stage in stages), "a picture fits into a row"


def test_pictures_with_questions_serve_models_that_see_and_no_others():
    wish = intent("multimodal", quality_tier="consumer")
    plan, _ = plan_of(wish, CLOUD)
    rows = Rows("d", "receipts.zip", 600, 540, 600 * 700, 900, kind="image_messages")
    attached = plan.choices.model_copy(update={"dataset_id": "d"})
    assert mismatch(attached, rows) is None
    assert volume_of(attached, rows).tokens_per_row > 2880, "LLaVA-NeXT takes as many tokens of any picture"
    assert mismatch(attached, replace(rows, kind="messages")), "words alone teach nothing about pictures"
    text, _ = plan_of(intent("chat", quality_tier="consumer"), CLOUD)
    assert mismatch(text.choices.model_copy(update={"dataset_id": "d"}), rows)
    assert mismatch(attached.model_copy(update={"method": "dpo"}), rows), "pairs of answers are another kind of rows"
    assert mismatch(attached.model_copy(update={"method": "dpo"}), replace(rows, kind="image_preferences")) is None


def test_prompts_about_pictures_name_them():
    turns = [{"role": "user", "content": "<image>\nWhat is the total?"}, {"role": "assistant", "content": "12.40"}]
    found = sample_prompts([{"messages": turns, "images": ["media/a.png"]}], modality="vision_language")
    assert found[0].images == ["media/a.png"] and found[0].expected == "12.40"
    caption = {"image": "media/b.png", "caption": "a red bus"}
    asked = sample_prompts([caption], modality="vision_language")[0]
    assert asked.images == ["media/b.png"] and asked.expected == "a red bus" and "<image>" in asked.messages[0]["content"]
    assert sample_prompts([caption], modality="image")[0].messages[0]["content"] == "a red bus"


def test_pairs_of_pictures_are_learnt_from_by_people_s_choices_or_by_the_better_ones():
    rows = Rows("d", "pairs.zip", 900, 810, 900 * 4096, 4096, kind="image_pairs")
    plan, _ = plan_of(intent("image_generation", quality_tier="professional"), CLOUD, rows=rows)
    assert plan.choices.method == "diffusion_dpo" and plan_modality(plan) == "image"
    (stage,) = plan_stages(plan)
    assert (stage.point.adaptation, stage.point.objective) == ("lora", "diffusion_dpo")
    assert stage.settings.objective["beta"] == 2000 and stage.settings.learning_rate == 1e-5
    data = next(tile for tile in plan.tiles if tile.category == "data")
    assert data.facts["need"] == 500 and data.facts["rowNeeds"] == ["preferences"] and "chosen" in data.facts["example"]
    for method in ("diffusion_dpo", "dpo", "lora", "lora+dpo", "hybrid_lora_dpo"):
        assert mismatch(plan.choices.model_copy(update={"method": method}), rows) is None, method
    for kind in ("images", "preferences", "video_pairs"):
        assert mismatch(plan.choices, replace(rows, kind=kind)), kind
    plain, _ = plan_of(intent("image_generation", quality_tier="professional"), CLOUD, rows=replace(rows, kind="images"))
    assert "diffusion_dpo" not in plain.choices.method and "dpo" not in plain.choices.method.split("+")
    asked, _ = plan_of(intent("image_generation", data={"type": "preferences", "amount": 2000, "unit": "pairs"}), CLOUD)
    assert asked.choices.method == "diffusion_dpo", "the request says that there are pairs"
    films, _ = plan_of(intent("video_generation"), CLOUD, rows=replace(rows, kind="video_pairs"))
    assert films.choices.method == "diffusion_dpo"


def test_plain_dpo_of_pictures_has_the_numbers_of_diffusion_dpo():
    plan, case = plan_of(intent("image_generation", methods=["dora", "dpo"]), CLOUD)
    first, second = plan_stages(plan)
    assert second.point.adaptation == "dora" and second.point.objective == "diffusion_dpo"
    assert second.settings.objective["beta"] == 2000 and "beta" not in first.settings.objective
    criteria = {one.metric for one in make_contract(plan, case, contract_id="c", now=NOW).success_criteria}
    assert "preference_accuracy" in criteria
    reference, _ = plan_of(intent("video_generation", quality_tier="flagship"), CLOUD)
    assert [one.point.objective for one in plan_stages(reference)] == ["denoise", "denoise", "diffusion_dpo"]
    assert plan_stages(reference)[-1].settings.objective["beta"] == 2000, "0.05 is on the scale of text"
    known = {one.id: MethodStatus(id=one.id, stages=one.stages, status="trainable", capabilities=one.capabilities)
             for one in load_catalogue().methods.values()}  # fmt: skip
    proved = replace(CLOUD, statuses=known)
    assert "experts cannot show" in approvable_parts(reference.choices, proved)
    assert approvable_parts(plan.choices, proved) is None
    several = plan.choices.model_copy(update={"base_model": "Qwen/Qwen-Image-2512", "gpu": "H100", "gpu_count": 4})
    assert "cut over several GPUs" in approvable_parts(several, proved)
