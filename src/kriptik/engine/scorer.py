"""What a modality knows of reward models: how one is loaded from a folder, and how it scores what the model made."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from kriptik.engine.interfaces import Encoded, Session
from kriptik.spec.errors import WorkerError

PART = "reward"
"""The reward model among the bundle's parts."""


class Scorer:
    """A modality's own, at its bundle. Used again by every stage that asks a reward model."""

    def load(self, folder: Path, device: torch.device) -> nn.Module:
        """The reward model, frozen, in eval mode. Raises WorkerError where the folder holds none that can be loaded."""
        raise NotImplementedError

    def of(self, answers: Sequence[Encoded], session: Session) -> list[float]:
        """One number per answer (a row of `Modality.generate`), by the bundle's `PART`; no gradients."""
        raise NotImplementedError


def not_loadable(folder: Path, why: object, what: str) -> WorkerError:
    """The error for a folder that does not hold `what`."""
    return WorkerError("reward_model_not_loadable", f"{folder} cannot be loaded as a reward model: {why}"[:600], f"Name {what}.")
