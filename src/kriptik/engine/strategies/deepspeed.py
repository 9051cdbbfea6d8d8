"""ZeRO by DeepSpeed. Settings (`settings.strategy`): `stage` (2): 1 and 2 in `zero.py`, 3 in `zero3.py`."""

from typing import ClassVar

import torch.distributed as dist

from kriptik.engine import ranks
from kriptik.engine.interfaces import Bundle, Modality, OptimizerSpec, Runtime, Strategy
from kriptik.engine.strategies.loss_scale import refuse
from kriptik.engine.strategies.zero import ZeroRuntime
from kriptik.engine.strategies.zero3 import Zero3Runtime
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import StageSettings

STAGES = (1, 2, 3)


class DeepSpeed(Strategy):
    """No `own_backward`: gradients leave the rank inside backward. No `whole_weights`: there is a second copy, or only pieces."""

    provides: ClassVar[frozenset[str]] = frozenset({"generation", "penalty", "uneven_micros", "alone"})

    def __init__(self, settings: StageSettings) -> None:
        super().__init__(settings)
        self.stage = settings.strategy.get("stage", 2)

    @classmethod
    def provided(cls, settings: StageSettings) -> frozenset[str]:
        """See Strategy: at stage 3 a forward takes all ranks."""
        return frozenset({"uneven_micros"}) if settings.strategy.get("stage") == 3 else cls.provides

    def start(self, bundle: Bundle, modality: Modality, spec: OptimizerSpec) -> Runtime:
        """See Strategy."""
        if unknown := self.settings.strategy.keys() - {"stage"}:
            what = f"ZeRO here knows no '{min(unknown)}'."
            raise WorkerError("unfit_option", what, "Leave it out, or choose another method.")
        if self.stage not in STAGES:
            raise WorkerError("unfit_stage", f"There is no ZeRO stage {self.stage}.", "Choose stage 1, 2 or 3.")
        ranks.join()
        if not dist.is_initialized():
            raise WorkerError("one_process", "ZeRO needs two processes or more.", "Start with torchrun, or choose single.")
        refuse(bundle.trainee)
        if self.stage == 3:
            return Zero3Runtime(bundle, modality, spec)
        return ZeroRuntime(bundle, modality, spec, int(self.stage))
