"""DoRA by PEFT: weights as magnitude and direction, a low-rank update on the direction, a trained magnitude vector.

Source: Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation".
"""

from typing import Any

from peft import PeftConfig

from kriptik.engine.adaptations.lora import Lora


class Dora(Lora):
    """LoRA on the direction, magnitude trained beside it."""

    def config(self) -> PeftConfig:
        """PEFT's description of these adapters."""
        found: Any = super().config()
        found.use_dora = True
        return found
