"""Reward models of text: sequence classification models with one label, which score whole conversations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kriptik.engine.base import NOT_LOADABLE
from kriptik.engine.interfaces import Encoded, Session
from kriptik.engine.scorer import PART, Scorer, not_loadable
from kriptik.engine.text.chat import render
from kriptik.engine.text.forms import asked_of, pad_id, scored
from kriptik.engine.text.heads import plain, value_head
from kriptik.spec.errors import WorkerError

TOGETHER, LONGEST = 16, 4096


class Conversations(Scorer):
    """Answers are read as text, and scored in their conversation as the reward model's own tokenizer and template write it."""

    tokenizer: Any = None
    """The reward model's own, where it came from a folder."""

    def load(self, folder: Path, device: torch.device) -> nn.Module:
        """See Scorer."""
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            model: Any = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=False, use_safetensors=True)
        except NOT_LOADABLE as error:
            raise not_loadable(folder, error, "the folder of a sequence classification model with one label") from error
        if model.config.num_labels != 1:
            raise WorkerError("no_reward_model", f"{folder} has {model.config.num_labels} labels.", "A reward model has one.")
        return model.to(device).requires_grad_(False).eval()

    def of(self, answers: Sequence[Encoded], session: Session) -> list[float]:
        """See Scorer."""
        tokenizer, ids = self.tokenizer or session.bundle.tokenizer, []
        for one in answers:
            said = {"role": "assistant", "content": session.modality.decode(session.bundle, one)}
            row = one.fields.get("row") or {}
            text = render(tokenizer, [*asked_of(row), said], one.row, ask=False, tools=row.get("tools"))
            ids.append(tokenizer(text, add_special_tokens=False)["input_ids"])
        found: list[float] = []
        for start in range(0, len(ids), TOGETHER):
            found += scores(session.bundle.parts[PART], tokenizer, ids[start : start + TOGETHER])
        return found


def scores(model: Any, tokenizer: Any, conversations: list[list[int]]) -> list[float]:
    """The score of each, at its last token that is no padding; no gradients. What the model cannot hold goes at the start."""
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", LONGEST)
    made = [scored(tokenizer, ids, longest) for ids in conversations]
    width = max(len(one["ids"]) for one in made)
    device = next(model.parameters()).device
    ids = torch.tensor([one["ids"] + [pad_id(tokenizer)] * (width - len(one["ids"])) for one in made], device=device)
    mask = torch.tensor([[1] * len(one["ids"]) + [0] * (width - len(one["ids"])) for one in made], device=device)
    found = value_head(model)
    with torch.no_grad():
        if found is None:
            return model(input_ids=ids, attention_mask=mask).logits[:, 0].float().tolist()
        hidden = plain(model).get_decoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        places = torch.tensor([one["at"][0] for one in made], device=device)
        return found[1](hidden[torch.arange(len(made), device=device), places]).tolist()
