"""ReLoRA: the low-rank update is merged into the weights and begun anew, again and again; the whole change has high rank.

Source: Lialin et al. 2023, "ReLoRA: High-Rank Training Through Low-Rank Updates". Settings (`settings.adaptation`): `resets`, how
often in the stage, at even distances (3); or `reset_every`, a number of updates; `rewarmup`, how many updates after a reset run
below the schedule's rate (a tenth of the distance between resets). A reset also empties the optimizer's state;
the paper prunes 99 % of it.
"""

import math
from pathlib import Path
from typing import Any, ClassVar

import torch
from peft import get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn

from kriptik.engine.adaptations.lora import Lora
from kriptik.engine.interfaces import Bundle, Session
from kriptik.engine.rng import derive


class ReLora(Lora):
    """LoRA that restarts. It offers no reference: after a merge, 'adapter off' is no longer the model before this stage."""

    needs: ClassVar[frozenset[str]] = frozenset({"whole_weights", "reset_optimizer"})
    provides: ClassVar[frozenset[str]] = frozenset()
    few_bits: ClassVar[bool] = False

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._merged: list[dict[str, Tensor]] = []
        """The factors of every update merged so far, by their names in an adapter file."""

    def lr_scale(self, step: int, total: int) -> float:
        """See Adaptation: after each reset a short linear way back up to the schedule; the stage's own warm-up is the first."""
        before = [place for place in self._resets(total) if place <= step]
        if not before:
            return 1.0
        length = self._rewarmup(total)
        return min(1.0, (step - before[-1] + 1) / (length + 1))

    def after_step(self, step: int, total: int, session: Session) -> None:
        """See Adaptation: at a reset, merge and begin anew. The new factors follow from (seed, stage, step, name)."""
        if step + 1 not in self._resets(total):
            return
        model: Any = session.bundle.trainee
        now = get_peft_model_state_dict(model, save_embedding_layers=False)
        self._merged.append({name: one.clone() for name, one in now.items()})
        with torch.no_grad():
            for name, layer in _layers(session.bundle):
                weight = layer.get_base_layer().weight
                weight.add_(layer.get_delta_weight("default").to(weight.dtype))
                session.bundle.touch(weight)
                seed = derive(session.job.seed, "relora", session.stage, step, name)
                down = layer.lora_A["default"].weight
                fresh = torch.empty(down.shape, dtype=torch.float32)
                nn.init.kaiming_uniform_(fresh, a=math.sqrt(5), generator=torch.Generator().manual_seed(seed))
                down.copy_(fresh)
                layer.lora_B["default"].weight.zero_()
        trained = [name for name, one in session.bundle.trainee.named_parameters() if one.requires_grad]
        session.runtime.reset_optimizer(trained)

    def save(self, bundle: Bundle, folder: Path) -> None:
        """See Adaptation: all updates side by side make one adapter of a higher rank, which stands on the original base."""
        super().save(bundle, folder)
        if not self._merged:
            return
        model: Any = bundle.trainee
        parts = [*self._merged, get_peft_model_state_dict(model, save_embedding_layers=False)]
        # B = [B1 B2 …], A = [A1; A2; …]: alpha grows with the rank, so that alpha / rank stays
        joined = {name: torch.cat([part[name] for part in parts], 0 if ".lora_A." in name else 1) for name in parts[-1]}
        tensors = {name: one.contiguous().cpu() for name, one in joined.items()}
        save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
        config: Any = self.config()
        config.r, config.lora_alpha = config.r * len(parts), config.lora_alpha * len(parts)
        old = model.peft_config["default"]
        config.base_model_name_or_path, config.target_modules = old.base_model_name_or_path, old.target_modules
        config.inference_mode = True
        config.save_pretrained(folder)

    def state(self) -> dict[str, Any]:
        """See Adaptation."""
        return {"merged": self._merged}

    def load_state(self, state: dict[str, Any]) -> None:
        """See Adaptation. The merged weights themselves are in the checkpoint."""
        self._merged = state["merged"]

    def _resets(self, total: int) -> list[int]:
        """Updates done when a reset is due; never after the last, which would leave nothing of the last update's rate."""
        options = self.settings.adaptation
        if every := int(options.get("reset_every") or 0):
            return list(range(every, total, every))
        resets = int(options.get("resets", 3))
        return sorted({round(total * (number + 1) / (resets + 1)) for number in range(resets)} - {0, total})

    def _rewarmup(self, total: int) -> int:
        """Updates after a reset that run below the schedule's rate."""
        resets = self._resets(total)
        return int(self.settings.adaptation.get("rewarmup", max(1, resets[0] // 10)))


def _layers(bundle: Bundle) -> list[tuple[str, LoraLayer]]:
    return [(name, module) for name, module in bundle.trainee.named_modules() if isinstance(module, LoraLayer)]
