"""Which base models come into question for a request, in order of preference: licence, size and language as asked for."""

from kriptik.catalogue.advice import speaks
from kriptik.pipeline.plan.known import Model, capability_of, model_of, models_for
from kriptik.pipeline.plan.licences import forbidden
from kriptik.pipeline.plan.place import CPU_MOST_B
from kriptik.pipeline.plan.site import Site
from kriptik.spec.catalogue import ModelEntry
from kriptik.spec.errors import BadInputError
from kriptik.spec.intent import TrainingIntent

DEVICE_MOST_B = {
    **dict.fromkeys(("phone", "iphone", "android", "tablet", "ipad", "edge"), 4.0), "raspberry pi": 3.0, "browser": 2.0,
    **dict.fromkeys(("laptop", "macbook", "mac mini", "pc", "mini pc", "cpu", "jetson"), 9.0),
}  # fmt: skip
"""Largest model that runs on what the parser calls so, in billions of parameters."""
SPOKEN = frozenset({"text_generation", "chat", "custom", "voice_cloning", "embeddings", "multimodal"})
"""Capabilities whose result speaks a language of people."""


def model_candidates(intent: TrainingIntent, tier: str, site: Site) -> list[str]:
    """Base models in order of preference; one where the person named it. Raises BadInputError `no_model`."""
    if intent.base_model:
        return [model_of(intent.base_model).id]
    capability = capability_of(intent.meant or "custom")
    pick = capability.picks.get(tier) or next(iter(capability.picks.values()))  # type: ignore[call-overload]
    names = [pick]
    if wants_here(intent, tier, site) and (small := _small(capability.small_pick, intent, site)):
        names.insert(0, small)
    rest = sorted(
        models_for(capability.id),
        key=lambda m: (m.trainable_family is None, not m.recommended, abs(m.params_b - model_of(pick).params_b), m.id),
    )
    names = list(dict.fromkeys([*names, *(m.id for m in rest)]))
    legal = [name for name in names if forbidden(model_of(name), intent) is None]
    if not legal:
        raise BadInputError(
            "no_model",
            f"The catalogue holds no base model for this under the licences you allow: {forbidden(model_of(pick), intent)}",
            "Allow another licence, or leave out the territory.",
        )
    suited = [name for name in legal if suits(model_of(name), intent)] or legal[:1]
    return sorted(suited, key=lambda name: language_rank(name, intent))


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
    if forbidden(model, intent) is not None:
        return False
    output = intent.output
    if output is None:
        return True
    most = output.max_params_b
    if most is None and output.target_device:
        most = DEVICE_MOST_B.get(output.target_device)
    if most is not None and model.params_b > most * 1.02:
        return False
    per_b = 0.62 if output.export in ("gguf", "ollama", "awq", "gptq") else 2.0
    return output.max_size_gb is None or model.params_b * per_b <= output.max_size_gb


def language_of(intent: TrainingIntent) -> str | None:
    """The language that the result must speak, where that bears on the model."""
    return intent.output.language if intent.output and intent.output.language and intent.meant in SPOKEN else None


def language_rank(model_id: str, intent: TrainingIntent) -> int:
    """0 where the model speaks the language that was asked for (or none was), 1 where that is not known, 2 where it does not."""
    language = language_of(intent)
    if language is None:
        return 0
    return {True: 0, None: 1, False: 2}[speaks(model_id, language)]


def _small(small_pick: str, intent: TrainingIntent, site: Site) -> str | None:
    """The smallest model worth training here: the capability's own, or one like it that speaks the language asked for."""
    tiny = [m.id for m in models_for(intent.meant or "custom") if _tiny(m)]
    found = [small_pick, *(one for one in tiny if not site.lacking(model_of(one).needs, "local"))]
    fitting = [one for one in found if model_of(one).why_not is None and language_rank(one, intent) == 0]
    return fitting[0] if fitting else small_pick if model_of(small_pick).why_not is None else None


def _tiny(model: ModelEntry) -> bool:
    return model.trainable_family is not None and model.params_b <= CPU_MOST_B and model.instruct
