"""What is worth asking: at most two questions, each with a default that the plan already follows, only where an answer changes it.

Whether it does is found by planning with each answer, not guessed: an answer that leads to the same plan is not offered, and a
question with no such answer is not asked. Every choice is a plain-English edit, so that answering is editing.
"""

from itertools import islice

from kriptik.pipeline.plan.choose import choose
from kriptik.pipeline.plan.data import SOURCES, row_needs
from kriptik.pipeline.plan.known import capability_of
from kriptik.pipeline.plan.site import Case
from kriptik.spec.errors import BadInputError
from kriptik.spec.intent import TrainingIntent
from kriptik.spec.plan import Choices, PendingDecision

MOST, MOST_ANSWERS = 2, 4
TIERS = ("consumer", "professional", "flagship")
HERE = "on this machine"
AXES = ("base_model", "method", "gpu", "gpu_count", "provider", "tier")
"""What makes it another plan."""


def questions_of(choices: Choices, case: Case) -> list[PendingDecision]:
    """The open questions of a plan, those that change most first."""
    asked = (ask(choices, case) for ask in (_capability, _data, _tier, _place))
    return list(islice(filter(None, asked), MOST))


def _capability(choices: Choices, case: Case) -> PendingDecision | None:
    """Where the text leaves a doubt what it is for: the best guess is planned."""
    intent = case.intent
    if len(intent.guesses) < 2 or choices.capability != intent.meant:
        return None
    answers = [
        one
        for one in intent.guesses
        if one == choices.capability
        or _other_plan(choices, case, intent.model_copy(update={"capability": one, "guesses": []}), choices.tier)
    ]
    question = intent.question if intent.capability is None and intent.question else "What should it do?"
    words = [capability_of(one).answer for one in answers]
    return _asked("capability", question, capability_of(choices.capability).answer, words)


def _data(choices: Choices, _case: Case) -> PendingDecision | None:
    """Rows change the amount, the time and the price of any plan."""
    if choices.dataset_id is not None:
        return None
    needs = ", ".join(need.replace("_", " ") for need in row_needs(choices.method))
    return PendingDecision(field="data", question=f"Which rows is it trained on ({needs})?", default=SOURCES[choices.data_source])


def _tier(choices: Choices, case: Case) -> PendingDecision | None:
    if case.intent.quality_tier is not None or "tier" in choices.custom_settings:
        return None
    answers = [tier for tier in TIERS if tier == choices.tier or _other_plan(choices, case, case.intent, tier, but="tier")]
    return _asked("tier", "How good must it be?", choices.tier, answers)


def _place(choices: Choices, case: Case) -> PendingDecision | None:
    """Only where there is a choice: this machine, and a provider that is set up."""
    intent = case.intent
    if intent.provider or (intent.hardware and intent.hardware.cpu_only) or "provider" in choices.custom_settings:
        return None
    answers = [
        name
        for name in sorted(case.site.providers, key=lambda name: (name != choices.provider, name != "local", name))
        if name == choices.provider or _other_plan(choices, case, intent.model_copy(update={"provider": name}), choices.tier)
    ]
    return _asked("provider", "Where may it be trained?", _place_words(choices.provider), [_place_words(name) for name in answers])


def _place_words(provider: str) -> str:
    return HERE if provider == "local" else f"on {provider}"


def _asked(field: str, question: str, default: str, answers: list[str]) -> PendingDecision | None:
    """The question, if an answer other than the default is left."""
    if not set(answers) - {default}:
        return None
    return PendingDecision(field=field, question=question, default=default, choices=answers[:MOST_ANSWERS])


def _other_plan(choices: Choices, case: Case, intent: TrainingIntent, tier: str, but: str = "") -> bool:
    """Whether planning with this answer leads elsewhere than to `choices`, the axis `but` aside; no if it cannot be planned."""
    try:
        other = choose(intent, case.site, case.rows, tier=tier).choices
    except BadInputError:
        return False
    return any(getattr(other, axis) != getattr(choices, axis) for axis in AXES if axis != but)
