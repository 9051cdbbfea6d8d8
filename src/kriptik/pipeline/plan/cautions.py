"""What to mind about a plan before it is approved: limits it would pass, terms of licences, what was asked for and is not met."""

from decimal import Decimal

from kriptik.catalogue.advice import place_name
from kriptik.catalogue.load import correction
from kriptik.pipeline.plan.choose import named_method
from kriptik.pipeline.plan.known import entries, model_of
from kriptik.pipeline.plan.licences import forbidden
from kriptik.pipeline.plan.models import language_of, language_rank
from kriptik.pipeline.plan.options import cap_of
from kriptik.pipeline.plan.reasons import dollars
from kriptik.pipeline.plan.site import Case, Rows
from kriptik.spec.consent import ConsentNeed
from kriptik.spec.plan import Choices, Estimate, PlanOption


def cautions(
    choices: Choices, estimate: Estimate, case: Case, options: list[PlanOption], need: ConsentNeed | None = None
) -> list[str]:
    """Sentences, those on money first. `need`: whose consent the plan needs."""
    intent, found = case.intent, []
    model = model_of(choices.base_model)
    if intent.conflict:
        found.append("The request contradicts itself: this is the nearest plan, not all of it.")
    found += [*_limits(choices, estimate, case, options), *_terms(choices, case, options)]
    if intent.base_model and (note := correction(intent.base_model)):
        found.append(note)
    if model.guessed:
        found.append(f"{model.id} is not in the catalogue; its size of {model.params_b:g}B is a guess.")
    if need is not None and need.subject == "voice":
        found.append("A voice may be cloned only with the recorded consent of the person it belongs to.")
        found += _voices(choices, case.rows)
    elif need is not None:
        found.append(f"Pictures of a person (“{need.who}”) may be learnt only with the recorded consent of the person they show.")
    if _class_unsaid(choices):
        found.append(
            "DreamBooth is not told yet what kind of thing its subject is, and so cannot keep how the others of that kind look: "
            'say, for example, class prompt "a photo of a dog".'
        )
    if named_method(intent) is None and intent.methods:
        found.append(f"No such method here: {', '.join(intent.methods)}.")
    if not estimate.fits and estimate.why_not:
        found.append(estimate.why_not)
    return found


def _voices(choices: Choices, rows: Rows | None) -> list[str]:
    """What is known of who speaks in the attached recordings."""
    if rows is None or rows.dataset_id != choices.dataset_id or rows.kind != "sounds":
        return []
    if rows.other_voices is None:
        return ["Whether all recordings are of one person was not checked: have them listened to on the page of the data set."]
    if rows.other_voices == 0:
        return []
    sound = "sounds" if rows.other_voices == 1 else "sound"
    which = f"{rows.other_voices:,} of the recordings {sound} like another voice than most"
    return [f"{which}: look at the page of the data set, and leave out what is not of one person."]


def _class_unsaid(choices: Choices) -> bool:
    """Whether pictures of a class are made, and the class is the recipe's, which fits any subject and helps none."""
    default = next((one.defaults.get("objective") for one in entries(choices.method)), None)
    told = choices.settings.objective.get("class_prompt")
    return told is not None and isinstance(default, dict) and told == default.get("class_prompt")


def _limits(choices: Choices, estimate: Estimate, case: Case, options: list[PlanOption]) -> list[str]:
    cap, cost, deadline = choices.budget_max_usd, estimate.cost_usd, case.intent.deadline_hours
    found, near = [], _nearest_within(options)
    frozen = f"the limit of {dollars(cap)}: the run would be frozen on the way. {near}".strip()
    if cap < Decimal(str(cost.likely or 0)):
        found.append(f"The likely cost of {dollars(cost.likely or 0)} is above {frozen}")
    elif cap_of(case.intent, choices) is not None and cost.max > cap:
        found.append(f"It may cost up to {dollars(cost.max)}, past {frozen}")
    if deadline is not None and estimate.time_hours.likely > deadline:
        found.append(f"It will probably take {estimate.time_hours.likely:.1f} h, longer than the {deadline:g} h you named.")
    return found


def _terms(choices: Choices, case: Case, options: list[PlanOption]) -> list[str]:
    model, intent = model_of(choices.base_model), case.intent
    licence, found = model.licence, []
    if (against := forbidden(model, intent)) is not None:
        found.append(f"What you asked rules this model out: {against} {_nearest_within(options)}".strip())
    elif licence and licence.commercial == "no":
        found.append(f"Mind the licence: {licence.name} does not allow commercial use.")
    elif licence and licence.commercial == "conditional" and licence.notes:
        found.append(f"{licence.name}: {licence.notes}")
    if licence and licence.excluded_territories and not (intent.terms and intent.terms.territory):
        found.append(f"The licence does not apply in: {', '.join(map(place_name, licence.excluded_territories))}.")
    if language_rank(model.id, intent) == 2:
        found.append(f"The makers of {model.title} do not name {language_of(intent)} among its languages.")
    return found


def _nearest_within(options: list[PlanOption]) -> str:
    """The recommended plan within the limits, where it is another than the present one, as a sentence."""
    near = next((option for option in options if option.key == "recommended"), None)
    if near is None:
        return "Nothing that is known trains within the limits: raise the limit, or loosen what was ruled out."
    return "" if near.in_plan else f"Nearest within your limits: {near.title}."
