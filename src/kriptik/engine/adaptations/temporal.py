"""LoRA on the layers of a video model in which frames meet; those that see one frame's token, or the text, stay as they are.

Source: Guo et al. 2023, "AnimateDiff" (motion is learnt in layers of its own, the picture's are frozen). The transformers of today
have no layers of time alone: their self-attention runs over all tokens of all frames at once. It is what carries motion, and what
is adapted here; feed-forward layers and attention to the text are frozen. The look may therefore move a little too.
Settings (`settings.adaptation`): `frames` and `fps`, which the modality reads.
"""

from typing import Any, ClassVar

from peft import PeftConfig

from kriptik.engine.adaptations.lora import Lora
from kriptik.engine.interfaces import Bundle
from kriptik.spec.errors import WorkerError


class Temporal(Lora):
    """LoRA by PEFT on `bundle.info["temporal_layers"]`."""

    needs: ClassVar[frozenset[str]] = frozenset({"motion"})

    def config(self) -> PeftConfig:
        """PEFT's description of these adapters; which layers, the model says."""
        found: Any = super().config()
        found.target_modules = "all-linear"
        return found

    def apply(self, bundle: Bundle) -> None:
        """See Adaptation. Raises WorkerError where the model has no such layers."""
        layers = bundle.info.get("temporal_layers")
        if not layers:
            raise WorkerError("no_temporal_layers", "This model has no layers in which frames meet.", "Choose LoRA.")
        every, bundle.targets = bundle.targets, layers
        try:
            super().apply(bundle)
        finally:
            bundle.targets = every
