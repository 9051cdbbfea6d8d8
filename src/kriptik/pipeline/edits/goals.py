"""Edits that name a goal and leave the way open: better, smaller in memory, faster, cheaper, under a limit."""

from decimal import Decimal

from kriptik.pipeline.edits.text import Ask
from kriptik.pipeline.edits.where import move_to
from kriptik.pipeline.edits.work import Work, amount
from kriptik.pipeline.plan import moves
from kriptik.pipeline.plan.choose import allowed, pinned
from kriptik.pipeline.plan.cost import gpu_of
from kriptik.pipeline.plan.data import volume_of
from kriptik.pipeline.plan.place import need_and_hours
from kriptik.spec.errors import BadInputError
from kriptik.spec.plan import Choices

MANY = 6


def edit_quality(work: Work, ask: Ask, _asks: list[Ask]) -> None:
    """Better: a larger model, as far as the person did not name it; else a higher rank and more epochs."""
    if ask.op in ("less", "set"):
        edit_cost(work, Ask("cost", "less", None, ask.words), [])
        return
    found = (
        moves.larger_models(work.choices, work.case)
        if "base_model" not in pinned(work.case.intent, work.choices) | work.frozen
        else []
    )
    ready = [m for m in found if m.trainable_family] or found
    if ready:
        work.set(ask.words, base_model=ready[0].id)
        return
    settings = work.choices.settings
    update = {
        "epochs": settings.epochs + 1,
        "lora": settings.lora.model_copy(update={"rank": settings.lora.rank * 2, "alpha": settings.lora.alpha * 2}),
    }
    work.to(work.choices.model_copy(update={"settings": settings.model_copy(update=update)}), ask.words, *update)


def edit_vram(work: Work, ask: Ask, _asks: list[Ask]) -> None:
    """Less memory: a four-bit base, smaller micro-batches, a smaller model, in this order, until the limit or a third less."""
    before, _hours = need_and_hours(work.choices, work.case.rows, work.case.site)
    target = float(str(ask.value)) if ask.op == "most" else before * 0.7
    if ask.op == "most" and before <= target and gpu_of(work.choices.gpu).vram_gb * work.choices.gpu_count <= target * 1.05:
        return
    for step in (_four_bit, _small_micro, _short, _smaller):
        need = need_and_hours(work.choices, work.case.rows, work.case.site)[0]
        while need > target and step(work, ask):
            need = need_and_hours(work.choices, work.case.rows, work.case.site)[0]
    if ask.op == "most" and gpu_of(work.choices.gpu).vram_gb * work.choices.gpu_count > target * 1.05 and "gpu" not in work.frozen:
        small = [
            w for w in moves.places(work.choices, work.case) if w.gpu != "cpu" and gpu_of(w.gpu).vram_gb * w.count <= target * 1.05
        ]
        if small:
            move_to(work, ask, small[0], "")


def _four_bit(work: Work, ask: Ask) -> bool:
    swaps = {"lora": "qlora", "dora": "qdora"}
    wanted = swaps.get(work.choices.method)
    if (
        wanted is None
        or work.choices.gpu == "cpu"
        or "method" in work.frozen
        or not allowed(wanted, work.choices.capability, work.case.intent.excluded_methods)
    ):
        return False
    work.reasons["method"] = "a four-bit base takes about a third of the memory"
    work.to(work.choices.model_copy(update={"method": wanted}), ask.words)
    return True


def _small_micro(work: Work, ask: Ask) -> bool:
    settings = work.choices.settings
    if settings.micro_batch <= 1:
        return False
    half = settings.micro_batch // 2
    update = {"micro_batch": half, "accumulation": max(1, settings.accumulation * settings.micro_batch // half)}
    work.reasons.update(dict.fromkeys(update, "smaller micro-batches take less memory"))
    work.choices = work.choices.model_copy(update={"settings": settings.model_copy(update=update)})
    return True


def _short(work: Work, ask: Ask) -> bool:
    settings = work.choices.settings
    longest = volume_of(work.choices, work.case.rows).longest
    if settings.max_seq_len // 2 < max(longest, 256) or "max_seq_len" in work.choices.custom_settings:
        return False
    work.reasons["max_seq_len"] = "shorter sequences take less memory, and no row is that long"
    update = {"max_seq_len": settings.max_seq_len // 2}
    work.choices = work.choices.model_copy(update={"settings": settings.model_copy(update=update)})
    return True


def _smaller(work: Work, ask: Ask) -> bool:
    if "base_model" in pinned(work.case.intent, work.choices) | work.frozen:
        return False
    found = moves.smaller_models(work.choices, work.case)
    if not found:
        return False
    work.reasons["base_model"] = "a smaller model takes less memory"
    work.to(work.choices.model_copy(update={"base_model": found[0].id}), ask.words)
    return True


def _faster_and_cheaper(work: Work, ask: Ask) -> bool:
    """One step that saves time and money alike: a smaller model, else fewer epochs. A faster machine alone would cost more."""
    held = work.held()
    fixed = pinned(work.case.intent, held)
    trials: list[tuple[Choices, str]] = []
    if "base_model" not in fixed:
        for model in moves.smaller_models(held, work.case)[:4]:
            trials.append((moves.swap(held, work.case, base_model=model.id), f"{model.title} is smaller, so every step takes less"))
    if "epochs" not in fixed and held.settings.epochs > 1:
        settings = held.settings.model_copy(update={"epochs": max(1.0, held.settings.epochs // 2)})
        trials.append((held.model_copy(update={"settings": settings}), "fewer passes over the data take less"))
    now = moves.hours_of(held, work.case), moves.cost_of(held, work.case)
    for trial, why in trials:
        if moves.hours_of(trial, work.case) < now[0] and moves.cost_of(trial, work.case) < now[1] and moves.fits(trial, work.case):
            kept = trial.model_copy(update={"custom_settings": work.choices.custom_settings})
            return work.step((kept, why), ask.words, "faster and cheaper")
    return False


def edit_time(work: Work, ask: Ask, asks: list[Ask]) -> None:
    if ask.op == "less" and any(a.axis == "cost" for a in asks) and _faster_and_cheaper(work, ask):
        work.met.add("cost")
        return
    if ask.op == "more":
        if not work.step(work.search(moves.cheaper), ask.words, "it may take longer"):
            work.notes.append("It is as cheap as it gets already.")
        return
    if ask.op != "most":
        if not work.step(work.search(moves.faster), ask.words, "faster"):
            raise BadInputError(
                "not_faster",
                "Nothing makes this plan faster within what you fixed.",
                "Let the model, the GPU or the epochs move.",
            )
        return
    target = float(str(ask.value))
    for _ in range(MANY):
        if moves.hours_of(work.choices, work.case) <= target:
            return
        if not work.step(work.search(moves.faster), ask.words, f"to end within {target:g} h"):
            break
    late = moves.hours_of(work.choices, work.case)
    if late > target:
        work.notes.append(f"The nearest that can be had takes {late:.1f} h, not {target:g} h.")


def edit_cost(work: Work, ask: Ask, asks: list[Ask]) -> None:
    if "cost" in work.met or any(a.axis == "budget_max_usd" for a in asks):
        return
    if moves.cost_of(work.choices, work.case) == 0 or not work.step(work.search(moves.cheaper), ask.words, "cheaper"):
        raise BadInputError(
            "not_cheaper",
            "Nothing makes this plan cheaper within what you fixed.",
            "Let the model, the GPU or the epochs move, or see the economy option.",
        )


def edit_budget(work: Work, ask: Ask, asks: list[Ask]) -> None:
    now = float(work.choices.budget_max_usd)
    if ask.op in ("less", "more") and ask.value is None:
        value = now * (0.5 if ask.op == "less" else 2.0)
    elif ask.op == "subtract":
        value = now - float(str(ask.value))
    else:
        value = amount(ask, now, "budget_max_usd")
    if value <= 0:
        raise BadInputError("budget_too_low", "A budget must be more than nothing.", "Name a sum above $0.")
    work.set(ask.words, budget_max_usd=Decimal(f"{value:.2f}"))
    _under_budget(work)


def _under_budget(work: Work) -> None:
    """Brings the plan under its limit by the mildest steps, as far as they go."""
    limit = work.choices.budget_max_usd
    for _ in range(MANY):
        if moves.cost_of(work.choices, work.case) <= limit:
            return
        if not work.step(work.search(moves.cheaper), "", f"to stay under ${limit}"):
            break
    cost = moves.cost_of(work.choices, work.case)
    if cost > limit:
        work.notes.append(f"The nearest that can be had costs about ${cost:.2f}; it would be frozen at the limit.")
