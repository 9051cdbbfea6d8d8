"""VeRA by PEFT: one pair of frozen random matrices for all layers, two trained vectors per layer scale them.

Source: Kopiczko et al. 2023, "VeRA: Vector-based Random Matrix Adaptation": h = W x + b ⊙ B (d ⊙ A x). `lora.rank` is the
matrices' inner size (256 is usual); there is no alpha, the vectors are the scale. Settings (`settings.adaptation`): `d_initial`,
how `d` begins (0.1; `b` begins at 0), `projection_key`, which random matrices (0). The matrices are saved with the adapter.
"""

from typing import ClassVar

from peft import PeftConfig, VeraConfig

from kriptik.engine.adaptations.lora import Lora


class Vera(Lora):
    """Scaling vectors on `settings.lora.targets`."""

    few_bits: ClassVar[bool] = False

    def config(self) -> PeftConfig:
        """PEFT's description of these adapters."""
        lora, own = self.settings.lora, self.settings.adaptation
        return VeraConfig(
            r=lora.rank,
            vera_dropout=lora.dropout,
            target_modules=lora.targets,
            d_initial=float(own.get("d_initial", 0.1)),  # type: ignore[arg-type]  # a setting is JSON
            projection_prng_key=int(own.get("projection_key", 0)),  # type: ignore[arg-type]
            save_projection=True,
            bias="none",
            task_type="CAUSAL_LM",
        )
