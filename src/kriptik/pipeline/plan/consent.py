"""Whose consent a plan needs before it is approved: that of the person whose voice is learnt, or whom the pictures are to show."""

from kriptik.pipeline.intent.people import kind_in, person_in
from kriptik.pipeline.plan.known import capability_of
from kriptik.spec.consent import ConsentNeed
from kriptik.spec.plan import Choices

SHOWN = frozenset({"image_generation", "video_generation"})
"""Capabilities whose results may show a person."""
PROMPTS = ("instance_prompt", "class_prompt")
"""Of an objective: what its subject is called, and what kind of thing it is."""


def consent_need(choices: Choices, prompt: str) -> ConsentNeed | None:
    """None where no person is the subject. Told by the request's words, and by what the method is told of its subject; who is on
    the pictures that were sent is not looked at."""
    if capability_of(choices.capability).modality == "voice":
        return ConsentNeed(subject="voice")
    if choices.capability not in SHOWN:
        return None
    told = (str(choices.settings.objective.get(name) or "") for name in PROMPTS)
    who = person_in(prompt) or next(filter(None, map(kind_in, told)), None)
    return ConsentNeed(subject="likeness", who=who) if who else None
