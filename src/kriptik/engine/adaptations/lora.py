"""LoRA by PEFT: low-rank updates on linear layers. Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from peft import LoraConfig, PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from kriptik.engine.adaptations import lora_linear
from kriptik.engine.copies import spare
from kriptik.engine.interfaces import Adaptation, Bundle
from kriptik.spec.errors import WorkerError


class Lora(Adaptation):
    """Adapters on `settings.lora.targets`; everything else is frozen."""

    provides: ClassVar[frozenset[str]] = frozenset({"reference"})
    adapter: ClassVar[bool] = True
    few_bits: ClassVar[bool] = True
    """Whether it also stands on a quantised base (qlora, qdora)."""

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
        """See Adaptation. Raises WorkerError where no layer bears a target's name, and on a quantised base it cannot stand on."""
        model: Any = bundle.trainee
        if bundle.unquantised is not None and not self.few_bits:
            what = f"{type(self).__name__} does not train on a quantised base."
            raise WorkerError("quantised_base", what, "Choose fp32 or bf16, or qlora.")
        config: Any = self.config()
        if bundle.targets and config.target_modules == "all-linear":
            config.target_modules = bundle.targets
        if not hasattr(model, "prepare_inputs_for_generation"):  # nothing that writes text: an encoder, a denoiser
            config.task_type = None
        try:
            bundle.trainee = get_peft_model(model, config)
        except ValueError as error:
            raise WorkerError(
                "no_such_layers", f"The adapter's target layers do not exist in this model: {error}"[:400], "Use 'all-linear'."
            ) from error
        lora_linear.settle(bundle.trainee)

    @contextmanager
    def reference(self, bundle: Bundle) -> Iterator[None]:
        """See Adaptation: the adapters are off."""
        model: Any = bundle.trainee
        with model.disable_adapter():
            yield

    def finish(self, bundle: Bundle) -> None:
        """See Adaptation: the update goes into the weights it was for. A quantised base is plain from there on.

        Back in few bits it would not be what was trained.
        """
        model: Any = bundle.trainee
        if bundle.unquantised is not None:
            bundle.trainee = self.merged(bundle).to(next(model.parameters()).device)
            bundle.unquantised = None
            bundle.touch(*bundle.trainee.parameters())
            return
        changed: list[Any] = [one.get_base_layer() for one in model.modules() if isinstance(one, BaseTunerLayer)]
        bundle.trainee = model.merge_and_unload()
        bundle.touch(*(layer.weight for layer in changed))

    def save(self, bundle: Bundle, folder: Path) -> None:
        """See Adaptation: `adapter_config.json` and `adapter_model.safetensors`."""
        model: Any = bundle.trainee
        model.save_pretrained(folder, save_embedding_layers=False)  # no embedding is adapted; PEFT would ask the hub to be sure

    def merged(self, bundle: Bundle) -> nn.Module:
        """See Adaptation. A copy: adding an update to weights and taking it away again would not give the same bits.

        Of a quantised base the plain weights that it stands for, so that nothing is rounded and nothing but the update is added.
        """
        trainee: Any = bundle.trainee
        if bundle.unquantised is None:
            model: Any = spare(trainee)
        else:
            model = get_peft_model(bundle.unquantised(), copy.deepcopy(trainee.peft_config["default"]))  # type: ignore[arg-type]
            set_peft_model_state_dict(model, get_peft_model_state_dict(trainee, save_embedding_layers=False))
        return model.merge_and_unload()
