"""Models with a value head on disk: a reward model is a sequence classification model with one label, as transformers reads it."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from kriptik.engine.text.forms import pad_id
from kriptik.engine.text.heads import SCORE, value_head
from kriptik.spec.errors import WorkerError

ADAPTER = "adapter_model.safetensors"


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """A plain model: with a score head as a classification model, else as the language model it is, without any value head."""
    found = value_head(model)
    if found is None:
        model.save_pretrained(folder)
        return
    name, head = found
    state = {key: one for key, one in model.state_dict().items() if not key.startswith(f"{name}.")}
    if name == SCORE:
        scorer = _classifier(model, tokenizer, state | {f"{SCORE}.weight": head.weight.detach()})
        scorer.save_pretrained(folder)
    else:
        model.save_pretrained(folder, state_dict=state)


def complete_adapter(trainee: Any, folder: Path) -> None:
    """Puts the score head into a saved adapter, so that PEFT loads it onto a classification model; others are left as they are."""
    found = value_head(trainee)
    if found is None or found[0] != SCORE or not (folder / ADAPTER).is_file():
        return
    tensors = load_file(folder / ADAPTER)
    tensors[f"base_model.model.{SCORE}.weight"] = found[1].weight.detach().cpu().contiguous()
    save_file(tensors, folder / ADAPTER, {"format": "pt"})
    config = json.loads((folder / "adapter_config.json").read_text())
    config |= {"task_type": "SEQ_CLS", "modules_to_save": [SCORE]}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True))


def _classifier(model: Any, tokenizer: Any, state: dict[str, Any]) -> Any:
    """The same weights under a classification head. Raises WorkerError for an architecture that has none."""
    config = copy.deepcopy(model.config)
    known = type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    if not known:
        raise WorkerError(
            "no_classifier", f"A {config.model_type} model cannot be saved as a reward model.", "Choose another base model."
        )
    config.num_labels, config.pad_token_id = 1, pad_id(tokenizer)
    with torch.device("meta"):
        scorer: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)](config)
    mine = scorer.state_dict()
    missing = sorted(set(mine) - set(state))
    if missing:
        raise WorkerError("no_classifier", f"The reward model lacks {missing[0]}.", "Choose another base model.")
    scorer.load_state_dict({key: state[key].detach() for key in mine}, assign=True)
    return scorer
