"""What would change a choice, and to what: found by planning with another answer, never guessed."""

from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from itertools import islice

from kriptik.catalogue.advice import load_advice, place_name
from kriptik.pipeline.plan.choose import choose
from kriptik.pipeline.plan.cost import gpu_of
from kriptik.pipeline.plan.fitting import WITHIN, Limits, grade
from kriptik.pipeline.plan.known import method_title, model_of
from kriptik.pipeline.plan.licences import wants_sale
from kriptik.pipeline.plan.models import SPOKEN, language_of
from kriptik.pipeline.plan.options import Menu
from kriptik.pipeline.plan.place import costs, forecast
from kriptik.pipeline.plan.reasons import dollars
from kriptik.spec.errors import BadInputError
from kriptik.spec.intent import OutputMention, TermsMention, TrainingIntent
from kriptik.spec.plan import Choices

MOST = 5


def changes_of(menu: Menu) -> list[str]:
    """Sentences, those on what was asked for first; none without a recommended plan."""
    middle = menu.plans.get("recommended")
    if middle is None:
        return []
    found = [_tier(menu, middle), _money(menu), *_licence(menu, middle), _language(menu, middle), *_time_and_place(menu, middle)]
    return list(islice(filter(None, found), MOST))


def _planned(menu: Menu, wish: TrainingIntent, tier: str) -> Choices | None:
    with suppress(BadInputError):
        found = choose(wish, menu.case.site, menu.case.rows, tier=tier)
        if grade(found.choices, Limits.of(wish), menu.case.rows, menu.case.site) == WITHIN:
            return found.choices
    return None


def _title(choices: Choices) -> str:
    return f"{model_of(choices.base_model).title} with {method_title(choices.method)}"


def _tier(menu: Menu, middle: Choices) -> str:
    """What the tier that was asked for would take, where the limit allowed only a lower one."""
    asked = menu.wish.quality_tier
    if asked is None or asked == middle.tier:
        return ""
    free = menu.wish.model_copy(update={"budget_max_usd": None, "deadline_hours": None})
    full = _planned(menu, free, asked)
    if full is None:
        return ""
    most = costs(full, menu.case.rows, menu.case.site)[1]
    return f"A limit of {dollars(most.quantize(Decimal(1)))} or more: {_title(full)}, the {asked} tier you asked for."


def _money(menu: Menu) -> str:
    """Where no limit was named: below which one the cheaper plan is taken."""
    lower, middle = menu.plans.get("economy"), menu.plans["recommended"]
    if menu.wish.budget_max_usd is not None or lower is None:
        return ""
    most = costs(middle, menu.case.rows, menu.case.site)[1]
    return f"A limit below {dollars(most.quantize(Decimal('0.01')))}: the economy plan, {_title(lower)}."


def _licence(menu: Menu, middle: Choices) -> Iterator[str]:
    licence = model_of(middle.base_model).licence
    if licence is None:
        return
    wish, free = menu.wish, {"base_model": None}
    if licence.commercial == "no" and not wants_sale(wish):
        output = (wish.output or OutputMention.model_validate({})).model_copy(update={"license": "commercial"})
        other = _planned(menu, wish.model_copy(update={**free, "output": output}), middle.tier)
        if other and other.base_model != middle.base_model:
            yield f"Commercial use: {_title(other)}, since {licence.name} does not allow it."
    terms = wish.terms or TermsMention.model_validate({})
    if licence.excluded_territories and terms.territory is None:
        where = licence.excluded_territories[0]
        update = {**free, "terms": terms.model_copy(update={"territory": where})}
        other = _planned(menu, wish.model_copy(update=update), middle.tier)
        if other and other.base_model != middle.base_model:
            yield f"Use in {place_name(where)}: {_title(other)}, since {licence.name} does not apply there."
    if licence.gated and terms.gated is None:
        update = {**free, "terms": terms.model_copy(update={"gated": False})}
        other = _planned(menu, wish.model_copy(update=update), middle.tier)
        if other and other.base_model != middle.base_model:
            yield f"No model whose terms must be accepted first: {_title(other)}."


def _language(menu: Menu, middle: Choices) -> str:
    """For a model of English alone: which one another language would lead to."""
    known = load_advice().languages.get(middle.base_model)
    if known is None or known.languages != ["en"] or menu.wish.meant not in SPOKEN or language_of(menu.wish):
        return ""
    output = (menu.wish.output or OutputMention.model_validate({})).model_copy(update={"language": "de"})
    other = _planned(menu, menu.wish.model_copy(update={"base_model": None, "output": output}), middle.tier)
    if other is None or other.base_model == middle.base_model:
        return ""
    return f"Another language than English (German, say): {_title(other)}."


def _time_and_place(menu: Menu, middle: Choices) -> Iterator[str]:
    time = forecast(middle, menu.case.rows, menu.case.site)
    if menu.wish.deadline_hours is None and time.hours > 1:
        soon = float(f"{time.hours / 2:.1g}")
        other = _planned(menu, menu.wish.model_copy(update={"deadline_hours": soon}), middle.tier)
        if other and (other.gpu, other.gpu_count, other.provider) != (middle.gpu, middle.gpu_count, middle.provider):
            cost = costs(other, menu.case.rows, menu.case.site)[0]
            where = "this machine" if other.provider == "local" else f"{other.gpu_count} × {other.gpu} at {other.provider}"
            yield f"A result within {soon:g} h: {where}, about {dollars(cost.quantize(Decimal('0.01')))}."
    if middle.provider != "local" and gpu_of(middle.gpu).vram_gb and middle.gpu_count == 1:
        yield f"A GPU of your own with {time.need_gb:.0f} GB or more: nothing to rent."
