"""One step from choices to other choices: swap something, then let only what depends on it follow. Used by tiles and by edits."""

from decimal import Decimal

from kriptik.catalogue.load import load_catalogue
from kriptik.pipeline.plan.choose import allowed, method_candidates, pinned
from kriptik.pipeline.plan.cost import asking_of, gpu_of, price
from kriptik.pipeline.plan.fitting import approvable_parts
from kriptik.pipeline.plan.known import (
    Model,
    is_known,
    model_of,
    models_for,
    pipeline_of,
    stage_points,
    trained_by,
    unfit,
)
from kriptik.pipeline.plan.models import language_rank, suits
from kriptik.pipeline.plan.place import Place, fits_at, least_gpus, local_place, need_and_hours, place, provider_for, recommended
from kriptik.pipeline.plan.shape import kind_of
from kriptik.pipeline.plan.site import Case
from kriptik.spec.catalogue import ModelEntry
from kriptik.spec.intent import HardwareLimit
from kriptik.spec.job import StageSettings
from kriptik.spec.plan import Choices

Reasons = dict[str, str]
"""Field of `Choices` or `StageSettings` → why it followed."""
FOLLOWING = ("epochs", "max_steps", "micro_batch", "accumulation", "learning_rate", "schedule", "warmup_ratio", "weight_decay",
             "max_seq_len", "packing", "lora", "adaptation", "objective")  # fmt: skip
MUCH_SMALLER, MUCH_LARGER = 0.75, 1.3


def refit(before: Choices, after: Choices, case: Case, asked: frozenset[str] = frozenset()) -> tuple[Choices, Reasons]:
    """`after`, with what depends on the difference brought along: a method that no longer goes with the model, a place that no
    longer fits, settings whose recommendation changed. What a person fixed stays, and so does all that is unrelated."""
    reasons: Reasons = {}
    fixed = pinned(case.intent, after) | asked
    if not fixed & {"method"}:
        after = _method_follows(after, case, reasons)
    after = _place_follows(before, after, case, fixed, asked, reasons)
    if "method" not in fixed:
        after = _method_follows(after, case, reasons)
    return _settings_follow(before, after, case, asked, reasons), reasons


def swap(choices: Choices, case: Case, **updates: object) -> Choices:
    """The choices with some of them exchanged, refitted."""
    return refit(choices, choices.model_copy(update=updates), case, frozenset(updates))[0]


def cost_of(choices: Choices, case: Case) -> Decimal:
    """Likely dollars."""
    _need, time = need_and_hours(choices, case.rows, case.site)
    per_hour = price(choices.provider, choices.gpu, choices.gpu_count, case.site).per_hour
    return per_hour * Decimal(str(time)) + asking_of(choices, case.rows).likely


def hours_of(choices: Choices, case: Case) -> float:
    """Likely hours."""
    return need_and_hours(choices, case.rows, case.site)[1]


def fits(choices: Choices, case: Case) -> bool:
    """Whether the choices fit where they are."""
    return fits_at(choices, Place(choices.provider, choices.gpu, choices.gpu_count), case.rows, case.site)


def why_not(choices: Choices, case: Case) -> str | None:
    """Why these choices could not be approved here; None where they could (attached data apart)."""
    reason = approvable_parts(choices, case.site)
    if reason:
        return reason
    if choices.provider not in case.site.providers:
        return f"The provider {choices.provider} is not set up here."
    return None if fits(choices, case) else "It does not fit the memory there."


def smaller_models(choices: Choices, case: Case) -> list[ModelEntry]:
    """Models clearly smaller than the present one: the nearest of its family first, then the nearest that train."""
    now = model_of(choices.base_model)
    found = [m for m in _others(choices, case) if m.params_b <= now.params_b * MUCH_SMALLER]
    return sorted(found, key=lambda m: (_rank(m, now), -m.params_b))


def larger_models(choices: Choices, case: Case) -> list[ModelEntry]:
    """Models clearly larger than the present one: the nearest of its family first, then the nearest that train."""
    now = model_of(choices.base_model)
    found = [m for m in _others(choices, case) if m.params_b >= now.params_b * MUCH_LARGER]
    return sorted(found, key=lambda m: (_rank(m, now), m.params_b))


def other_models(choices: Choices, case: Case) -> list[ModelEntry]:
    """Models of another family and about the same size."""
    now = model_of(choices.base_model)
    found = [m for m in _others(choices, case) if MUCH_SMALLER < m.params_b / now.params_b < MUCH_LARGER]
    return sorted(found, key=lambda m: (m.trainable_family is None, not m.recommended, abs(m.params_b - now.params_b)))


def places(choices: Choices, case: Case) -> list[Place]:
    """Where else it would fit, cheapest run first: this machine, then every GPU with a price, alone or as many as now."""
    found: list[Place] = []
    here = local_place(choices, case.rows, case.site)
    if here is not None:
        found.append(here)
    least = least_gpus(choices.method)
    for gpu in load_catalogue().gpus.values():
        if gpu.id == "cpu":
            continue
        for count in sorted({max(1, least), max(choices.gpu_count, least)}):
            where = Place(_provider(choices, gpu.id, count, case), gpu.id, count)
            if (where.provider, gpu.id) in load_catalogue().prices and fits_at(choices, where, case.rows, case.site):
                found.append(where)
    now = Place(choices.provider, choices.gpu, choices.gpu_count)
    rest = [where for where in dict.fromkeys(found) if where != now]
    return sorted(rest, key=lambda where: cost_of(moved(choices, where, case), case))


def moved(choices: Choices, where: Place, case: Case) -> Choices:
    """The choices in another place."""
    return swap(choices, case, provider=where.provider, gpu=where.gpu, gpu_count=where.count)


def cheaper(choices: Choices, case: Case) -> tuple[Choices, str] | None:
    """The mildest change that saves a tenth or more: another place, one stage instead of many, a smaller model, fewer epochs."""
    now = cost_of(choices, case)
    fixed = pinned(case.intent, choices)
    enough = now * Decimal("0.9")
    if not fixed & {"gpu", "provider"}:
        for where in places(choices, case)[:3]:
            trial = moved(choices, where, case)
            if cost_of(trial, case) <= enough:
                return trial, f"{where.count} × {where.gpu} at {where.provider} costs less for this run"
    if pipeline_of(choices.method) is not None and "method" not in fixed:
        trial = simpler(choices, case)
        if trial is not None and cost_of(trial, case) <= enough:
            return trial, "a single stage costs a fraction of the whole pipeline"
    if "base_model" not in fixed:
        for model in smaller_models(choices, case)[:4]:
            trial = swap(choices, case, base_model=model.id)
            if cost_of(trial, case) <= enough and fits(trial, case):
                return trial, f"{model.title} is smaller, so every step costs less"
    if "epochs" not in fixed and choices.settings.epochs > 1:
        trial = _with_setting(choices, "epochs", max(1.0, choices.settings.epochs // 2))
        if cost_of(trial, case) <= enough:
            return trial, "fewer passes over the data cost less"
    return None


def faster(choices: Choices, case: Case) -> tuple[Choices, str] | None:
    """The cheapest change that saves a fifth of the time or more: a faster place, else a smaller model, else fewer epochs."""
    now, fixed = hours_of(choices, case), pinned(case.intent, choices)
    if not fixed & {"gpu"}:
        options = places(choices, case)
        if "gpu_count" not in fixed and choices.gpu != "cpu":
            options += [Place(choices.provider, choices.gpu, n) for n in (2, 4, 8) if n > choices.gpu_count]
        trials = [
            (moved(choices, where, case), where)
            for where in options
            if "provider" not in fixed or where.provider == choices.provider
        ]
        best = _quickest(trials, now, case)
        if best is not None:
            trial, where = best
            return trial, f"{where.count} × {where.gpu} computes faster"
    if "base_model" not in fixed:
        for model in smaller_models(choices, case)[:3]:
            trial = swap(choices, case, base_model=model.id)
            if hours_of(trial, case) <= now * 0.8 and fits(trial, case):
                return trial, f"{model.title} is smaller, so every step is faster"
    if choices.settings.epochs > 1:
        return _with_setting(choices, "epochs", max(1.0, choices.settings.epochs // 2)), "fewer passes over the data take less time"
    return None


def _quickest(trials: list[tuple[Choices, Place]], now: float, case: Case) -> tuple[Choices, Place] | None:
    """The cheapest that saves a fifth of the time; where none does, the fastest that saves anything worth telling."""
    timed = [(hours_of(trial, case), trial, where) for trial, where in trials]
    quick = [(trial, where) for time, trial, where in timed if time <= now * 0.8]
    if quick:
        return min(quick, key=lambda found: cost_of(found[0], case))
    slight = [found for found in timed if found[0] <= now * 0.97]
    return min(slight, key=lambda found: found[0])[1:] if slight else None


def simpler(choices: Choices, case: Case) -> Choices | None:
    """A pipeline or several stages exchanged for the best single stage of the tier below."""
    below = {"research": "professional", "flagship": "professional", "professional": "consumer"}.get(choices.tier, "consumer")
    for method in method_candidates(choices.capability, below, case.intent, case.rows):
        if method != choices.method and pipeline_of(method) is None and "+" not in method:
            trial = choices.model_copy(update={"method": method, "tier": below})
            where = place(trial, None, None, None, case.rows, case.site)
            update = {"provider": where.provider, "gpu": where.gpu, "gpu_count": where.count}
            return refit(choices, trial.model_copy(update=update), case, frozenset({"method", "gpu", "gpu_count", "provider"}))[0]
    return None


def _others(choices: Choices, case: Case) -> list[ModelEntry]:
    """Other models that may be used, by a method that was fixed too; none that is known not to speak the language asked for,
    unless the present one is such too."""
    worst = max(1, language_rank(choices.base_model, case.intent))
    found = [m for m in models_for(choices.capability) if m.id != choices.base_model and suits(model_of(m.id), case.intent)]
    if "method" in pinned(case.intent, choices):
        kept = trained_by(choices.method, [m.id for m in found])
        found = [m for m in found if m.id in kept]
    return [m for m in found if language_rank(m.id, case.intent) <= worst]


def _rank(model: ModelEntry, now: Model) -> tuple[int, int]:
    """Same family first, then models that train, then the rest."""
    brand = now.id.split("/")[-1].split("-")[0].rstrip("0123456789.").casefold()
    kin = model.id.split("/")[-1].casefold().startswith(brand)
    return (0 if kin else 1 if model.trainable_family else 2, 0)


def _provider(choices: Choices, gpu: str, count: int, case: Case) -> str:
    """The present provider where it has the GPU, else whoever has it."""
    if (choices.provider, gpu) in load_catalogue().prices:
        return choices.provider
    return provider_for(gpu, case.site, count)


def _with_setting(choices: Choices, name: str, value: object) -> Choices:
    return choices.model_copy(update={"settings": choices.settings.model_copy(update={name: value})})


def _method_follows(choices: Choices, case: Case, reasons: Reasons) -> Choices:
    """Another method where the present one makes no sense any more."""
    model = model_of(choices.base_model)
    points = stage_points(choices.method, choices.capability, choices.gpu_count, model)
    on_cpu = choices.gpu == "cpu" and any(kind_of(p.point) == "qlora" for p in points)
    sensible = is_known(choices.method) and allowed(choices.method, choices.capability, case.intent.excluded_methods)
    if sensible and unfit(choices.method, model) is None and not on_cpu:
        return choices
    for method in method_candidates(choices.capability, choices.tier, case.intent, case.rows):
        quantised = any(kind_of(p.point) == "qlora" for p in stage_points(method, choices.capability, 1, model))
        if not (quantised and choices.gpu == "cpu") and method != choices.method and unfit(method, model) is None:
            slow = "on a CPU a base in four bits only costs time"
            reasons["method"] = slow if on_cpu else f"{choices.method} does not go with this plan"
            return choices.model_copy(update={"method": method})
    return choices


def _place_follows(
    before: Choices, after: Choices, case: Case, fixed: set[str], asked: frozenset[str], reasons: Reasons
) -> Choices:
    """Another place where the plan no longer fits the present one and the person did not fix it."""
    least = least_gpus(after.method)
    if after.gpu_count < least and "gpu_count" not in asked:
        reasons["gpu_count"] = f"the method needs {least} GPUs or more"
        after = after.model_copy(update={"gpu_count": least})
    same = (before.base_model, before.method, before.gpu, before.gpu_count, before.provider, before.resolution) == (
        after.base_model, after.method, after.gpu, after.gpu_count, after.provider, after.resolution)  # fmt: skip
    if same or fits(after, case) or "gpu" in fixed:
        return after
    limit = HardwareLimit.model_validate({"count": after.gpu_count} if "gpu_count" in asked else {})
    provider = after.provider if "provider" in fixed else None
    where = place(after, limit, provider, None, case.rows, case.site)
    trial = after.model_copy(update={"provider": where.provider, "gpu": where.gpu, "gpu_count": where.count})
    if not fits(trial, case):
        return after
    why = f"{model_of(after.base_model).title} by this method does not fit {after.gpu_count} × {gpu_of(after.gpu).title}"
    reasons.update({"gpu": why, "gpu_count": why, "provider": why})
    return trial


def _settings_follow(before: Choices, after: Choices, case: Case, asked: frozenset[str], reasons: Reasons) -> Choices:
    """Settings whose recommendation moved, move; the others keep their value."""
    if _same_start(before, after):
        return after
    old, new = recommended(before, case.rows), recommended(after, case.rows)
    update: dict[str, object] = {}
    for name in FOLLOWING:
        if name in after.custom_settings or name in asked or getattr(old, name) == getattr(new, name):
            continue
        update[name] = getattr(new, name)
        reasons[name] = "the recipe for this model, method and data"
    batch = {"micro_batch", "accumulation"} & set(after.custom_settings)
    if batch:
        update = {name: value for name, value in update.items() if name not in ("micro_batch", "accumulation")}
    if not update:
        return after
    settings = StageSettings.model_validate({**after.settings.model_dump(), **_dumped(update)})
    return after.model_copy(update={"settings": settings})


def _same_start(before: Choices, after: Choices) -> bool:
    """Whether only later stages differ: what the settings are for, the first stage, is the same."""
    fields = ("base_model", "gpu", "gpu_count", "data_rows", "dataset_id", "resolution", "capability", "tier")
    if any(getattr(before, name) != getattr(after, name) for name in fields):
        return False
    first = [stage_points(c.method, c.capability, c.gpu_count, model_of(c.base_model))[:1] for c in (before, after)]
    return bool(first[0]) and [s.point for s in first[0]] == [s.point for s in first[1]]


def _dumped(update: dict[str, object]) -> dict[str, object]:
    return {name: value.model_dump() if hasattr(value, "model_dump") else value for name, value in update.items()}  # type: ignore[attr-defined]
