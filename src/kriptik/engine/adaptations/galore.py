"""GaLore: every weight is trained, and the optimizer sees the gradients of linear layers through a low-rank projection.

Source: Zhao et al. 2024, "GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection"; the optimizer is
`strategies/galore.py`. Settings (`settings.adaptation`): `rank` (128), `update_every`, updates between two subspaces (200),
`scale` of the projected update (0.25). Embeddings, norms, the output layer and matrices no larger than the rank have plain AdamW.
The layer-wise variant steps inside backward, where no gradient law, no clipping and no dropped update can be, and is refused.
"""

from dataclasses import replace
from typing import Any, ClassVar

from torch import nn

from kriptik.engine.adaptations.full import Full
from kriptik.engine.interfaces import Bundle, OptimizerSpec
from kriptik.spec.errors import WorkerError


class GaLore(Full):
    """Full fine-tuning with small moments. What is trained are the weights themselves: there is no adapter and nothing to merge."""

    needs: ClassVar[frozenset[str]] = frozenset({"whole_weights"})

    def optimizer(self, bundle: Bundle) -> OptimizerSpec:
        """See Adaptation. Raises WorkerError for the layer-wise variant and where no matrix is larger than the rank."""
        own: dict[str, Any] = dict(self.settings.adaptation)
        if own.get("layerwise"):
            raise WorkerError("layerwise_refused", "GaLore cannot step inside backward here.", "Leave out adaptation.layerwise.")
        rank = int(own.get("rank", 128))
        options = {"rank": rank, "update_every": int(own.get("update_every", 200)), "scale": float(own.get("scale", 0.25))}
        projected = _projected(bundle, rank)
        if not projected:
            raise WorkerError("bad_ranks", f"No linear layer is larger than GaLore's rank {rank}.", "Set adaptation.rank lower.")
        spec, groups = super().optimizer(bundle), []
        for group in spec.groups:
            low = [name for name in group.names if name in projected]
            groups += [replace(group, names=low, options=options)] if low else []
            rest = [name for name in group.names if name not in projected]
            groups += [replace(group, names=rest)] if rest else []
        return OptimizerSpec(groups, kind="galore")


def _projected(bundle: Bundle, rank: int) -> set[str]:
    """Names of the matrices whose gradients are projected."""
    model: Any = bundle.trainee
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    linear = [(name, one) for name, one in model.named_modules() if isinstance(one, nn.Linear) and one is not head]
    return {f"{name}.weight" for name, one in linear if min(one.weight.shape) > rank}
