"""Memory, time and money: against published figures, as intervals, and moving the right way."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning_help import CLOUD, FAQ, laptop

from kriptik.engine.media import making
from kriptik.pipeline.plan import cost
from kriptik.pipeline.plan.cost import LOOKS, MADE, estimate, gpu_of, look_seconds, looks, price, stage_seconds
from kriptik.pipeline.plan.known import capability_of, model_of, stage_points
from kriptik.pipeline.plan.memory import stage_need
from kriptik.pipeline.plan.place import Place, at
from kriptik.pipeline.plan.settings import Volume, tokens_of
from kriptik.pipeline.plan.site import Machine, Site
from kriptik.spec.catalogue import Point
from kriptik.spec.job import StageSettings
from kriptik.spec.plan import Choices


def choices(model="meta-llama/Llama-3.1-8B-Instruct", method="lora", gpu="A100-80GB", count=1, provider="runpod", **rest):
    made = Choices(
        tier="consumer",
        base_model=model,
        method=method,
        gpu=gpu,
        gpu_count=count,
        provider=provider,
        data_source="user_upload",
        budget_max_usd=Decimal(10),
        **{"capability": "text_generation", "data_rows": 40_000, **rest},
    )
    return at(made, Place(provider, gpu, count), None)


@pytest.mark.parametrize(
    ("model", "method", "stated"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "qlora", (5, 14)),
        ("meta-llama/Llama-3.1-8B-Instruct", "lora", (16, 24)),
        ("Qwen/Qwen3-32B", "qlora", (22, 32)),
        ("meta-llama/Llama-3.3-70B-Instruct", "qlora", (40, 48)),
    ],
)
def test_memory_agrees_with_published_tables(model, method, stated):
    need = estimate(choices(model, method), None, CLOUD).vram_gb
    assert need.low <= stated[1] and stated[0] <= need.high, "the interval meets what trainers state"
    assert need.high / need.low < 4


def test_full_fine_tuning_takes_about_sixteen_bytes_per_parameter():
    need = estimate(choices(method="full_finetune", gpu="H100", count=8), None, CLOUD).vram_gb.likely / 8
    assert 110 <= need <= 170


def test_time_agrees_with_the_worked_example():
    taken = estimate(choices(method="qlora", gpu="RTX4090", data_rows=int(9.6e6 / 250 / 0.9 / 2)), None, CLOUD)
    assert taken.time_hours.low <= 1.7 + 0.3 <= taken.time_hours.high


def test_what_trains_every_weight_is_counted_as_such():
    """GaLore makes the gradients of all weights small in the optimizer, not the work of computing them."""
    hours = {m: estimate(choices(method=m, count=1), None, CLOUD).time_hours.likely for m in ("lora", "galore")}
    assert 1.4 * hours["lora"] < hours["galore"]


def test_a_laptop_is_priced_as_the_operator_says():
    local = choices("HuggingFaceTB/SmolLM2-135M-Instruct", gpu="cpu", provider="local")
    free = estimate(local, FAQ, laptop("0"))
    dear = estimate(local, FAQ, laptop("6"))
    assert free.cost_usd.max == 0 and free.price_per_hour == 0
    assert dear.price_per_hour == 6 and dear.cost_usd.likely > 0
    assert price("local", "H100", 8, laptop("6")).per_hour == 6, "whatever is in the machine"


def test_modal_bills_cores_and_memory_besides():
    assert price("modal", "H100", 1, CLOUD).per_hour == pytest.approx(Decimal("4.84"), abs=Decimal("0.02"))


def test_an_unknown_price_is_called_a_guess():
    quoted = price("colab", "H100", 1, CLOUD)
    assert not quoted.known and "no price on record" in quoted.source
    assert estimate(choices(gpu="H100", provider="colab"), None, CLOUD).cost_usd.source == "guess"


def test_more_cores_are_faster_and_too_little_memory_is_said():
    local = choices("HuggingFaceTB/SmolLM2-1.7B-Instruct", gpu="cpu", provider="local")
    two = estimate(local, FAQ, Site(machine=Machine(memory_gb=64, cores=2)))
    eight = estimate(local, FAQ, Site(machine=Machine(memory_gb=64, cores=8)))
    assert eight.time_hours.likely < two.time_hours.likely
    small = estimate(local, FAQ, Site(machine=Machine(memory_gb=4, cores=2)))
    assert not small.fits and "GB" in small.why_not


def test_attached_rows_make_the_estimate_analytic_not_a_guess():
    local = choices("HuggingFaceTB/SmolLM2-135M-Instruct", gpu="cpu", provider="local", data_rows=None)
    assert estimate(local, None, laptop()).time_hours.source == "guess"
    attached = local.model_copy(update={"dataset_id": "ds"})
    assert estimate(attached, FAQ, laptop()).time_hours.source == "analytic"


MODELS = ["HuggingFaceTB/SmolLM2-135M-Instruct", "Qwen/Qwen3-4B", "meta-llama/Llama-3.3-70B-Instruct"]


@settings(max_examples=60, deadline=None)
@given(
    model=st.sampled_from(MODELS),
    method=st.sampled_from(["lora", "qlora", "dora", "full_finetune", "dora+dpo", "rlvr"]),
    gpu=st.sampled_from(["RTX4090", "A100-80GB", "H100"]),
    count=st.sampled_from([1, 2, 8]),
    rows=st.integers(1, 200_000),
    epochs=st.floats(0.1, 20),
)
def test_intervals_are_ordered_and_more_work_never_costs_less(model, method, gpu, count, rows, epochs):
    made = choices(model, method, gpu, count, data_rows=rows)
    some = made.model_copy(update={"settings": made.settings.model_copy(update={"epochs": epochs})})
    more = made.model_copy(update={"settings": made.settings.model_copy(update={"epochs": epochs * 2})})
    first, second = estimate(some, None, CLOUD), estimate(more, None, CLOUD)
    for taken in (first, second):
        for interval in (taken.time_hours, taken.vram_gb, taken.disk_gb):
            assert 0 <= interval.low <= interval.likely <= interval.high
        assert 0 <= taken.cost_usd.min <= taken.cost_usd.likely <= taken.cost_usd.max
    assert first.time_hours.likely <= second.time_hours.likely and first.cost_usd.likely <= second.cost_usd.likely
    assert StageSettings.model_validate(some.settings.model_dump()) == some.settings


def test_pairs_of_pictures_take_two_pictures_and_a_reference():
    """Two pictures forward and backward and two through the reference; all weights at once need a frozen copy of them besides."""
    picture = {"model": "Tongyi-MAI/Z-Image", "capability": "image_generation", "data_rows": 4000}
    made = {name: estimate(choices(method=name, **picture), None, CLOUD) for name in ("lora", "diffusion_dpo")}
    assert made["diffusion_dpo"].vram_gb.likely > made["lora"].vram_gb.likely
    model, gpu = model_of(picture["model"]), gpu_of("A100-80GB")
    settings = StageSettings(packing=False, max_seq_len=4096, micro_batch=1, accumulation=100)
    usual = stage_points("lora", "image_generation")[0]
    for adaptation, copy in (("lora", 0.0), ("full", 2.0 * model.params_b)):
        points = (Point(adaptation=adaptation, objective=aim, strategy="single") for aim in ("denoise", "diffusion_dpo"))
        plain, pairs = (replace(usual, point=point) for point in points)
        one, other = (stage_need(model, stage, settings, gpu, 1) for stage in (plain, pairs))
        assert other.extra - one.extra == pytest.approx(copy) and other.activations > 1.6 * one.activations
        volume = Volume(100, 4096, 4096)
        took = [stage_seconds(choices(**picture), model, gpu, stage, settings, volume, CLOUD) for stage in (plain, pairs)]
        assert 2.5 <= took[1] / took[0] <= 3.1


def test_as_many_are_counted_as_are_made():
    made = {capability_of(name).modality: count for name, count in MADE.items()}
    assert made == {name: making.MADE[name].usual for name in made}, "the planner, which has no torch, counts what the engine makes"


def test_pictures_made_on_the_way_are_counted():
    """Of four held-out captions and three prompts at each look, twenty steps of two passes; of several ranks one makes them."""
    picture = {"model": "Tongyi-MAI/Z-Image", "capability": "image_generation", "data_rows": 4000}
    model, gpu, usual = model_of(picture["model"]), gpu_of("A100-80GB"), stage_points("lora", "image_generation")[0]

    def look(held_out, count=1):
        return look_seconds(choices(**picture, count=count), model, gpu, Volume(100, 4096, 4096, held_out=held_out), CLOUD)

    row = stage_seconds(choices(**picture), model, gpu, usual, StageSettings(epochs=1, packing=False), Volume(1, 4096, 4096), CLOUD)
    file = 20 * 2 * 2 / (4 * 1.33) * row
    assert look(7) == pytest.approx(7 * file, rel=0.02) and look(2) == pytest.approx(4 * file, rel=0.02) and look(0) == 0
    assert look(7, count=2) == pytest.approx(7 * file, rel=0.02)


@pytest.mark.parametrize(("epochs", "times"), [(1, LOOKS - 1), (100, LOOKS)])
def test_a_look_half_way_must_not_take_more_than_a_quarter_of_the_training(epochs, times):
    picture = {"model": "Tongyi-MAI/Z-Image", "capability": "image_generation", "data_rows": 100}
    stage = stage_points("lora", "image_generation")[0]
    assert looks(choices(**picture), [(stage, StageSettings(epochs=epochs))], Volume(100, 4096, 4096, held_out=7)) == times


@pytest.mark.parametrize(("rows", "each", "steps"), [(400, 61, 10), (80, 716, 3), (40, 2000, 5), (400, 61, 10_000)])
def test_a_packed_update_is_as_many_tokens_as_its_sequences_hold(rows, each, steps):
    """A limit on updates takes that share of all tokens; rows longer than a sequence count as far as they are read."""
    volume = Volume(rows, each, 2 * each)
    packed = StageSettings(packing=True, max_seq_len=512, micro_batch=2, accumulation=1, epochs=3, max_steps=steps)
    whole = tokens_of(packed.model_copy(update={"max_steps": None}), volume, 1)
    assert whole == 3 * rows * min(each, 512)
    if steps == 10_000:
        assert tokens_of(packed, volume, 1) == whole
    else:
        assert 0.75 * 1024 <= tokens_of(packed, volume, 1) / steps <= 1024


def on_cpu(method, volume, **more):
    made = choices("HuggingFaceTB/SmolLM2-135M-Instruct", method, "cpu", provider="local")
    stage, site = stage_points(method, "text_generation")[0], laptop()
    settings = StageSettings(packing=True, max_seq_len=2048, micro_batch=1, epochs=1, **more)
    return stage_seconds(made, model_of(made.base_model), gpu_of("cpu"), stage, settings, volume, site)


def test_on_a_cpu_long_rows_and_small_updates_take_longer_per_token():
    short, long = (on_cpu("lora", Volume(rows, 102_400 / rows, 2048)) for rows in (1024, 64))
    assert 1.2 * short < long < 3 * short, "attention grows with the row"
    few, many = (on_cpu("full_finetune", Volume(100, 1000, 2048), accumulation=times) for times in (16, 1))
    assert few < many < 2 * few, "each update goes through all weights and moments once"


def test_checkpoints_and_the_smoke_test_are_in_the_time(monkeypatch):
    made = choices("HuggingFaceTB/SmolLM2-360M-Instruct", "full_finetune", "cpu", provider="local", data_rows=100)
    usual = estimate(made, None, laptop()).time_hours.likely
    monkeypatch.setattr(cost, "DISK_GB_S", cost.DISK_GB_S / 2)
    slow = estimate(made, None, laptop()).time_hours.likely
    assert (slow - usual) * 3600 > 2 * 0.36 * 14 / 0.4, "one of the smoke test and one at the end, of 14 bytes a weight"
    monkeypatch.setattr(cost, "SMOKE_S", cost.SMOKE_S + 1000)
    assert estimate(made, None, laptop()).time_hours.likely == pytest.approx(slow + 1000 / 3600, abs=0.06)
