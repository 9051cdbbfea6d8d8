"""LoRA by PEFT: low-rank updates on linear layers. Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from peft import LoraConfig, PeftConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from kriptik.engine.interfaces import Adaptation, Bundle
from kriptik.spec.errors import WorkerError


class Lora(Adaptation):
    """Adapters on `settings.lora.targets`; everything else is frozen."""

    provides: ClassVar[frozenset[str]] = frozenset({"reference"})
    adapter: ClassVar[bool] = True

    def config(self) -> PeftConfig:
        """PEFT's description of these adapters."""
        lora = self.settings.lora
        return LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,  # type: ignore[arg-type]  # PEFT divides it by the rank; a fraction is fine
            lora_dropout=lora.dropout,
            target_modules=lora.targets,
            bias="none",
            task_type="CAUSAL_LM",
        )

    def apply(self, bundle: Bundle) -> None:
        """See Adaptation. Raises WorkerError where no layer bears a target's name."""
        model: Any = bundle.trainee
        try:
            bundle.trainee = get_peft_model(model, self.config())
        except ValueError as error:
            raise WorkerError(
                "no_such_layers", f"The adapter's target layers do not exist in this model: {error}"[:400], "Use 'all-linear'."
            ) from error

    @contextmanager
    def reference(self, bundle: Bundle) -> Iterator[None]:
        """See Adaptation: the adapters are off."""
        model: Any = bundle.trainee
        with model.disable_adapter():
            yield

    def finish(self, bundle: Bundle) -> None:
        """See Adaptation: the update goes into the weights it was for."""
        model: Any = bundle.trainee
        changed: list[Any] = [one.get_base_layer() for one in model.modules() if isinstance(one, BaseTunerLayer)]
        bundle.trainee = model.merge_and_unload()
        bundle.touch(*(layer.weight for layer in changed))

    def save(self, bundle: Bundle, folder: Path) -> None:
        """See Adaptation: `adapter_config.json` and `adapter_model.safetensors`."""
        model: Any = bundle.trainee
        model.save_pretrained(folder, save_embedding_layers=False)  # no embedding is adapted; PEFT would ask the hub to be sure

    def merged(self, bundle: Bundle) -> nn.Module:
        """See Adaptation. A copy: adding an update to weights and taking it away again would not give the same bits."""
        model: Any = copy.deepcopy(bundle.trainee)
        return model.merge_and_unload()
