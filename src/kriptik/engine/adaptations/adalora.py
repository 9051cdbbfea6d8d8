"""AdaLoRA by PEFT: updates in the form P Λ Q, whose singular values are pruned and given back: rank moves to where it matters.

Source: Zhang et al. 2023, "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning". `lora.rank` is the mean rank
at the end. Settings (`settings.adaptation`): `init_rank`, where every layer begins (half above `lora.rank`); `warmup_share` of
the updates before anything is pruned (0.1); `final_share` of them with ranks that no longer move (0.3); `every`, updates between
two allocations (1); `orthogonality`, the weight of ‖PᵀP - I‖ + ‖QQᵀ - I‖ (0.5). PEFT adds that term only to a loss which the model
computes itself, so it is added here.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from peft import AdaLoraConfig, PeftConfig
from torch import Tensor, nn

from kriptik.engine.adaptations.lora import Lora
from kriptik.engine.interfaces import Bundle, OptimizerSpec, Session
from kriptik.spec.errors import WorkerError


class AdaLora(Lora):
    """LoRA with a budget of ranks. After every update PEFT's allocator sees its gradients; not with ZeRO, which has none whole."""

    needs: ClassVar[frozenset[str]] = frozenset({"penalty", "gradients", "whole_weights"})
    few_bits: ClassVar[bool] = False

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._own: dict[str, Any] = dict(settings.adaptation)
        self._tuner: Any = None

    def config(self) -> PeftConfig:
        """PEFT's description of these adapters. Raises WorkerError where there is nothing to prune."""
        lora = self.settings.lora
        first = int(self._own.get("init_rank", math.ceil(1.5 * lora.rank)))
        if first <= lora.rank:
            raise WorkerError(
                "bad_ranks", f"AdaLoRA begins at rank {first}, which is not above {lora.rank}.", "Set adaptation.init_rank higher."
            )
        return AdaLoraConfig(
            target_r=lora.rank,
            init_r=first,
            lora_alpha=lora.alpha,  # type: ignore[arg-type]
            lora_dropout=lora.dropout,
            target_modules=lora.targets,
            deltaT=int(self._own.get("every", 1)),
            orth_reg_weight=float(self._own.get("orthogonality", 0.5)),
            total_step=1,  # not known before the first update
            bias="none",
            task_type="CAUSAL_LM",
        )

    def apply(self, bundle: Bundle) -> None:
        """See Adaptation."""
        super().apply(bundle)
        model: Any = bundle.trainee
        self._tuner = model.base_model

    def optimizer(self, bundle: Bundle) -> OptimizerSpec:
        """See Adaptation: the allocator weighs every number by its gradient."""
        found = super().optimizer(bundle)
        found.keep_gradients = True
        return found

    def penalty(self, bundle: Bundle) -> Tensor:
        """See Adaptation: mean distance of all P and Q from orthogonal ones."""
        terms = []
        for name, factor in self._factors("lora_A", "lora_B"):
            product = factor @ factor.T if ".lora_A." in name else factor.T @ factor
            terms.append(torch.linalg.matrix_norm(product - torch.eye(len(product), device=product.device)))
        return self._config.orth_reg_weight * torch.stack(terms).mean()

    def after_step(self, step: int, total: int, session: Session) -> None:
        """See Adaptation: importance is brought up to date, singular values above the budget become zero."""
        self._schedule(total)
        for _, factor in self._factors("lora_"):
            if factor.grad is None:  # an update that was dropped counts as one of gradient zero
                factor.grad = torch.zeros_like(factor)
        self._tuner.update_and_allocate(step + 1)
        session.runtime.clear_gradients()

    def save(self, bundle: Bundle, folder: Path) -> None:
        """See Adaptation: only what is not pruned. PEFT's own pattern is older than the last update where `every` is above 1."""
        pattern = self._config.rank_pattern
        self._config.rank_pattern = {name: (one != 0).flatten().tolist() for name, one in self._factors("lora_E")}
        try:
            super().save(bundle, folder)
        finally:
            self._config.rank_pattern = pattern

    def state(self) -> dict[str, Any]:
        """See Adaptation."""
        allocator = self._tuner.rankallocator
        return {
            "total": self._config.total_step,
            "pattern": self._config.rank_pattern,
            "sensitivity": allocator.exp_avg_ipt,
            "uncertainty": allocator.exp_avg_unc,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """See Adaptation."""
        self._schedule(state["total"])
        self._config.rank_pattern = state["pattern"]
        allocator = self._tuner.rankallocator
        allocator.exp_avg_ipt, allocator.exp_avg_unc = state["sensitivity"], state["uncertainty"]
        allocator.ipt = dict(state["sensitivity"])  # its names say what is known; its values are made anew at every update

    @property
    def _config(self) -> Any:
        return self._tuner.peft_config["default"]

    def _schedule(self, total: int) -> None:
        """Warm-up, allocation and end in updates; at least one update allocates."""
        warmup = int(float(self._own.get("warmup_share", 0.1)) * total)
        final = int(float(self._own.get("final_share", 0.3)) * total)
        self._config.total_step = total
        self._config.tfinal = min(final, total - 1)
        self._config.tinit = min(warmup, total - self._config.tfinal - 1)

    def _factors(self, *kinds: str) -> Iterator[tuple[str, nn.Parameter]]:
        """(name as the allocator knows it, parameter)."""
        for name, one in self._tuner.model.named_parameters():
            if any(f".{kind}" in name for kind in kinds):
                yield name, one
