"""The choice on every axis: what the person named stands, what they ruled out never comes back, the rest follows from capability,
tier, hardware, budget, data and licence. Each choice can say why (`reasons.py`)."""

from dataclasses import dataclass
from decimal import Decimal

from kriptik.catalogue.load import find_gpu, load_catalogue
from kriptik.pipeline.plan.cost import gpu_of, price
from kriptik.pipeline.plan.data import mismatch
from kriptik.pipeline.plan.known import (
    TEXT_CAPABILITIES,
    Model,
    capability_of,
    entries,
    excluded,
    is_known,
    method_title,
    model_of,
    models_for,
    stage_points,
)
from kriptik.pipeline.plan.place import CPU_MOST_B, at, need_and_hours, place
from kriptik.pipeline.plan.shape import kind_of
from kriptik.pipeline.plan.site import Rows, Site
from kriptik.spec.errors import BadInputError
from kriptik.spec.intent import TrainingIntent
from kriptik.spec.plan import Choices

FEW_IMAGES = 100
DEVICE_MOST_B = {"phone": 4.0, "mobile": 4.0, "raspberry_pi": 3.0, "edge": 4.0, "browser": 2.0, "laptop": 9.0, "cpu": 9.0}
METHODS: dict[str, dict[str, tuple[str, ...]]] = {
    "text": {
        "consumer": ("qlora", "lora", "dora", "vera", "galore", "full_finetune"),
        "professional": ("dora+dpo", "hybrid_lora_dpo", "dora", "lora", "full_finetune", "galore"),
        "flagship": ("hybrid_full_rlhf", "full_finetune_deepspeed+dpo", "full_finetune_deepspeed", "dora+dpo", "dora", "lora"),
        "research": ("megatron_lm", "3d_parallelism", "full_finetune_fsdp", "full_finetune_deepspeed", "full_finetune"),
    },
    "code": {
        "consumer": ("qlora", "lora", "dora", "full_finetune"),
        "professional": ("qlora+rlvr", "lora+rlvr", "dora", "qlora", "lora", "full_finetune"),
        "flagship": ("full_finetune_deepspeed+rlvr", "full_finetune_deepspeed", "qlora+rlvr", "dora", "lora"),
        "research": ("megatron_lm", "full_finetune_fsdp", "full_finetune_deepspeed", "full_finetune"),
    },
    "image": {
        "consumer": ("dora", "lora", "dreambooth", "textual_inversion", "full_finetune"),
        "professional": ("dora", "lora+dpo", "lora", "full_finetune"),
        "flagship": ("full_finetune_deepspeed+dpo", "full_finetune_deepspeed", "dora"),
        "research": ("hybrid_moe_alignment", "moe_diffusion", "full_finetune_deepspeed"),
    },
    "video": {
        "consumer": ("lora", "dora", "temporal_adaptation"),
        "professional": ("temporal_adaptation", "lora", "dora"),
        "flagship": ("flagship_video", "temporal_adaptation+dpo", "temporal_adaptation", "lora"),
        "research": ("hybrid_moe_alignment", "moe_diffusion", "full_finetune_fsdp"),
    },
    "music": {
        "consumer": ("lora", "full_finetune"),
        "professional": ("full_finetune+dpo", "hybrid_lora_dpo", "full_finetune", "lora"),
        "flagship": ("flagship_music", "full_finetune_deepspeed+dpo", "full_finetune_deepspeed", "lora"),
        "research": ("hybrid_moe_alignment", "moe_diffusion", "full_finetune_fsdp"),
    },
    "voice": {
        "consumer": ("voice_clone", "lora", "full_finetune"),
        "professional": ("full_finetune", "voice_clone", "lora"),
        "flagship": ("full_finetune", "voice_clone", "lora"),
        "research": ("full_finetune", "voice_clone", "lora"),
    },
    "embedding": {
        "consumer": ("contrastive", "lora", "full_finetune"),
        "professional": ("contrastive", "full_finetune", "lora"),
        "flagship": ("full_finetune_deepspeed", "contrastive", "lora"),
        "research": ("full_finetune_fsdp", "full_finetune_deepspeed", "contrastive"),
    },
    "vision_language": {
        "consumer": ("qlora", "lora", "dora"),
        "professional": ("qlora", "dora", "lora", "full_finetune"),
        "flagship": ("full_finetune_deepspeed", "lora+dpo", "qlora", "lora"),
        "research": ("full_finetune_fsdp", "full_finetune_deepspeed", "full_finetune"),
    },
}
"""Per modality and tier, in order of preference; "a+b" is a then b. The tiers are those of the specification."""
PREFERENCE_METHODS = ("dpo", "orpo", "simpo", "kto")
NICE = (Decimal("0.5"), *(Decimal(n) * 10**e for e in range(0, 7) for n in (1, 2, 3, 5, 8)))
DEFAULT_TIER = "consumer"


@dataclass(frozen=True)
class Chosen:
    """The choices, and what is worth telling about how they came about."""

    choices: Choices
    assumed: list[str]
    """What the request left open, as sentences."""


def choose(intent: TrainingIntent, site: Site, rows: Rows | None, *, tier: str | None = None) -> Chosen:
    """Chooses on every axis. `tier` overrides the request's (for other options). Raises BadInputError without a capability."""
    if intent.capability is None:
        raise BadInputError(
            "needs_clarification",
            "The request does not say what kind of model it should become.",
            intent.question or "Say what the model should make: text, code, pictures, video, music, a voice or embeddings.",
        )
    assumed: list[str] = []
    chosen_tier = tier or intent.quality_tier or DEFAULT_TIER
    if intent.quality_tier is None and tier is None:
        assumed.append(f"No quality was named: planned for the {chosen_tier} tier.")
    bare = _bare(intent, chosen_tier, rows)
    names = model_candidates(intent, chosen_tier, site)
    choices = _first_fitting(intent, bare, names, rows, site)
    if intent.budget_max_usd is None:
        choices = choices.model_copy(update={"budget_max_usd": default_budget(choices, rows, site)})
        assumed.append(f"No budget was named: a cap of ${choices.budget_max_usd:,.0f} is proposed from the estimate.")
    if rows is None and (intent.data is None or intent.data.amount is None):
        assumed.append("No data was attached: time and cost assume the amount that the tier usually takes.")
    return Chosen(choices, assumed)


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


def model_candidates(intent: TrainingIntent, tier: str, site: Site) -> list[str]:
    """Base models in order of preference; one where the person named it."""
    if intent.base_model:
        return [model_of(intent.base_model).id]
    capability = capability_of(intent.capability or "custom")
    pick = capability.picks.get(tier) or next(iter(capability.picks.values()))  # type: ignore[call-overload]
    names = [pick]
    if wants_here(intent, tier, site) and model_of(capability.small_pick).why_not is None:
        names.insert(0, capability.small_pick)
    rest = sorted(
        models_for(capability.id),
        key=lambda m: (m.trainable_family is None, not m.recommended, abs(m.params_b - model_of(pick).params_b)),
    )
    names += [m.id for m in rest]
    suited = [name for name in dict.fromkeys(names) if suits(model_of(name), intent)]
    return suited or [pick]


def wants_here(intent: TrainingIntent, tier: str, site: Site) -> bool:
    """Whether to look for something that this machine can train: nothing else is set up, and nothing larger was asked for."""
    machine = site.machine
    if machine is None or "local" not in site.providers:
        return False
    if intent.provider == "local" or (intent.hardware and intent.hardware.cpu_only):
        return True
    free = intent.provider is None and (intent.hardware is None or intent.hardware.gpu is None)
    return free and tier == "consumer" and site.providers == frozenset({"local"}) and machine.gpu == "cpu"


def suits(model: Model, intent: TrainingIntent) -> bool:
    """Whether a model respects the licence and size that were asked for."""
    output = intent.output
    if output is None:
        return True
    if output.license == "commercial" and (model.licence is None or model.licence.commercial == "no"):
        return False
    most = output.max_params_b
    if most is None and output.target_device:
        most = DEVICE_MOST_B.get(output.target_device)
    if most is not None and model.params_b > most * 1.02:
        return False
    per_b = 0.62 if output.export in ("gguf", "ollama", "awq", "gptq") else 2.0
    return output.max_size_gb is None or model.params_b * per_b <= output.max_size_gb


def approvable_parts(choices: Choices, site: Site) -> str | None:
    """Why model or method does not train; None where both do. Where it would run is not looked at here."""
    model = model_of(choices.base_model)
    if model.why_not:
        return f"{model.title} does not train yet: {model.why_not}"
    points = stage_points(choices.method, choices.capability, choices.gpu_count, model)
    if choices.gpu == "cpu" and any(kind_of(stage.point) == "qlora" for stage in points):
        return f"{method_title(choices.method)} holds its base in four bits, which needs a GPU."
    if not site.statuses:
        return None
    for entry in entries(choices.method):
        status = site.statuses.get(entry.id)
        if status is None or status.status != "trainable":
            return f"{entry.title} does not train yet: {(status and status.reason) or 'it is planned.'}"
        if capability_of(choices.capability).id not in status.capabilities:
            return f"{entry.title} is not proved for {capability_of(choices.capability).title.lower()} yet."
    return None


def default_budget(choices: Choices, rows: Rows | None, site: Site) -> Decimal:
    """A cap that the likely run stays well under: the next round sum above a fifth more than twice the likely cost."""
    _need, time = need_and_hours(choices, rows, site)
    likely = price(choices.provider, choices.gpu, choices.gpu_count, site).per_hour * Decimal(str(time))
    wanted = likely * Decimal("1.8")
    return next((n for n in NICE if n >= max(wanted, Decimal(1))), NICE[-1])


def _bare(intent: TrainingIntent, tier: str, rows: Rows | None) -> Choices:
    data = intent.data
    amount = (
        int(data.amount)
        if data and data.amount and (data.unit or "") not in ("gb", "mb", "tb", "hours", "minutes", "seconds", "tokens")
        else None
    )
    source = "user_upload" if rows else (data.source if data and data.source else None)
    return Choices(
        capability=intent.capability or "custom",
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


def _first_fitting(intent: TrainingIntent, bare: Choices, names: list[str], rows: Rows | None, site: Site) -> Choices:
    """The first model with the first method whose place fits, ends in time and costs no more than the budget; else the first."""
    first: Choices | None = None
    cheapest: tuple[Decimal, Choices] | None = None
    cap = intent.budget_max_usd
    small = capability_of(bare.capability).small_pick
    for name in names[:12]:
        made = with_method(intent, bare.model_copy(update={"base_model": name}), rows, site)
        if name == small and made.provider != "local" and name != names[-1] and not intent.base_model:
            continue
        first = first or made
        need, time = need_and_hours(made, rows, site)
        cost = price(made.provider, made.gpu, made.gpu_count, site).per_hour * Decimal(str(time))
        fits = fits_place(made, need, site)
        in_time = intent.deadline_hours is None or time <= intent.deadline_hours
        if fits and in_time and (cap is None or cost <= Decimal(str(cap))):
            return made
        if fits and (cheapest is None or cost < cheapest[0]):
            cheapest = (cost, made)
        if cap is None and intent.deadline_hours is None and fits:
            return made
    if cap is not None and cheapest is not None and not intent.base_model:
        return cheapest[1]
    if first is None:
        raise BadInputError("no_model", "No base model fits what was asked.", "Loosen a limit on size or licence.")
    return first


def fits_place(choices: Choices, need: float, site: Site) -> bool:
    """Whether memory suffices where the plan would run."""
    from_local = choices.provider == "local" and site.machine is not None
    if from_local and site.machine is not None:
        mine = site.machine
        return mine.gpu == choices.gpu and mine.gpu_count >= choices.gpu_count and need <= mine.usable_gb
    gpu = gpu_of(choices.gpu)
    return gpu.vram_gb == 0 or need <= gpu.vram_gb * choices.gpu_count * 0.95


def with_method(intent: TrainingIntent, choices: Choices, rows: Rows | None, site: Site) -> Choices:
    """Method and place for a model. Of several methods the first that can be approved there wins, else simply the first."""
    named = named_method(intent)
    order = [named] if named else method_candidates(choices.capability, choices.tier, intent, rows)
    if not order:
        raise BadInputError("no_method", "Every method that makes sense here was ruled out.", "Allow at least one method.")
    first: Choices | None = None
    fitting: Choices | None = None
    for method in order[:8]:
        made = _placed(intent, choices.model_copy(update={"method": method}), rows, site)
        if made is None:
            continue
        first = first or made
        need, _time = need_and_hours(made, rows, site)
        if not fits_place(made, need, site) or mismatch(made, rows) is not None:
            continue
        fitting = fitting or made
        if made.provider not in site.providers:
            break
        if approvable_parts(made, site) is None:
            return made
    if fitting is not None:
        return fitting
    if first is None:
        first = _placed(intent, choices.model_copy(update={"method": order[0]}), rows, site, force=True)
    if first is None:
        raise BadInputError("no_place", "There is nowhere to train this.", "Loosen a limit on hardware or provider.")
    return first


def _placed(intent: TrainingIntent, choices: Choices, rows: Rows | None, site: Site, force: bool = False) -> Choices | None:
    """The choices in their place; None for four bits on a CPU or of a tiny model where nobody asked for them."""
    model = model_of(choices.base_model)
    points = stage_points(choices.method, choices.capability, 1, model)
    quantised = any(kind_of(p.point) == "qlora" for p in points)
    where = place(choices, intent.hardware, intent.provider, intent.deadline_hours, rows, site)
    if quantised and not force and not named_method(intent) and (where.gpu == "cpu" or model.params_b < CPU_MOST_B):
        return None
    return at(choices, where, rows)


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
    """Supervised stages first, alignment after them, as named otherwise."""
    late = {"alignment": 2, "beyond": 1}
    known = load_catalogue().methods
    return sorted(dict.fromkeys(methods), key=lambda m: late.get(known[m].category, 0))
