"""`kriptik modify --batch`: plan edits in plain English, line by line; a thin view of `edit.change_words`. No row ever raises."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from kriptik.catalogue.load import find_gpu, load_catalogue
from kriptik.pipeline.edit import change_words
from kriptik.pipeline.plan.choose import choose, default_budget
from kriptik.pipeline.plan.cost import estimate
from kriptik.pipeline.plan.data import assumed_rows
from kriptik.pipeline.plan.known import capability_of, is_known, model_of
from kriptik.pipeline.plan.place import place, with_recipe
from kriptik.pipeline.plan.site import CLOUD_ORDER, Case, Site
from kriptik.spec.errors import KriptikError
from kriptik.spec.intent import HardwareLimit, TrainingIntent
from kriptik.spec.plan import Choices

SITE = Site(providers=frozenset({"local", *CLOUD_ORDER}))
"""Nothing is known of a machine here, so every provider counts as set up and a local run is taken at its word."""
TIERS = ("consumer", "professional", "flagship", "research")


def modify_batch(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """{id, start, modification} → {id, contract: {changed_tiles, before, after, needs_clarification, approval_required}}."""
    for row in rows:
        yield {"id": row.get("id") if isinstance(row, Mapping) else None, "contract": modify_one(row)}


def modify_one(row: Mapping[str, Any]) -> dict[str, Any]:
    """One edit. What cannot be done asks for clarification and leaves everything as it was."""
    start = row.get("start") if isinstance(row, Mapping) else None
    start = start if isinstance(start, Mapping) else {}
    words = row.get("modification") if isinstance(row, Mapping) else None
    choices, case = start_of(start)
    before = figures(choices, case) | _spelled(start)
    answer: dict[str, Any] = {
        "changed_tiles": [],
        "before": before,
        "after": dict(before),
        "needs_clarification": False,
        "approval_required": True,
    }
    if not isinstance(words, str) or not words.strip() or row.get("error"):
        return answer | {"needs_clarification": True}
    try:
        change = change_words(choices, case, words[:20_000])
    except KriptikError as error:
        return answer | {"needs_clarification": True, "question": f"{error.sentence} {error.next_step}".strip()}
    now = figures(change.choices, change.case)
    same = {name: value for name, value in _spelled(start).items() if now.get(name) == figures(choices, case).get(name)}
    answer["after"] = now | same
    answer["changed_tiles"] = list(change.affected)
    answer["changes"] = [one.wire() for one in change.changes]
    return answer


def start_of(start: Mapping[str, Any]) -> tuple[Choices, Case]:
    """The plan that a row starts from: what it names, the rest as the planner would choose."""
    capability = capability_of(_text(start.get("capability")) or "custom").id
    tier = _text(start.get("tier"))
    intent = TrainingIntent.model_validate({"is_training_request": True, "capability": capability})
    case = Case(intent, SITE)
    chosen = choose(intent, SITE, None, tier=tier if tier in TIERS else None).choices
    update: dict[str, Any] = {}
    if name := _text(start.get("base_model")):
        update["base_model"] = model_of(name).id
    method = _text(start.get("method")).replace("-", "_").replace(" ", "_").casefold()
    if method and is_known(method):
        update["method"] = method
    elif method and is_known(_text(start.get("method"))):
        update["method"] = _text(start.get("method"))
    gpu, count = _gpu(start.get("gpu"))
    if gpu:
        trial = chosen.model_copy(update=update)
        where = place(trial, HardwareLimit.model_validate({"gpu": gpu, "count": count}), None, None, None, SITE)
        update |= {"gpu": where.gpu, "gpu_count": where.count, "provider": where.provider}
    if isinstance(given := start.get("gpu_count"), int) and not isinstance(given, bool) and given > 0:
        update["gpu_count"] = given
    if (provider := _text(start.get("provider"))) in load_catalogue_providers():
        update["provider"] = provider
    choices = with_recipe(chosen.model_copy(update=update), None)
    budget = start.get("budget_max_usd")
    if isinstance(budget, int | float) and not isinstance(budget, bool) and 0 < budget < 1e8:
        cap = Decimal(str(budget))
    else:
        cap = default_budget(choices, None, SITE)
    return choices.model_copy(update={"budget_max_usd": cap, "data_rows": assumed_rows(choices)}), case


def load_catalogue_providers() -> set[str]:
    """Every provider that has a price, and those without that a person may name."""
    return {who for who, _gpu_id in load_catalogue().prices} | {"local", "colab", "kubernetes", "gcp"}


def figures(choices: Choices, case: Case) -> dict[str, Any]:
    """The numbers and names of a plan under the batch's own words."""
    taken = estimate(choices, case.rows, case.site)
    settings = choices.settings
    found: dict[str, Any] = {
        "params": model_of(choices.base_model).params_b,
        "cost": float(taken.cost_usd.likely or 0),
        "vram": taken.vram_gb.likely,
        "time": taken.time_hours.likely,
        "epochs": settings.epochs,
        "batch_size": settings.micro_batch * settings.accumulation * choices.gpu_count,
        "learning_rate": settings.learning_rate,
        "seq_len": settings.max_seq_len,
        "rank": settings.lora.rank,
        "gpu_count": choices.gpu_count,
        "data_amount": choices.data_rows or assumed_rows(choices),
        "tier": choices.tier,
        "base_model": choices.base_model,
        "method": choices.method,
        "gpu": choices.gpu,
        "provider": choices.provider,
        "budget_max_usd": float(choices.budget_max_usd),
    }
    if choices.capability in ("image_generation", "video_generation", "multimodal"):
        found["resolution"] = choices.resolution or (720 if choices.capability == "video_generation" else 1024)
    return found


def _spelled(start: Mapping[str, Any]) -> dict[str, Any]:
    """Names as the row spells them, so that what did not move compares equal."""
    return {name: start[name] for name in ("tier", "base_model", "method", "gpu") if _text(start.get(name))}


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _gpu(value: Any) -> tuple[str | None, int | None]:
    """The catalogue's id and how many, from "2x A100"; None for a number that is not there."""
    text = _text(value).casefold().replace("×", "x")
    count: int | None = None
    for separator in ("x ", " x", "x"):
        head, mark, tail = text.partition(separator)
        if mark and head.strip().isdigit():
            text, count = tail.strip(), int(head)
            break
        if mark and tail.strip().isdigit() and head.strip():
            text, count = head.strip(), int(tail)
            break
    found = find_gpu(text) or find_gpu(text.replace("_", " ")) if text else None
    return (found.id, count or None) if found else (None, None)
