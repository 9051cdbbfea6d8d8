"""What the conformance suite needs of each modality: a tiny base, rows of each kind, and what a model gives, however it was loaded.

A modality that is not here is not proved. `trained`, `adapter` and `whole` give one tensor each: of the model as it was trained, of
the saved adapter on its base, of the saved whole model, the last two read by the ecosystem's own classes.
"""

from pathlib import Path

import tiny
import tiny_encoder
import torch
from peft import PeftModel
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from kriptik.engine.adapters import attach
from kriptik.engine.text import quantised
from kriptik.engine.text.heads import SCORE, plain, value_head


class Text:
    """Language models."""

    modality = "text"
    precisions = frozenset({None, "fp32", "nf4"})
    rows = {
        "supervised": tiny.chat_rows,
        "prompts": tiny.chat_rows,
        "prompts_with_check": tiny.chat_rows,
        "feedback": tiny.feedback_rows,
        "preferences": tiny.preference_rows,
    }
    """Kinds of rows that are made here; a method that needs others stays planned until its rows are.

    A method of several kinds gets the last of them, which serves the earlier stages too.
    """
    counts = (24, 8)
    sizes = {"micro_batch": 1, "accumulation": 2, "epochs": 2}
    positions = {"longlora": 48}
    """Context of the base where that of `tiny_model` would leave nothing to stretch."""

    def base(self, folder, adaptation):
        """Writes the base model."""
        tiny.tiny_model(folder, positions=self.positions.get(adaptation, 512))

    def trained(self, run, job):
        """Logits of the trainee."""
        return _logits(run.bundle.trainee)

    def adapter(self, job, folder):
        """Logits of the adapter on its base."""
        if job.precision != "nf4":
            base = self._load(job, job.base_model.path)
        else:
            base = self._load(job, job.base_model.path, quantised.options(torch.float32, "cpu"))
            quantised.settle(base)
        return _logits(attach(base, folder))

    def whole(self, job, folder):
        """Logits of the whole model."""
        return _logits(self._load(job, folder))

    def _load(self, job, path, options=()):
        if job.stages[-1].point.objective == "reward":
            return AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32, num_labels=1, **dict(options))
        return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **dict(options))


class Embedding:
    """Sentence-transformers models."""

    modality = "embedding"
    precisions = frozenset({None, "fp32"})
    rows = {
        "supervised": lambda count, seed=0: tiny_encoder.pair_rows(count, seed, negatives=1),
        "pairs": lambda count, seed=0: tiny_encoder.pair_rows(count, seed, negatives=1),
    }
    counts = (32, 16)
    sizes = {"micro_batch": 4, "accumulation": 2, "epochs": 3}
    texts = ("json hash", "braces digest", "random list value", "a")

    def base(self, folder, adaptation):
        """Writes the base model."""
        tiny_encoder.tiny_encoder(folder)

    def trained(self, run, job):
        """Vectors of the trainee, by the library: put into the base's own frame."""
        library = SentenceTransformer(job.base_model.path, device="cpu")
        library[0].model = run.bundle.trainee.eval()
        return self._vectors(library)

    def adapter(self, job, folder):
        """Vectors of the base with the adapter by PEFT."""
        library = SentenceTransformer(job.base_model.path, device="cpu")
        library[0].model = PeftModel.from_pretrained(library[0].model, folder).eval()
        return self._vectors(library)

    def whole(self, job, folder):
        """Vectors of the saved folder."""
        return self._vectors(SentenceTransformer(str(folder), device="cpu"))

    def _vectors(self, library):
        return torch.tensor(library.encode(list(self.texts), show_progress_bar=False))


SUBJECTS = {one.modality: one() for one in (Text, Embedding)}


def _logits(model):
    """Of a few tokens; with a score head, the score of the last of them."""
    ids = torch.tensor([[5, 17, 40, 101, 7, 63, 211, 30]])
    found = value_head(model.eval())
    with torch.no_grad():
        if found and found[0] == SCORE:
            return found[1](plain(model).get_decoder()(input_ids=ids).last_hidden_state[0, -1:])[None]
        return model(input_ids=ids).logits


def off(one, other):
    """Largest difference relative to the largest number."""
    return float((one - other).abs().max()) / float(one.abs().max())


def result_of(job):
    """The folder in which a run leaves what it made."""
    return Path(job.run_dir) / "result"
