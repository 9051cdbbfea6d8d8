"""What each axis of a request did to a choice: a sentence each, with the source of the facts in it."""

from decimal import Decimal

from kriptik.catalogue.advice import load_advice
from kriptik.pipeline.plan.choose import pinned
from kriptik.pipeline.plan.data import sufficiency
from kriptik.pipeline.plan.known import capability_of, model_of
from kriptik.pipeline.plan.licences import rulings, wants_sale
from kriptik.pipeline.plan.models import SPOKEN, language_of, language_rank
from kriptik.pipeline.plan.reasons import dollars, gpu_reason, model_reason
from kriptik.pipeline.plan.site import Case
from kriptik.spec.plan import AxisReason, Choices, Estimate

SPEAKS = {
    0: "its makers name {language} among its languages",
    1: "whether it speaks {language} is not known",
    2: "its makers do not name {language}",
}


def reasons_of(choices: Choices, case: Case, taken: Estimate, cap: Decimal | None) -> list[AxisReason]:
    """Every axis that bears on the choice, in one order."""
    found = [
        _reason("capability", case.intent.capability is not None, _capability(choices, case)),
        _reason("tier", case.intent.quality_tier is not None, _tier(choices, case)),
        _reason("hardware", _fixes_place(choices, case), gpu_reason(choices, taken, case)),
        _reason("budget", cap is not None, _budget(choices, taken, cap)),
        _reason("data", case.rows is not None or choices.data_rows is not None, sufficiency(choices, case.rows).sentence),
        *_licence(choices, case),
        *_language(choices, case),
        _reason("deadline", case.intent.deadline_hours is not None, _deadline(case, taken)),
    ]
    return [reason for reason in found if reason.sentence]


def _reason(axis: str, asked: bool, sentence: str) -> AxisReason:
    return AxisReason.model_validate({"axis": axis, "asked": asked, "sentence": sentence})


def _capability(choices: Choices, case: Case) -> str:
    what = capability_of(choices.capability).title
    start = f"{what}, as you said" if case.intent.capability is not None else f"{what} is the best guess"
    return f"{start}. {model_of(choices.base_model).title}: {_small(model_reason(choices, case))}"


def _tier(choices: Choices, case: Case) -> str:
    asked = case.intent.quality_tier
    if asked is None:
        return f"No quality was named: {choices.tier}."
    return f"You asked for {asked}." if asked == choices.tier else f"You asked for {asked}; this is {choices.tier}."


def _fixes_place(choices: Choices, case: Case) -> bool:
    return bool({"gpu", "gpu_count", "provider"} & pinned(case.intent, choices))


def _budget(choices: Choices, taken: Estimate, cap: Decimal | None) -> str:
    most = taken.cost_usd.max
    if cap is None:
        return f"No limit was named: at most {dollars(most)} is expected, a limit of {dollars(choices.budget_max_usd)} is proposed."
    if most <= cap:
        return f"At most {dollars(most)} is expected, within your {dollars(cap)}."
    return f"Up to {dollars(most)} is expected, past your {dollars(cap)}: it would be frozen on the way."


def _licence(choices: Choices, case: Case) -> list[AxisReason]:
    model, intent = model_of(choices.base_model), case.intent
    terms, licence = intent.terms, model.licence
    named = wants_sale(intent) or bool(terms and (terms.only or terms.never or terms.gated is False))
    asked = {"licence": named, "territory": bool(terms and terms.territory)}
    source = {"source": licence.source, "as_of": licence.read_on} if licence else {}
    sentences: dict[str, list[str]] = {}
    for ruling in rulings(model, intent):
        sentences.setdefault(ruling.axis, []).append(ruling.sentence)
    return [
        _reason(axis, asked[axis], " ".join(sentences[axis])).model_copy(update=source)
        for axis in ("licence", "territory")
        if axis in sentences
    ]


def _language(choices: Choices, case: Case) -> list[AxisReason]:
    language = language_of(case.intent)
    known = load_advice().languages.get(choices.base_model)
    if language is None:
        spoken = ", ".join(known.languages[:9]) if known and choices.capability in SPOKEN else ""
        if not spoken or spoken == "*":
            return []
        found = _reason("language", False, f"No language was named; its makers name {spoken}.")
    else:
        rank = language_rank(choices.base_model, case.intent)
        found = _reason("language", True, f"{model_of(choices.base_model).title}: {SPEAKS[rank].format(language=language)}.")
    return [found.model_copy(update={"source": known.source, "as_of": known.read_on} if known else {})]


def _deadline(case: Case, taken: Estimate) -> str:
    deadline, time = case.intent.deadline_hours, taken.time_hours
    if deadline is None:
        return ""
    if time.likely > deadline:
        return f"It likely takes {time.likely:.1f} h, longer than your {deadline:g} h."
    late = f", at worst {time.high:.1f} h" if time.high > deadline else ""
    return f"It likely takes {time.likely:.1f} h{late}; you named {deadline:g} h."


def _small(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:] if sentence[:1].isupper() and not sentence[:2].isupper() else sentence
