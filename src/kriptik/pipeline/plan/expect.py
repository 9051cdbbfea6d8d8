"""What to expect of a choice, in words, and where it ends: honest before anything was measured. Facts are the catalogue's."""

from decimal import Decimal

from kriptik.catalogue.advice import bar_of, load_advice
from kriptik.catalogue.load import load_catalogue
from kriptik.pipeline.plan.cost import gpu_of
from kriptik.pipeline.plan.data import sufficiency
from kriptik.pipeline.plan.known import TEXT_CAPABILITIES, capability_of, model_of
from kriptik.pipeline.plan.site import Case
from kriptik.spec.plan import Choices

TINY_B = 0.5
STEP = Decimal(100)


def expected_quality(choices: Choices) -> str:
    """What to expect: nothing here was measured yet."""
    model = model_of(choices.base_model)
    if choices.capability in TEXT_CAPABILITIES and model.params_b < TINY_B:
        return "Style and format of your rows; facts stay unreliable at this size."
    words = load_advice().quality[capability_of(choices.capability).id]
    return words.get(choices.tier, words["consumer"])  # type: ignore[call-overload]


def limits_of(choices: Choices, case: Case, cap: Decimal | None) -> str:
    """What it will not do: against the product held up as the bar, for the rows there are, and by the model's own weakness."""
    model = model_of(choices.base_model)
    told = [*_against_bar(choices, case, cap)]
    enough = sufficiency(choices, case.rows)
    if enough.have and enough.tier == "too_few":
        told.append(enough.sentence)
    weak = model.entry.weaknesses[:1] if model.entry else []
    told += [f"{model.title}: {weak[0]}."] if weak else ["Judge it by the held-out rows at the end."]
    return " ".join(told)


def scratch_usd(params_b: float) -> Decimal:
    """The compute of training so many billion parameters from nothing, in dollars at the catalogue's lowest price.

    6·N·D FLOP for D = tokens per parameter · N, as many as a well-known open model was given, at the utilisation of its run. Data,
    failed runs and people are not in it.
    """
    facts = load_advice().scratch
    params = params_b * 1e9
    flops = 6 * params * facts.tokens_per_param * params
    hours = flops / (gpu_of(facts.gpu).tflops_bf16 * 1e12 * facts.utilisation * 3600)
    cheapest = min(p.usd_per_hour for p in load_catalogue().price_history if p.gpu == facts.gpu)
    return (Decimal(str(hours)) * cheapest / STEP).quantize(Decimal(1)) * STEP


def _against_bar(choices: Choices, case: Case, cap: Decimal | None) -> list[str]:
    product = case.intent.benchmark_model
    if product is None:
        return []
    model, bar, like = model_of(choices.base_model), bar_of(product), load_advice().scratch.like
    scratch = scratch_usd(model.params_b)
    name = f"{product[0].upper()}{product[1:]}"
    alone = f"{model.params_b:g}B parameters from nothing take about ${scratch:,.0f} of compute alone, trained as long as {like}"
    if scratch <= 0:
        told = [f"{name}-quality is not promised: this adapts {model.title}."]
    elif cap is not None and scratch > cap:
        told = [f"{name}-quality from scratch is out of reach for ${cap:,.0f}: adapt {model.title}; {alone}."]
    else:
        told = [f"This adapts {model.title}; {alone}."]
    return [*told, bar.reach] if bar is not None and bar.capability == choices.capability else told
