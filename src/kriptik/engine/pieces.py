"""The tables of pieces: name → "module:Class", imported only when used. What exists is what is written here.

A test holds each table and the files of its folder to one another. Compatibility is derived in `missing`.
"""

from importlib import import_module
from typing import Any

from kriptik.engine.interfaces import Adaptation, Modality, Objective, Strategy
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import StageSettings

ADAPTATIONS = {
    "full": "kriptik.engine.adaptations.full:Full",
    "lora": "kriptik.engine.adaptations.lora:Lora",
    "dora": "kriptik.engine.adaptations.dora:Dora",
    "adalora": "kriptik.engine.adaptations.adalora:AdaLora",
    "lora_moe": "kriptik.engine.adaptations.lora_moe:LoraMoe",
    "moe": "kriptik.engine.adaptations.moe:Moe",
    "projector": "kriptik.engine.adaptations.projector:Projector",
    "mora": "kriptik.engine.adaptations.mora:Mora",
    "relora": "kriptik.engine.adaptations.relora:ReLora",
    "vera": "kriptik.engine.adaptations.vera:Vera",
    "longlora": "kriptik.engine.adaptations.longlora:LongLora",
    "galore": "kriptik.engine.adaptations.galore:GaLore",
    "temporal": "kriptik.engine.adaptations.temporal:Temporal",
    "textual_inversion": "kriptik.engine.adaptations.textual_inversion:TextualInversion",
}
OBJECTIVES = {
    "causal_lm": "kriptik.engine.objectives.causal_lm:CausalLm",
    "codec_lm": "kriptik.engine.objectives.codec_lm:CodecLm",
    "contrastive": "kriptik.engine.objectives.contrastive:Contrastive",
    "denoise": "kriptik.engine.objectives.denoise:Denoise",
    "diffusion_dpo": "kriptik.engine.objectives.diffusion_dpo:DiffusionDpo",
    "dpo": "kriptik.engine.objectives.dpo:Dpo",
    "grpo": "kriptik.engine.objectives.grpo:Grpo",
    "kto": "kriptik.engine.objectives.kto:Kto",
    "orpo": "kriptik.engine.objectives.orpo:Orpo",
    "ppo": "kriptik.engine.objectives.ppo:Ppo",
    "reward": "kriptik.engine.objectives.reward:Reward",
    "simpo": "kriptik.engine.objectives.simpo:Simpo",
    "speech": "kriptik.engine.objectives.speech:Speech",
}
STRATEGIES = {
    "single": "kriptik.engine.strategies.single:Single",
    "ddp": "kriptik.engine.strategies.ddp:Ddp",
    "fsdp": "kriptik.engine.strategies.fsdp:Fsdp",
    "deepspeed": "kriptik.engine.strategies.deepspeed:DeepSpeed",
    "pipeline": "kriptik.engine.strategies.pipeline:Pipeline",
}
MODALITIES = {
    "embedding": "kriptik.engine.modalities.embedding:Embedding",
    "image": "kriptik.engine.modalities.image:Image",
    "music": "kriptik.engine.modalities.music:Music",
    "sound": "kriptik.engine.modalities.sound:Sound",
    "text": "kriptik.engine.modalities.text:Text",
    "video": "kriptik.engine.modalities.video:Video",
    "vision_language": "kriptik.engine.modalities.vision:Vision",
    "voice": "kriptik.engine.modalities.voice:Voice",
}


def modality(name: str) -> type[Modality]:
    """The class behind a modality's name."""
    return _resolve(MODALITIES, "modality", name)


def adaptation(name: str) -> type[Adaptation]:
    """The class behind an adaptation's name."""
    return _resolve(ADAPTATIONS, "adaptation", name)


def objective(name: str) -> type[Objective]:
    """The class behind an objective's name."""
    return _resolve(OBJECTIVES, "objective", name)


def strategy(name: str) -> type[Strategy]:
    """The class behind a strategy's name."""
    return _resolve(STRATEGIES, "strategy", name)


def missing(
    about: type[Modality],
    adapted: type[Adaptation],
    minimised: type[Objective],
    spread: type[Strategy],
    settings: StageSettings | None = None,
) -> frozenset[str]:
    """What these four need and none of them provides with these settings; empty means that they go together."""
    needs = adapted.needs | minimised.needs | spread.needs
    return needs - (about.provides | adapted.provides | spread.provided(settings or StageSettings()))


def _resolve(table: dict[str, str], kind: str, name: str) -> Any:
    if name not in table:
        known = ", ".join(sorted(table))
        raise WorkerError("unknown_piece", f"There is no {kind} called '{name}'.", f"Known: {known}.")
    module, _, attribute = table[name].partition(":")
    return getattr(import_module(module), attribute)
