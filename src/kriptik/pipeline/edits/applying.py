"""Does what an edit asks. Each ask moves its own axis; what depends on it follows by `moves.refit`; the rest stays where it is."""

from collections.abc import Callable

from kriptik.pipeline.edits.goals import edit_budget, edit_cost, edit_quality, edit_time, edit_vram
from kriptik.pipeline.edits.judging import edit_judge, edit_principles, edit_rollouts
from kriptik.pipeline.edits.terms import edit_terms
from kriptik.pipeline.edits.text import Ask
from kriptik.pipeline.edits.values import (
    edit_data_amount,
    edit_percent,
    edit_prompt,
    edit_reset,
    edit_resolution,
    edit_setting,
    edit_source,
)
from kriptik.pipeline.edits.what import edit_capability, edit_method, edit_model, edit_option, edit_tier
from kriptik.pipeline.edits.where import edit_gpu, edit_gpu_count, edit_hourly, edit_provider
from kriptik.pipeline.edits.work import BOUNDS, Work
from kriptik.pipeline.plan.site import Case
from kriptik.spec.errors import BadInputError
from kriptik.spec.plan import Choices


def apply_asks(choices: Choices, asks: list[Ask], case: Case) -> Work:
    """The choices after all that was asked. Raises BadInputError where asks contradict each other or cannot be met at all."""
    contradictions(asks)
    work = Work(choices, case)
    for ask in asks:
        handler = HANDLERS.get(ask.axis)
        if handler is not None:
            handler(work, ask, asks)
        elif ask.axis in BOUNDS:
            edit_setting(work, ask, asks)
    return work


def contradictions(asks: list[Ask]) -> None:
    """422 for an edit that wants two opposite things at once."""
    seen: dict[str, str] = {}
    for ask in asks:
        if ask.axis not in ("base_model", "gpu", "gpu_count", *BOUNDS) or ask.op.rstrip("st") not in ("less", "more", "le", "mor"):
            continue
        way = "less" if ask.op.startswith("le") else "more"
        if seen.setdefault(ask.axis, way) != way:
            what = ask.axis.replace("_", " ")
            raise BadInputError(
                "contradiction", f"The edit wants {what} both smaller and larger.", f'Say one: "smaller {what}" or "larger {what}".'
            )
    providers = {str(ask.value) for ask in asks if ask.axis == "provider" and ask.op == "use" and ask.value != "local"}
    if providers and any(
        ask.axis == "provider" and (ask.op == "no_cloud" or (ask.value == "local" and ask.op == "use")) for ask in asks
    ):
        named = ", ".join(sorted(providers))
        raise BadInputError(
            "contradiction", f"The edit wants no cloud and {named} at once.", f'Say "on this machine" or "on {named}".'
        )
    used = {ask.value for ask in asks if ask.axis == "method" and ask.op in ("use", "append")}
    both = used & {ask.value for ask in asks if ask.axis == "method" and ask.op == "exclude"}
    if both:
        name = str(next(iter(both)))
        raise BadInputError("contradiction", f"The edit wants {name} and rules it out.", f'Say "use {name}" or "no {name}".')


def edit_keep(work: Work, ask: Ask, _asks: list[Ask]) -> None:
    if isinstance(ask.value, tuple):
        work.frozen |= {str(axis) for axis in ask.value}


Handler = Callable[[Work, Ask, list[Ask]], None]


HANDLERS: dict[str, Handler] = {
    "keep": edit_keep,
    "option": edit_option,
    "capability": edit_capability,
    "terms": edit_terms,
    "tier": edit_tier,
    "base_model": edit_model,
    "method": edit_method,
    "provider": edit_provider,
    "gpu": edit_gpu,
    "gpu_count": edit_gpu_count,
    "price_per_hour": edit_hourly,
    "data_source": edit_source,
    "data_amount": edit_data_amount,
    "resolution": edit_resolution,
    "settings": edit_reset,
    "class_prompt": edit_prompt,
    "instance_prompt": edit_prompt,
    "judge": edit_judge,
    "principles": edit_principles,
    "rollouts": edit_rollouts,
    "notify_at_percent": edit_percent,
    "freeze_at_percent": edit_percent,
    "quality": edit_quality,
    "vram": edit_vram,
    "time": edit_time,
    "cost": edit_cost,
    "budget_max_usd": edit_budget,
}
