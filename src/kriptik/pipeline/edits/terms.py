"""Edits of what the result is for in law: commercial use, where it is used, which licences will do."""

import re

from kriptik.pipeline.edits.text import Ask
from kriptik.pipeline.edits.work import Work, differing
from kriptik.pipeline.intent.terms import terms
from kriptik.pipeline.intent.text import read_text
from kriptik.pipeline.plan.choose import choose
from kriptik.pipeline.plan.known import model_of
from kriptik.pipeline.plan.licences import forbidden
from kriptik.pipeline.plan.options import cap_of
from kriptik.pipeline.plan.site import Case
from kriptik.spec.intent import OutputMention, TermsMention, TrainingIntent

_SALE = re.compile(
    r"\b(?:for\s+|allow\s+|allows\s+)?commercial(?:ly)?\s+(?:use|usage|purposes?|licen[cs]e|rights|product)\b|\bused?\s+(?:it\s+)?commercially\b"
    r"|\b(?:sell|monetis?z?e)\s+(?:it|the\s+(?:model|result|output))\b"
)
_NOT = re.compile(r"\b(?:no|not|non|never|without)\b[\s-]*(?:for\s+)?(?:any\s+)?(?:commercial|sell|monetis?z?e)")


def said_terms(prompt: str) -> list[Ask]:
    """What an edit says of licences and places, as one ask; none where it says nothing of them."""
    reading = read_text(prompt)
    found = terms(reading)
    sale = _SALE.search(reading.text) is not None and _NOT.search(reading.text) is None
    return [Ask("terms", "use", (sale, found), prompt.strip())] if sale or found else []


def edit_terms(work: Work, ask: Ask, _asks: list[Ask]) -> None:
    """The request with these terms; another model only where the present one may not be used under them."""
    sale, found = ask.value if isinstance(ask.value, tuple) else (False, None)
    before, wish = work.choices, _with(work.case.intent, sale, found)
    work.case = Case(wish, work.case.site, work.case.rows)
    if forbidden(model_of(before.base_model), wish) is None:
        work.notes.append("The base model may be used like that; nothing else had to change.")
        return
    cap = cap_of(wish, before)
    free = {"base_model": None, "budget_max_usd": None if cap is None else float(cap), "quality_tier": before.tier}
    fresh = choose(wish.model_copy(update=free), work.case.site, work.case.rows, keep=before).choices
    money = before.budget_max_usd if cap is not None else fresh.budget_max_usd
    custom = [name for name in before.custom_settings if name != "base_model"]
    work.choices = fresh.model_copy(update={"budget_max_usd": money, "custom_settings": custom})
    for name in differing(before, work.choices):
        work.asked[name] = ask.words
        work.picked.add(name)


def _with(intent: TrainingIntent, sale: bool, found: TermsMention | None) -> TrainingIntent:
    update: dict[str, object] = {}
    if sale:
        output = intent.output or OutputMention.model_validate({})
        update["output"] = output.model_copy(update={"license": "commercial"})
    if found is not None:
        said = {name: value for name, value in found if value not in (None, [])}
        update["terms"] = (intent.terms or TermsMention.model_validate({})).model_copy(update=said)
    return intent.model_copy(update=update)

