"""The choice on every axis: what the person named stands, what they ruled out never comes back, the rest follows from capability,
tier, hardware, budget, data and licence. Each choice can say why (`reasons.py`)."""

from dataclasses import dataclass
from decimal import Decimal

from kriptik.catalogue.load import find_gpu, load_catalogue
from kriptik.pipeline.plan.data import mismatch
from kriptik.pipeline.plan.fitting import FITS, WITHIN, Fitted, Limits, approvable_parts, best_of_models
from kriptik.pipeline.plan.known import (
    FIRST,
    TEXT_CAPABILITIES,
    capability_of,
    entries,
    excluded,
    is_known,
    model_of,
    pipeline_of,
    trained_by,
)
from kriptik.pipeline.plan.ladder import METHODS, TIERS, tiers_down
from kriptik.pipeline.plan.models import model_candidates
from kriptik.pipeline.plan.place import costs, forecast
from kriptik.pipeline.plan.site import Rows, Site
from kriptik.spec.errors import BadInputError
from kriptik.spec.intent import TrainingIntent
from kriptik.spec.job import StageSettings
from kriptik.spec.plan import Choices

FEW_IMAGES = 100
LEAST_SHARE = 0.3
"""Where a limit presses, a tier is kept by no model smaller than this share of its usual one: then the tier below is honest."""
MOST_PRESSED = 5
"""Models tried in a tier before the one below is, where a limit presses."""
KEPT = (
    "data_source", "dataset_id", "data_rows", "resolution", "notify_at_percent", "freeze_at_percent",
    "judge", "principles", "rollouts",
)  # fmt: skip
"""Choices that do not depend on model, method or place."""
PREFERENCE_METHODS = ("dpo", "orpo", "simpo", "kto")
NICE = (Decimal("0.5"), *(Decimal(n) * 10**e for e in range(0, 7) for n in (1, 2, 3, 5, 8)))
DEFAULT_TIER = "consumer"


@dataclass(frozen=True)
class Chosen:
    """The choices, and what is worth telling about how they came about."""

    choices: Choices
    assumed: list[str]
    """What the request left open, as sentences."""
    grade: int = WITHIN
    """How far they keep to the limits on money and time (`fitting`)."""


def choose(
    intent: TrainingIntent, site: Site, rows: Rows | None, *, tier: str | None = None, keep: Choices | None = None
) -> Chosen:
    """Chooses on every axis. `tier` overrides the request's (for other options); a limit on money or time may lower the
    request's own. `keep`: choices whose data and settings set by hand stay. Raises BadInputError without a capability."""
    if intent.meant is None:
        raise BadInputError(
            "needs_clarification",
            "The request does not say what kind of model it should become.",
            intent.question or "Say what the model should make: text, code, pictures, video, music, a voice or embeddings.",
        )
    assumed: list[str] = []
    if intent.guesses:
        assumed.append(f"What it is for is the best guess: {capability_of(intent.guesses[0]).title.lower()}.")
    chosen_tier = tier or intent.quality_tier or DEFAULT_TIER
    if intent.quality_tier is None and tier is None:
        assumed.append(f"No quality was named: planned for the {chosen_tier} tier.")
    found, asked = _within_limits(intent, chosen_tier, rows, site, keep, down=tier is None and Limits.of(intent).any)
    choices = found.choices
    if choices.tier != chosen_tier:
        assumed.append(_lowered(asked.choices, choices, intent, rows, site))
    if intent.budget_max_usd is None:
        choices = choices.model_copy(update={"budget_max_usd": default_budget(choices, rows, site)})
        assumed.append(f"No budget was named: a cap of ${choices.budget_max_usd:,.0f} is proposed from the estimate.")
    if rows is None and (intent.data is None or intent.data.amount is None):
        assumed.append("No data was attached: time and cost assume the amount that the tier usually takes.")
    if keep is not None:
        choices = choices.model_copy(update={"custom_settings": keep.custom_settings})
    return Chosen(choices, assumed, found.grade)


def _lowered(asked: Choices, choices: Choices, intent: TrainingIntent, rows: Rows | None, site: Site) -> str:
    """Why a lower tier was planned than the one asked for."""
    cap, deadline = intent.budget_max_usd, intent.deadline_hours
    most, hours = costs(asked, rows, site)[1], forecast(asked, rows, site).hours
    if cap is not None and most > Decimal(str(cap)):
        what = f"may cost up to ${most:,.0f}, past the ${cap:,.2f} you named"
    elif deadline is not None and hours > deadline:
        what = f"takes about {hours:,.0f} h, past the {deadline:g} h you named"
    else:
        what = "does not fit the hardware"
    return f"The {asked.tier} tier {what}: this is planned for the {choices.tier} tier, the best that stays below."


def named_method(intent: TrainingIntent) -> str | None:
    """The methods a person named as one choice; a hybrid where the catalogue has one for them; None where none was named."""
    named = [m for m in intent.methods if is_known(m)]
    if not named:
        return None
    if len(named) == 1:
        return named[0]
    hybrids = {frozenset({"lora", "dpo"}): "hybrid_lora_dpo", frozenset({"full_finetune", "rlhf_ppo"}): "hybrid_full_rlhf"}
    return hybrids.get(frozenset(named)) or "+".join(_in_order(named))


def method_candidates(capability: str, tier: str, intent: TrainingIntent, rows: Rows | None) -> list[str]:
    """Methods for a capability and tier in order of preference, without what was ruled out. Never empty unless all is ruled out."""
    modality = "code" if capability == "code_generation" else capability_of(capability).modality
    table = METHODS[modality]
    order = list(table.get(tier, table["consumer"]))
    kind = rows.kind if rows else {"preferences": "preferences"}.get((intent.data.type or "") if intent.data else "", "")
    if kind == "preferences" and capability in TEXT_CAPABILITIES:
        order = [*PREFERENCE_METHODS[:3], *order]
    elif kind in ("preferences", "image_pairs", "video_pairs") and modality in ("image", "video"):
        order = ["diffusion_dpo", *order]
    elif kind == "feedback":
        order = ["kto", *order]
    amount = intent.data.amount if intent.data else None
    if modality == "image" and tier == "consumer" and amount is not None and amount <= FEW_IMAGES and intent.data:
        order = ["dreambooth", *order]
    others = [m for m in load_catalogue().methods if m not in order and load_catalogue().methods[m].alias_of is None]
    found = [m for m in dict.fromkeys([*order, *table["consumer"]]) if allowed(m, capability, intent.excluded_methods)]
    return found or [m for m in others if allowed(m, capability, intent.excluded_methods)]


def allowed(method: str, capability: str, banned: list[str]) -> bool:
    """Whether a choice makes sense for the capability and holds nothing that was ruled out."""
    known = capability_of(capability).id
    return is_known(method) and all(known in entry.capabilities for entry in entries(method)) and excluded(method, banned) is None


def default_budget(choices: Choices, rows: Rows | None, site: Site) -> Decimal:
    """A cap that the run stays under: the next round sum above the most it is expected to cost."""
    likely, most = costs(choices, rows, site)
    wanted = max(likely * Decimal("1.8"), most)
    return next((n for n in NICE if n >= max(wanted, Decimal(1))), NICE[-1])


def _bare(intent: TrainingIntent, tier: str, rows: Rows | None, keep: Choices | None) -> Choices:
    data = intent.data
    amount = (
        int(data.amount)
        if data and data.amount and (data.unit or "") not in ("gb", "mb", "tb", "hours", "minutes", "seconds", "tokens")
        else None
    )
    source = "user_upload" if rows else (data.source if data and data.source else None)
    bare = Choices(
        capability=intent.meant or "custom",
        tier=tier,
        base_model="",
        method="",
        gpu="cpu",
        gpu_count=1,
        provider="local",
        data_source=source or ("hybrid" if tier == "flagship" else "user_upload"),
        dataset_id=rows.dataset_id if rows else None,
        data_rows=rows.rows if rows else amount or None,
        budget_max_usd=Decimal(str(intent.budget_max_usd)) if intent.budget_max_usd is not None else Decimal(0),
    )
    if keep is None:
        return bare
    by_hand = [name for name in keep.custom_settings if name in StageSettings.model_fields]
    kept = {name: getattr(keep, name) for name in KEPT}
    return bare.model_copy(update={**kept, "settings": keep.settings, "custom_settings": by_hand})


def _within_limits(
    intent: TrainingIntent, tier: str, rows: Rows | None, site: Site, keep: Choices | None, down: bool
) -> tuple[Fitted, Fitted]:
    """What to choose, and what the asked tier itself would be. `down`: where that passes a limit, the tiers below are tried."""
    asked: Fitted | None = None
    best: Fitted | None = None
    for level in tiers_down(tier) if down else (tier,):
        found = _of_tier(intent, level, rows, site, keep)
        asked = asked or found
        if best is None or (found.grade, found.cost if found.grade >= FITS else 0) < (
            best.grade,
            best.cost if best.grade >= FITS else 0,
        ):
            best = found
        if best.grade == WITHIN:
            break
    assert asked is not None and best is not None
    named = intent.base_model or named_method(intent)
    return (asked if best.grade >= FITS and named else best), asked


def _of_tier(intent: TrainingIntent, tier: str, rows: Rows | None, site: Site, keep: Choices | None) -> Fitted:
    names, named = model_candidates(intent, tier, site), named_method(intent)
    names = trained_by(named, names) or names if named else names
    if Limits.of(intent).any and tier != TIERS[0]:
        least = model_of(names[0]).params_b * LEAST_SHARE
        names = [name for name in names if model_of(name).params_b >= least][:MOST_PRESSED]
    bare = _bare(intent, tier, rows, keep)
    methods = [named] if named else method_candidates(bare.capability, tier, intent, rows)
    whole = _on_its_base(intent, bare, names, methods[:1], rows, site)
    return whole or best_of_models(intent, bare, names, methods, named is not None, rows, site)


def _on_its_base(
    intent: TrainingIntent, bare: Choices, names: list[str], first: list[str], rows: Rows | None, site: Site
) -> Fitted | None:
    """The reference pipeline that comes first, on the model it is made for. None where there is none, where the person named
    another model, where it passes a limit or the rows do not serve it, and where it would not train in a place that is set up."""
    pipeline = pipeline_of(first[0]) if first else None
    if pipeline is None or intent.base_model or pipeline.base_model not in names:
        return None
    found = best_of_models(intent, bare, [pipeline.base_model], first, True, rows, site)
    refused = found.choices.provider in site.providers and approvable_parts(found.choices, site) is not None
    return found if found.grade == WITHIN and not refused and mismatch(found.choices, rows) is None else None


def pinned(intent: TrainingIntent, choices: Choices) -> set[str]:
    """Axes that a person fixed, in the request or by a later edit: a recomputation leaves them alone."""
    found = set(choices.custom_settings)
    limit = intent.hardware
    if intent.base_model:
        found.add("base_model")
    if named_method(intent):
        found.add("method")
    if limit and (limit.gpu or limit.cpu_only) and (limit.cpu_only or find_gpu(limit.gpu or "")):
        found.add("gpu")
    if limit and limit.count:
        found.add("gpu_count")
    if intent.provider:
        found.add("provider")
    if intent.quality_tier:
        found.add("tier")
    return found


def _in_order(methods: list[str]) -> list[str]:
    """What prepares the model first, then supervised stages, alignment with preferences last; as named otherwise."""
    late = {"alignment": 2, "beyond": 1}
    known = load_catalogue().methods
    return sorted(dict.fromkeys(methods), key=lambda m: -1 if m in FIRST else late.get(known[m].category, 0))
