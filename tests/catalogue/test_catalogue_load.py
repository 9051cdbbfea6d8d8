"""The data files: every entry is valid, every reference holds, a broken entry says where."""

import re
import shutil
from datetime import date
from decimal import Decimal

import pytest

from kriptik.catalogue.advice import lies_in, read_advice, speaks
from kriptik.catalogue.load import FOLDER, correction, find_gpu, find_model, load_catalogue, price_of, read_catalogue
from kriptik.catalogue.points import fill_points, ordered_methods, stage_defaults, way_of
from kriptik.spec.errors import KriptikError
from kriptik.spec.job import StageSettings

CAPABILITIES = {
    "music_generation",
    "video_generation",
    "image_generation",
    "voice_cloning",
    "text_generation",
    "code_generation",
    "chat",
    "embeddings",
    "multimodal",
    "custom",
}
LISTED = [
    "lora",
    "qlora",
    "dora",
    "qdora",
    "adalora",
    "vera",
    "relora",
    "mora",
    "galore",
    "longlora",
    "full_finetune",
    "full_finetune_fsdp",
    "full_finetune_deepspeed",
    "dpo",
    "orpo",
    "rlhf_ppo",
    "grpo",
    "rlvr",
    "rlaif",
    "constitutional_ai",
    "deepspeed_zero1",
    "deepspeed_zero2",
    "deepspeed_zero3",
    "deepspeed_infinity",
    "fsdp",
    "megatron_lm",
    "3d_parallelism",
    "moe_diffusion",
    "dreambooth",
    "textual_inversion",
    "voice_clone",
    "temporal_adaptation",
    "hybrid_lora_dpo",
    "hybrid_full_rlhf",
    "hybrid_moe_alignment",
]


@pytest.fixture
def copy(tmp_path):
    """A copy of the data files to break."""
    target = tmp_path / "catalogue"
    shutil.copytree(FOLDER, target, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return target


def test_the_35_listed_methods_come_first():
    ids = [m.id for m in ordered_methods()]
    assert len(LISTED) == 35
    assert ids[:35] == LISTED
    assert {"reward_model", "kto", "simpo", "contrastive", "diffusion_dpo", "cross_modal_alignment"} == set(ids[35:])


def test_ten_capabilities_with_models_and_data():
    catalogue = load_catalogue()
    assert set(catalogue.capabilities) == CAPABILITIES == set(catalogue.data_requirements)
    for capability in catalogue.capabilities.values():
        fitting = [m for m in catalogue.models.values() if capability.id in m.capabilities]
        assert len(fitting) >= 5, capability.id
        assert all(find_model(name) for name in capability.models)
        assert set(capability.picks) == {"consumer", "professional", "flagship", "research"}
        picked = [catalogue.models[i] for i in (*capability.picks.values(), capability.small_pick)]
        assert all(capability.id in m.capabilities for m in picked)
        small = catalogue.models[capability.small_pick].params_b
        assert small <= min(catalogue.models[i].params_b for i in capability.picks.values())


def test_methods_make_sense_where_they_are_offered():
    catalogue = load_catalogue()
    for capability in catalogue.capabilities.values():
        for method in capability.methods:
            assert capability.id in catalogue.methods[method].capabilities, (capability.id, method)
    for pipeline in catalogue.pipelines.values():
        for stage in pipeline.pipeline.stages:
            assert pipeline.capability in catalogue.methods[stage.method].capabilities, (pipeline.id, stage.method)
            StageSettings.model_validate(stage.config)


def test_every_row_need_has_its_requirement():
    catalogue = load_catalogue()
    needed = {need for m in catalogue.methods.values() for need in m.data_types}
    assert needed <= set(catalogue.row_requirements)
    assert all(len(m.data_types) in (1, len(m.stages)) for m in catalogue.methods.values())


@pytest.mark.parametrize("method", [m.id for m in ordered_methods()])
def test_recipes_are_stage_settings(method):
    catalogue = load_catalogue()
    entry = catalogue.methods[method]
    StageSettings.model_validate(entry.defaults)
    for capability in entry.capabilities:
        recipes = stage_defaults(entry, catalogue.capabilities[capability])
        assert len(recipes) == len(entry.stages)
        for recipe in recipes:
            StageSettings.model_validate(recipe)


def test_open_axes_are_filled_by_the_capability():
    catalogue = load_catalogue()
    dora, dpo = catalogue.methods["dora"], catalogue.methods["dpo"]
    text, image, music = (catalogue.capabilities[c] for c in ("text_generation", "image_generation", "music_generation"))
    assert [(p.adaptation, p.objective, p.strategy) for p in fill_points(dora, text)] == [("dora", "causal_lm", "single")]
    assert fill_points(dora, image)[0].objective == "denoise"
    assert fill_points(dpo, image)[0].objective == "diffusion_dpo"
    assert fill_points(dpo, text, "deepspeed")[0].strategy == "deepspeed"
    assert fill_points(catalogue.methods["fsdp"], text, "single")[0].strategy == "fsdp", "a fixed strategy stays"
    musicgen = catalogue.models["facebook/musicgen-large"]
    assert fill_points(catalogue.methods["lora"], music, model=musicgen)[0].objective == "codec_lm"
    assert fill_points(dpo, music, model=musicgen)[0].objective == "dpo", "codec tokens take plain dpo"
    stable = catalogue.models["stabilityai/stable-audio-open-1.0"]
    assert fill_points(catalogue.methods["lora"], music, model=stable)[0].objective == "denoise"
    assert fill_points(dpo, music, model=stable)[0].objective == "diffusion_dpo", "noise does not"
    way = way_of(stable, music.id)
    assert way and way.id == "sound" and stable.licence.gated and stable.licence.id == "stability-community"
    assert way_of(musicgen, music.id) is None and way_of(stable, "voice_cloning") is None
    recipe, other = stage_defaults(dpo, music, way)[0], catalogue.methods["diffusion_dpo"].defaults
    assert (recipe["objective"]["beta"], recipe["learning_rate"]) == (other["objective"]["beta"], other["learning_rate"])


def test_a_hybrid_stage_takes_its_objective_recipe():
    catalogue = load_catalogue()
    first, second = stage_defaults(catalogue.methods["hybrid_lora_dpo"], catalogue.capabilities["text_generation"])
    assert first["learning_rate"] == catalogue.methods["lora"].defaults["learning_rate"]
    assert second["learning_rate"] == catalogue.methods["dpo"].defaults["learning_rate"]
    assert second["objective"] == {"beta": 0.1}
    second["objective"]["beta"] = 9
    again = stage_defaults(catalogue.methods["hybrid_lora_dpo"], catalogue.capabilities["text_generation"])
    assert again[1]["objective"] == {"beta": 0.1}, "a caller cannot change the catalogue"


def test_an_objective_of_another_name_brings_its_own_numbers():
    catalogue = load_catalogue()
    picture, dpo = catalogue.capabilities["image_generation"], catalogue.methods["dpo"]
    (recipe,) = stage_defaults(dpo, picture)
    assert recipe["objective"]["beta"] == catalogue.methods["diffusion_dpo"].defaults["objective"]["beta"] == 2000
    assert recipe["accumulation"] == 8
    assert stage_defaults(dpo, catalogue.capabilities["chat"])[0]["objective"] == {"beta": 0.1}


def test_aliases_are_their_targets():
    catalogue = load_catalogue()
    aliases = {m.id: m.alias_of for m in catalogue.methods.values() if m.alias_of}
    assert aliases == {"fsdp": "full_finetune_fsdp", "deepspeed_zero3": "full_finetune_deepspeed"}
    for alias, target in aliases.items():
        assert catalogue.methods[alias].stages == catalogue.methods[target].stages
        assert catalogue.methods[alias].alias_note


def test_sources_and_dates():
    catalogue = load_catalogue()
    assert all(m.source for m in catalogue.methods.values())
    assert all(lic.source and lic.read_on <= date(2026, 12, 31) for lic in catalogue.licences.values())
    assert all(m.licence.source and m.licence.read_on for m in catalogue.models.values())
    assert all(p.source and date(2025, 1, 1) < p.observed_on < date(2027, 1, 1) for p in catalogue.price_history)
    assert all(rate.source and rate.as_of >= date(2026, 1, 1) for rate in catalogue.currencies.values())


@pytest.mark.parametrize("model", [m.id for m in load_catalogue().models.values() if m.arch.layers])
def test_architecture_gives_the_parameter_count(model):
    entry = load_catalogue().models[model]
    a = entry.arch
    if a.experts:
        mlp = 3 * a.hidden * a.intermediate * a.experts + a.hidden * a.experts
    else:
        mlp = 3 * a.hidden * a.intermediate
    attention = a.hidden * a.head_dim * (2 * a.heads + 2 * a.kv_heads)
    total = a.layers * (attention + mlp + 2 * a.hidden) + a.vocab * a.hidden * (1 if a.tied else 2)
    assert total / 1e9 == pytest.approx(entry.params_b, rel=0.02)


TRAINABLE = {
    "text": {"llama", "qwen2", "qwen3", "mistral"},
    "embedding": {"bert_embedding", "xlm_roberta_embedding", "qwen3_embedding", "mistral_embedding"},
    "image": {"sd15", "sdxl", "sd3", "flux1", "flux2", "qwen_image", "z_image"},
    "video": {"wan", "ltx", "cogvideox", "hunyuan_video"},
    "music": {"musicgen"},
    "sound": {"stable_audio", "ace_step15", "audioldm2"},
    "voice": {"speecht5", "csm"},
    "vision_language": {"llava", "llava_next", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl", "smolvlm"},
}
"""Families that the engine has a loader for, by modality."""


def test_trainable_families_are_those_the_engine_knows():
    capabilities = load_catalogue().capabilities
    trainable = [m for m in load_catalogue().models.values() if m.trainable_family]
    for model in trainable:
        ways = {name: way_of(model, name) for name in model.capabilities}
        (modality,) = {way.id if way else capabilities[name].modality for name, way in ways.items()}
        assert model.trainable_family in TRAINABLE[modality], model.id
    assert {"HuggingFaceTB/SmolLM2-135M-Instruct", "meta-llama/Llama-3.2-1B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct"} <= {
        m.id for m in trainable
    }


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("llama 3", "meta-llama/Llama-3.1-8B-Instruct"),
        ("Llama", "meta-llama/Llama-3.2-3B-Instruct"),
        ("LLAMA-3.3-70b", "meta-llama/Llama-3.3-70B-Instruct"),
        ("Llama 3.3 70B Instruct", "meta-llama/Llama-3.3-70B-Instruct"),
        ("smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("SmolLM2-360M", "HuggingFaceTB/SmolLM2-360M-Instruct"),
        ("qwen 7b", "Qwen/Qwen2.5-7B-Instruct"),
        ("qwen2.5 72b", "Qwen/Qwen2.5-72B-Instruct"),
        ("Qwen3-8B", "Qwen/Qwen3-8B"),
        ("mistral 7b", "mistralai/Mistral-7B-Instruct-v0.3"),
        ("mistrall 7b", "mistralai/Mistral-7B-Instruct-v0.3"),
        ("Mistral Large", "mistralai/Mistral-Large-Instruct-2411"),
        ("sdxl", "stabilityai/stable-diffusion-xl-base-1.0"),
        ("SD 3.5", "stabilityai/stable-diffusion-3.5-large"),
        ("flux dev", "black-forest-labs/FLUX.1-dev"),
        ("FLUX.1-dev", "black-forest-labs/FLUX.1-dev"),
        ("xtts", "coqui/XTTS-v2"),
        ("bark", "suno/bark"),
        ("wan 2.1", "Wan-AI/Wan2.1-T2V-14B"),
        ("Wan 2.2", "Wan-AI/Wan2.2-T2V-A14B"),
        ("hunyuan video", "tencent/HunyuanVideo"),
        ("opensora", "hpcai-tech/Open-Sora-v2"),
        ("MusicGen-Large", "facebook/musicgen-large"),
        ("ace step", "ACE-Step/acestep-v15-base"),
        ("bge-m3", "BAAI/bge-m3"),
        ("e5 mistral", "intfloat/e5-mistral-7b-instruct"),
        ("llava next", "llava-hf/llava-v1.6-mistral-7b-hf"),
        ("qwen2-vl", "Qwen/Qwen2-VL-7B-Instruct"),
        ("deepseek coder", "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct"),
    ],
)
def test_names_as_people_write_them(name, model):
    assert find_model(name).id == model


@pytest.mark.parametrize("name", ["./my-model", "s3://bucket/model", "acme/llama-3", "banana", "", "llama 9", "model.safetensors"])
def test_names_that_are_not_ours(name):
    assert find_model(name) is None


def test_names_that_do_not_exist_are_corrected():
    assert find_model("DeepSeek-Coder-V3").id == "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct"
    assert "no DeepSeek-Coder-V3" in correction("deepseek coder v3")
    assert "no model called" in correction("Qwen3.8-35B-A3B")
    assert correction("sdxl") is None


def test_corrections_of_the_market_survey_hold():
    models = load_catalogue().models
    for name in ("coqui/XTTS-v2", "facebook/musicgen-large", "cvssp/audioldm2", "black-forest-labs/FLUX.1-dev"):
        assert models[name].licence.commercial == "no", name
    assert find_model("mistral large").licence.commercial == "no"
    assert {"EU", "GB", "KR"} <= set(models["tencent/HunyuanVideo"].licence.excluded_territories)
    assert "no supported way" in models["suno/bark"].why_not
    assert models["meta-llama/Llama-3.2-1B-Instruct"].licence.gated


def test_no_spelling_names_two_models():
    """Where two models claim a spelling the first would win silently; only an id may take it from an alias."""
    seen = {}
    for model in load_catalogue().models.values():
        for alias in model.aliases:
            key = re.sub(r"[^\w]|_", "", alias.casefold())
            assert seen.setdefault(key, model.id) == model.id, f"{alias}: {seen[key]} and {model.id}"


def test_gpus_and_prices():
    assert find_gpu("4090").id == "RTX4090"
    assert find_gpu("a100 80gb").id == "A100-80GB"
    assert find_gpu("abacus") is None
    assert price_of("local", "RTX4090").usd_per_hour == 0
    quote = price_of("runpod", "H100")
    assert (quote.usd_per_hour, quote.observed_on) == (Decimal("3.99"), date(2026, 11, 9)), "newest day, highest price"
    assert price_of("runpod", "abacus") is None


def test_flagship_pipelines_are_priced_from_the_table():
    music, video = (load_catalogue().pipelines[name] for name in ("flagship_music", "flagship_video"))
    assert music.pipeline.total_estimated_hours == 120
    assert video.pipeline.total_estimated_hours == 216
    assert [s.name for s in music.pipeline.stages] == [
        "Base Model Preparation",
        "Style Specialization",
        "Quality Alignment",
        "Human Preference Tuning",
    ]
    assert [s.name for s in video.pipeline.stages] == [
        "Temporal Adapter Training",
        "MoE Expert Specialization",
        "Quality Alignment",
    ]
    assert music.pipeline.wire()["requiredGPU"] == "H100_CLUSTER_8"
    assert video.pipeline.required_gpu == "A100_80GB_CLUSTER_8"
    assert music.pipeline.estimated_cost.min == Decimal("2.69") * 960
    assert all("on 2026-" in line for line in music.priced_by)


def test_currencies():
    rates = load_catalogue().currencies
    assert rates["USD"].usd_per_unit == 1
    assert len(rates) >= 30
    assert Decimal("1.0") < rates["EUR"].usd_per_unit < Decimal("1.4")
    assert Decimal("0.008") < rates["INR"].usd_per_unit < Decimal("0.016")
    words = [w for r in rates.values() for w in r.words]
    assert len(words) == len(set(words)), "a word names one currency"


@pytest.mark.parametrize(
    ("file", "old", "new", "entry", "field"),
    [
        ("methods/peft.toml", 'tier = "consumer"', 'tier = "cheap"', "lora", "tier"),
        ("methods/peft.toml", "[lora]", "[lora]\ncolour = 1", "lora", "colour"),
        ("methods/full.toml", '"custom", ', '"poetry", ', "full_finetune", "capabilities"),
        ("models/text_small.toml", 'licence = "apache-2.0"', 'licence = "wtf"', "HuggingFaceTB/SmolLM2-135M-Instruct", "licence"),
        ("models/text_small.toml", "params_b = 0.135", "params_b = -1", "HuggingFaceTB/SmolLM2-135M-Instruct", "params_b"),
        ("capabilities.toml", 'gpu = "H100"', 'gpu = "H9"', "music_generation", "gpu"),
        ("data.toml", "min_samples = 1000,", "min_samples = 99999,", "music_generation", "*"),
        ("currencies.toml", "as_of = 2026-09-29", "", "USD", "as_of"),
        ("methods/specialised.toml", 'families = ["sd15", "sdxl"]', 'families = ["sd99"]', "textual_inversion", "families"),
        ("methods/specialised.toml", 'families_why = "a new word', 'why_not = "a new word', "textual_inversion", "*"),
        ("ways.toml", '"stable_audio"', '"stable_radio"', "sound", "families"),
        ("pipelines.toml", 'method = "lora"', 'method = "lorra"', "flagship_music", "method"),
        ("prices.toml", '["RTX3090", 0.22]', '["RTX3090", -1]', "runpod-2026-03: RTX3090", "usd_per_hour"),
        ("licences.toml", "[", "[[", "*", "*"),
    ],
)
def test_a_broken_entry_says_where(copy, file, old, new, entry, field):
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new, 1))
    with pytest.raises(KriptikError) as caught:
        read_catalogue(copy)
    assert caught.value.code == "catalogue_broken"
    found = caught.value.fields
    assert found["file"].split("/")[0] in file
    assert (found["entry"], re.sub(r"([a-z])([A-Z])", r"\1_\2", found["field"]).lower()) == (entry, field)
    assert entry in caught.value.sentence


def test_an_entry_twice_is_refused(copy):
    text = (copy / "methods/hybrid.toml").read_text()
    first = text[text.index("[hybrid_lora_dpo]") : text.index("[hybrid_full_rlhf]")]
    (copy / "methods/zz.toml").write_text(first)
    with pytest.raises(KriptikError, match="appears twice"):
        read_catalogue(copy)


@pytest.mark.parametrize(
    ("file", "old", "new", "entry"),
    [
        ("languages.toml", "coqui/XTTS-v2", "coqui/XTTS-v9", "xtts"),
        ("expectations.toml", 'adapt = "Wan-AI/Wan2.2-TI2V-5B"', 'adapt = "none/such"', "veo"),
        ("expectations.toml", "utilisation = 0.4", "utilisation = 4", "scratch"),
        ("language_models.toml", 'claude = "claude-opus-4-8"', 'claude = "claude-none"', "default"),
        ("language_models.toml", "input_usd = 5", "input_usd = -5", "claude-opus-4-8"),
        ("languages.toml", 'source = "general', 'origin = "general', "llama3"),
    ],
)
def test_a_broken_piece_of_advice_says_where(copy, file, old, new, entry):
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new, 1))
    with pytest.raises(KriptikError) as broken:
        read_advice(copy)
    assert broken.value.code == "catalogue_broken" and broken.value.fields["entry"] == entry, broken.value.sentence


def test_rules_of_licences_are_data():
    licences = load_catalogue().licences
    assert licences["stability-community"].revenue_limit_usd == Decimal(1_000_000)
    assert licences["llama3.3"].users_limit == 700_000_000 and licences["llama3.3"].must_name == "Llama"
    assert licences["hunyuan-community"].excluded_territories == ["EU", "GB", "KR"]
    assert lies_in("DE", ["EU"]) and lies_in("EU", ["DE"]) and not lies_in("CH", ["EU"])
    assert speaks("Qwen/Qwen3-8B", "sw") and speaks("coqui/XTTS-v2", "hi") and speaks("openai/gpt-oss-20b", "de") is None
