"""Where a plan runs: the GPU, how many, at which provider. What the person named stands; else the cheapest that fits in time."""

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from kriptik.catalogue.load import find_gpu, load_catalogue
from kriptik.pipeline.plan.cost import (
    CLOUD_SETUP_H,
    FILLS_GPU,
    asking_of,
    capacity_gb,
    card_of,
    fit,
    gpu_of,
    hours,
    need_of,
    price,
    stages_of,
)
from kriptik.pipeline.plan.data import volume_of
from kriptik.pipeline.plan.known import capability_of, entries, model_of, pipeline_of, stage_points
from kriptik.pipeline.plan.memory import stage_need
from kriptik.pipeline.plan.settings import Volume, recipe
from kriptik.pipeline.plan.site import CLOUD_ORDER, Machine, Rows, Site
from kriptik.spec.intent import HardwareLimit
from kriptik.spec.job import StageSettings
from kriptik.spec.plan import Choices

COUNTS = (1, 2, 4, 8)
CPU_MOST_B = 1.0
"""A CPU is proposed for models up to this size; larger ones only where the person asks for it."""
PATIENCE_H = {"consumer": 24.0, "professional": 72.0, "flagship": 400.0, "research": 1000.0}
LOCAL_PATIENCE_H = 8.0
LEAST_CLOUD_H = Decimal(str(CLOUD_SETUP_H))
"""No rented run is shorter."""


@dataclass(frozen=True)
class Place:
    """Somewhere to train."""

    provider: str
    gpu: str
    count: int = 1


class Forecast(NamedTuple):
    """What choices are expected to take: likely memory in GB, likely hours, and the most hours that are expected."""

    need_gb: float
    hours: float
    most_hours: float


def place(
    choices: Choices,
    limit: HardwareLimit | None,
    provider: str | None,
    deadline_h: float | None,
    rows: Rows | None,
    site: Site,
    cap: Decimal | None = None,
) -> Place:
    """The place for a model and method that are already chosen. `cap`: dollars that the run must not be able to pass."""
    limit = limit or HardwareLimit.model_validate({})
    least = least_gpus(choices.method)
    if limit.cpu_only:
        return Place(provider or "local", "cpu")
    pipeline = pipeline_of(choices.method)
    if limit.gpu:
        found = find_gpu(limit.gpu)
        gpu = found.id if found else "A100-80GB"
        count = (
            limit.count or (pipeline.gpu_count if pipeline else 0) or _count_that_fits(choices, gpu, provider, rows, site, least)
        )
        return Place(provider or provider_for(gpu, site, count), gpu, count)
    if provider == "local":
        machine = site.machine
        return (
            Place("local", machine.gpu, limit.count or min(machine.gpu_count, least))
            if machine
            else Place("local", choices.gpu, choices.gpu_count)
        )
    if pipeline is not None:
        return Place(
            provider or provider_for(pipeline.gpu, site, pipeline.gpu_count), pipeline.gpu, limit.count or pipeline.gpu_count
        )
    if provider is None and limit.vram_gb is None and limit.count is None:
        here = local_place(choices, rows, site)
        if here is not None and (cap is None or costs(at(choices, here, rows), rows, site)[1] <= cap):
            return here
    return _cheapest(choices, limit, provider, deadline_h, rows, site, least, cap)


def local_place(choices: Choices, rows: Rows | None, site: Site) -> Place | None:
    """This machine, where the plan would sensibly run on it; else None."""
    machine = site.machine
    if machine is None or "local" not in site.providers or least_gpus(choices.method) > machine.gpu_count:
        return None
    model = model_of(choices.base_model)
    if (machine.gpu == "cpu" and (model.why_not or model.active_b > CPU_MOST_B)) or site.lacking(model.needs, "local"):
        return None
    if choices.tier in ("flagship", "research"):
        return None
    here = Place("local", machine.gpu, least_gpus(choices.method))
    trial = at(choices, here, rows)
    need, time = need_and_hours(trial, rows, site)
    room = capacity_gb(trial, gpu_of(here.gpu), site)
    fits = room is None or need <= room
    return here if fits and time <= LOCAL_PATIENCE_H else None


def at(choices: Choices, where: Place, rows: Rows | None) -> Choices:
    """The choices moved there, with the recommended settings of that place (those set by hand stay)."""
    moved = choices.model_copy(update={"provider": where.provider, "gpu": where.gpu, "gpu_count": where.count})
    return with_recipe(moved, rows)


def with_recipe(choices: Choices, rows: Rows | None) -> Choices:
    """The choices with the recommended settings of their first stage; what was set by hand stays."""
    fitted = recommended(choices, rows)
    kept = {name: getattr(choices.settings, name) for name in choices.custom_settings if name in StageSettings.model_fields}
    return choices.model_copy(update={"settings": fitted.model_copy(update=kept) if kept else fitted})


def recommended(choices: Choices, rows: Rows | None) -> StageSettings:
    """The recommended settings of the first stage, whatever was set by hand. Shared: take a copy to change one."""
    return _fitted(choices.base_model, choices.method, choices.capability, choices.gpu, choices.gpu_count, volume_of(choices, rows))


@lru_cache(maxsize=16_384)
def _fitted(base_model: str, method: str, capability: str, gpu_name: str, count: int, volume: Volume) -> StageSettings:
    model, gpu = model_of(base_model), gpu_of(gpu_name)
    points = stage_points(method, capability, count, model)
    if not points:
        return StageSettings.model_validate({})
    settings = recipe(model, points[0], gpu, count, volume)
    room = gpu.vram_gb * count if gpu.vram_gb else None
    while room and settings.micro_batch > 1 and stage_need(model, points[0], settings, gpu, count).total > room * 0.9:
        half = settings.micro_batch // 2
        grown = max(1, settings.accumulation * settings.micro_batch // half)
        settings = settings.model_copy(update={"micro_batch": half, "accumulation": grown})
    return settings


def need_and_hours(choices: Choices, rows: Rows | None, site: Site) -> tuple[float, float]:
    """Likely memory in GB and likely hours."""
    return forecast(choices, rows, site)[:2]


def forecast(choices: Choices, rows: Rows | None, site: Site) -> Forecast:
    """What the choices are expected to take. Of choices that follow the recipe it is kept, since many are compared."""
    volume = volume_of(choices, rows)
    by_recipe = choices.settings is _fitted(
        choices.base_model, choices.method, choices.capability, choices.gpu, choices.gpu_count, volume
    )
    if not by_recipe or choices.custom_settings:
        return _forecast(choices, volume, site)
    local = choices.provider == "local"
    return _recipe_forecast(
        choices.base_model, choices.method, choices.capability, choices.gpu, choices.gpu_count, volume, site.machine, local
    )


def _forecast_at(choices: Choices, where: Place, volume: Volume, rows: Rows | None, site: Site) -> Forecast:
    """What the choices would take in a rented place, by the recipe of that place."""
    if choices.custom_settings:
        return forecast(at(choices, where, rows), rows, site)
    what = (choices.base_model, choices.method, choices.capability)
    return _recipe_forecast(*what, where.gpu, where.count, volume, site.machine, local=False)


@lru_cache(maxsize=16_384)
def _recipe_forecast(
    base_model: str,
    method: str,
    capability: str,
    gpu: str,
    count: int,
    volume: Volume,
    machine: Machine | None,
    local: bool,
) -> Forecast:
    settings = _fitted(base_model, method, capability, gpu, count, volume)
    trial = _SOME.model_copy(
        update={
            "capability": capability,
            "base_model": base_model,
            "method": method,
            "gpu": gpu,
            "gpu_count": count,
            "provider": "local" if local else "elsewhere",
            "settings": settings,
        }
    )
    return _forecast(trial, volume, Site(machine=machine))


_SOME = Choices.model_validate(
    {
        "capability": "custom",
        "tier": "consumer",
        "base_model": "",
        "method": "",
        "gpu": "cpu",
        "provider": "local",
        "data_source": "user_upload",
        "budget_max_usd": 0,
    }
)
"""What a forecast does not look at."""


def _forecast(choices: Choices, volume: Volume, site: Site) -> Forecast:
    model, gpu, stages = model_of(choices.base_model), card_of(choices, site), stages_of(choices, volume)
    time = hours(choices, model, gpu, stages, volume, site)[0]
    return Forecast(need_of(choices, model, gpu, stages).likely, time.likely, time.high)


def costs(choices: Choices, rows: Rows | None, site: Site) -> tuple[Decimal, Decimal]:
    """Likely dollars, and the most dollars that are expected."""
    taken = forecast(choices, rows, site)
    per_hour, asked = price(choices.provider, choices.gpu, choices.gpu_count, site).per_hour, asking_of(choices, rows)
    return per_hour * Decimal(str(taken.hours)) + asked.likely, per_hour * Decimal(str(taken.most_hours)) + asked.most


def fits_at(choices: Choices, where: Place, rows: Rows | None, site: Site) -> bool:
    """Whether the plan fits there."""
    trial = at(choices, where, rows)
    volume = volume_of(trial, rows)
    model, gpu = model_of(trial.base_model), card_of(trial, site)
    need = need_of(trial, model, gpu, stages_of(trial, volume))
    return fit(need, trial, gpu, site)[0]


def least_gpus(method: str) -> int:
    """The fewest GPUs that every stage accepts."""
    return max((entry.min_gpus for entry in entries(method)), default=1)


def provider_for(gpu: str, site: Site, count: int = 1) -> str:
    """Who has this GPU: a provider that is set up here first, then in order of the table; runpod where none has a price."""
    machine = site.machine
    if gpu == "cpu" or (machine and machine.gpu == gpu and machine.gpu_count >= count and "local" in site.providers):
        return "local"
    priced = {who for (who, what) in load_catalogue().prices if what == gpu}
    ready = [who for who in CLOUD_ORDER if who in site.providers]
    for who in (*(w for w in ready if w in priced), *(w for w in CLOUD_ORDER if w in priced), *ready):
        return who
    return "runpod"


def _count_that_fits(choices: Choices, gpu: str, provider: str | None, rows: Rows | None, site: Site, least: int) -> int:
    if gpu == "cpu":
        return 1
    for count in COUNTS:
        where = Place(provider or provider_for(gpu, site, count), gpu, count)
        if count >= least and fits_at(choices, where, rows, site):
            return count
    return max(least, 1)


def _cheapest(
    choices: Choices,
    limit: HardwareLimit,
    provider: str | None,
    deadline_h: float | None,
    rows: Rows | None,
    site: Site,
    least: int,
    cap: Decimal | None,
) -> Place:
    """Cheapest whole run among the places that fit and end in time; the fastest that fits where none ends in time."""
    patience = deadline_h * 0.9 if deadline_h else PATIENCE_H.get(choices.tier, 72.0)
    home = capability_of(choices.capability).gpu if choices.tier != "consumer" and limit.vram_gb is None else None
    offers = [
        (where, price(where.provider, where.gpu, where.count, site).per_hour)
        for where in _places(provider, limit, least, site)
        if limit.vram_gb is None or gpu_of(where.gpu).vram_gb * where.count <= limit.vram_gb * 1.02
    ]
    affordable = [(where, rate) for where, rate in offers if cap is None or rate * LEAST_CLOUD_H <= cap]
    best = _best_offer(choices, affordable, patience, cap, home, rows, site)
    if (best is None or best[0][0]) and len(affordable) < len(offers):
        best = _best_offer(choices, offers, patience, cap, home, rows, site)
    if best is not None:
        return best[1]
    if limit.vram_gb is not None:
        smaller = [g for g in load_catalogue().gpus.values() if g.id != "cpu" and g.vram_gb <= limit.vram_gb * 1.02]
        if smaller:
            gpu = max(smaller, key=lambda g: (g.vram_gb, g.tflops_bf16)).id
            return Place(provider or provider_for(gpu, site), gpu, limit.count or least)
    return Place(provider or provider_for("H100", site, 8), "H100", limit.count or 8)


def _best_offer(
    choices: Choices,
    offers: list[tuple[Place, Decimal]],
    patience: float,
    cap: Decimal | None,
    home: str | None,
    rows: Rows | None,
    site: Site,
) -> tuple[tuple[bool, bool, bool, Decimal | float], Place] | None:
    """The best of places with their dollars per hour, and why: under the cap, in time, on the usual GPU `home`, cheapest."""
    best: tuple[tuple[bool, bool, bool, Decimal | float], Place] | None = None
    enough: set[str] = set()
    volume = volume_of(choices, rows)
    for where, per_hour in offers:
        if where.gpu in enough:
            continue
        need, time, most = _forecast_at(choices, where, volume, rows, site)
        room = gpu_of(where.gpu).vram_gb * where.count * FILLS_GPU
        if need > room:
            continue
        late = time > patience
        if not late:
            enough.add(where.gpu)  # more of the same GPU would cost more
        over = cap is not None and per_hour * Decimal(str(most)) > cap
        off_home = home is not None and where.gpu != home
        key = (over, late, off_home, time if late else per_hour * Decimal(str(time)))
        if best is None or key < best[0]:
            best = (key, where)
    return best


def _places(provider: str | None, limit: HardwareLimit, least: int, site: Site) -> list[Place]:
    """Every GPU and count worth a look: at the named provider, else at those set up here, else at all with a price."""
    prices = load_catalogue().prices
    ready = {who for who in CLOUD_ORDER if who in site.providers}
    asked = {provider} if provider else ready or set(CLOUD_ORDER)
    offers = sorted({(who, gpu) for (who, gpu) in prices if who in asked and gpu != "cpu"})
    if not offers:
        offers = sorted({(provider or "runpod", gpu) for (_who, gpu) in prices if gpu != "cpu"})
    known: dict[str, str] = {}
    for who, gpu in offers:
        if gpu not in known or _rank(who) < _rank(known[gpu]):
            known[gpu] = who
    counts = (limit.count,) if limit.count else tuple(c for c in COUNTS if c >= least) or (least,)
    return [Place(who, gpu, count) for gpu, who in sorted(known.items()) for count in counts]


def _rank(provider: str) -> int:
    return CLOUD_ORDER.index(provider) if provider in CLOUD_ORDER else len(CLOUD_ORDER)
