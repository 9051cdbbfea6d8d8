"""The numbers of a model that the formulas need, and what of it a stage trains. Gaps are filled by the usual proportions."""

from typing import Any, Literal

from kriptik.pipeline.plan.known import LOW_RANK, TINY, Model
from kriptik.spec.catalogue import Point
from kriptik.spec.job import StageSettings

Kind = Literal["qlora", "lora", "full"]


def kind_of(point: Point) -> Kind:
    """How a stage holds the model: frozen in four or eight bits, frozen whole, or trained whole."""
    if point.base_precision in ("nf4", "int8"):
        return "qlora"
    return "lora" if point.adaptation in LOW_RANK | TINY | {"temporal", "galore", "projector"} else "full"


def trained_params(model: Model, point: Point, settings: StageSettings) -> float:
    """How many numbers a stage trains. LoRA: Σ r·(d_in + d_out) over the linear layers of the blocks.

    A projector: its two layers, the second from hidden to hidden, the first no wider.
    """
    shape, rank = model.shape, settings.lora.rank
    if point.adaptation in TINY:
        return 2.0 * shape.layers * (shape.hidden + shape.intermediate)
    if point.adaptation in LOW_RANK | {"temporal"}:
        h, f = shape.hidden, shape.intermediate
        per_layer = rank * (2 * (h + h) + 2 * (h + shape.kv) + 3 * (h + f))
        own: dict[str, Any] = dict(settings.adaptation)
        extra = {"dora": 1.02, "lora_moe": float(own.get("experts", 8))}.get(point.adaptation or "", 1.0)
        return float(shape.layers * per_layer * extra)
    if point.adaptation == "projector":
        return 2.0 * shape.hidden * shape.hidden
    if point.adaptation == "moe":
        return model.params_b * 1e9 * 3.0
    return model.params_b * 1e9
