"""Reward models of music: a MusicGen whose decoder has a score head, as a run of reward_model leaves it, hears codes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from kriptik.engine.base import NOT_LOADABLE
from kriptik.engine.interfaces import Encoded, Session
from kriptik.engine.media.library import library
from kriptik.engine.scorer import PART, Scorer, not_loadable
from kriptik.engine.text.heads import SCORE, ValueHead
from kriptik.spec.errors import WorkerError

NAME = f"decoder.{SCORE}.weight"
"""The head's weight in the whole model's file."""
TOGETHER = 8


class Listener(Scorer):
    """Scores the codes themselves, with the description they were made for: the reward model must know the same codec."""

    def load(self, folder: Path, device: torch.device) -> nn.Module:
        """See Scorer."""
        try:
            whole = library("transformers").MusicgenForConditionalGeneration.from_pretrained(
                folder, use_safetensors=True, local_files_only=True
            )
        except NOT_LOADABLE as error:
            raise not_loadable(folder, error, "the folder that a run of reward_model on music left") from error
        weight = _head(folder)
        if weight is None:
            what = f"{folder} is a music model without a score head."
            raise WorkerError("no_reward_model", what, "Train a reward model first (method reward_model), and name its folder.")
        decoder: Any = whole.decoder
        head = ValueHead(weight.shape[1], weight, 0.0)
        head.weight.data.copy_(weight)
        setattr(decoder, SCORE, head)
        return decoder.to(device).requires_grad_(False).eval()

    def of(self, answers: Sequence[Encoded], session: Session) -> list[float]:
        """See Scorer. Raises WorkerError where the reward model knows another codec."""
        bundle, model = session.bundle, session.bundle.parts[PART]
        _same_codec(model, bundle.pipeline.config)
        found: list[float] = []
        for start in range(0, len(answers), TOGETHER):
            rows = [Encoded(one.row, one.length, 1.0, one.fields | {"ranked": True}) for one in answers[start : start + TOGETHER]]
            micro = session.modality.collate(bundle, [rows], session.job.seed, session.epoch)
            like = next(model.to(micro.extra["labels"].device).parameters())
            micro.inputs["encoder_hidden_states"] = micro.inputs["encoder_hidden_states"].to(like.dtype)
            with torch.no_grad():
                found += session.modality.forward(model, micro).values.tolist()
        return found


def _head(folder: Path) -> torch.Tensor | None:
    """The score head's weight [1, size], wherever it lies among the files."""
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            if NAME in tensors.keys():  # noqa: SIM118  a file, not a dict
                return tensors.get_tensor(NAME)
    return None


def _same_codec(model: Any, mine: Any) -> None:
    theirs = model.config
    if (theirs.num_codebooks, theirs.vocab_size, theirs.hidden_size) != (mine.num_codebooks, mine.vocab_size, mine.hidden_size):
        what = "The reward model was trained on another size or codec than the model at work."
        raise WorkerError("other_codec", what, "Train the reward model on the same base model.")
