"""Textual inversion: one new word is learnt, and nothing else. Source: Gal et al. 2022, "An Image is Worth One Word".

Settings (`settings.adaptation`): `placeholder`, the word in the captions ("<subject>"); `vectors`, how many tokens it is
(1); `initializer`, a word of one token to begin from (else: the mean of all words).

The part `text_encoder` is called with token ids and gives the trainee's arguments; it has `tables` and `replace`
(`media/states.py`). It is taken into the trainee, so its states are never kept from row to row. Where it is two encoders, the word
has vectors in the table of each.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from kriptik.engine.interfaces import Adaptation, Bundle, OptimizerSpec, ParamGroup
from kriptik.spec.errors import WorkerError

PART, BOTH = "text_encoder", ("clip_l", "clip_g")


class Words(nn.Module):
    """An embedding table with new rows behind the old ones; the new ones alone are trained."""

    def __init__(self, table: nn.Embedding, vectors: Tensor) -> None:
        super().__init__()
        self.table, self.vectors = table, nn.Parameter(vectors)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids from the table's length on are the new words."""
        known = self.table.num_embeddings
        old = self.table(ids.clamp(max=known - 1))
        new = functional.embedding((ids - known).clamp(min=0), self.vectors.to(old.dtype))
        return torch.where((ids >= known)[..., None], new, old)


class Told(nn.Module):
    """A model and the text encoder that tells it what to make."""

    def __init__(self, model: nn.Module, text_encoder: nn.Module) -> None:
        super().__init__()
        self.model, self.text_encoder = model, text_encoder

    def forward(self, token_ids: Tensor, **inputs: Any) -> Any:
        """The model with the encoder's states; arguments that are dictionaries are put together."""
        for name, one in self.text_encoder(token_ids).items():
            inputs[name] = {**inputs[name], **one} if isinstance(one, dict) else one
        return self.model(**inputs)


class TextualInversion(Adaptation):
    """A few vectors of each text encoder's size."""

    adapter: ClassVar[bool] = True
    merges: ClassVar[bool] = False

    def apply(self, bundle: Bundle) -> None:
        """See Adaptation. Raises WorkerError without a text encoder, or where the first word is none of the tokenizer's."""
        if PART not in bundle.parts:
            raise WorkerError("no_text_encoder", "This model has no text encoder of its own.", "Choose LoRA or DreamBooth.")
        encoder: Any = bundle.parts.pop(PART)
        words = self._words()
        encoder.replace([self._grown(table, tokenizer, words) for table, tokenizer in encoder.tables()])
        bundle.words[words[0]] = " ".join(words)
        bundle.trainee = Told(bundle.trainee, encoder.to(next(bundle.trainee.parameters()).device))
        for name, parameter in bundle.trainee.named_parameters():
            parameter.requires_grad_(name.endswith(".vectors"))

    def optimizer(self, bundle: Bundle) -> OptimizerSpec:
        """See Adaptation: no decay; a word's length has meaning."""
        return OptimizerSpec([ParamGroup([name for name, one in bundle.trainee.named_parameters() if one.requires_grad])])

    def finish(self, bundle: Bundle) -> None:
        """See Adaptation: the encoder is a part again and knows the word."""
        told: Any = bundle.trainee
        bundle.trainee, bundle.parts[PART] = told.model, told.text_encoder
        bundle.touch(*(table.vectors.requires_grad_(False) for table, _ in told.text_encoder.tables()))

    def save(self, bundle: Bundle, folder: Path) -> None:
        """See Adaptation: `learned_embeds.safetensors`, placeholder → [vectors, size], as diffusers loads it.

        Of two encoders `clip_l` and `clip_g`, the names that ComfyUI and AUTOMATIC1111 know of Stable Diffusion XL.
        """
        told: Any = bundle.trainee
        folder.mkdir(parents=True, exist_ok=True)
        several = [table.vectors.detach().cpu().contiguous() for table, _ in told.text_encoder.tables()]
        names = [self._words()[0]] if len(several) == 1 else BOTH
        save_file(dict(zip(names, several, strict=True)), folder / "learned_embeds.safetensors", {"format": "pt"})

    def _words(self) -> list[str]:
        """The placeholder's tokens: <subject>, <subject_1>, <subject_2> …"""
        options: dict[str, Any] = dict(self.settings.adaptation)
        word = str(options.get("placeholder", "<subject>"))
        return [word, *(f"{word.rstrip('>')}_{number}>" for number in range(1, int(options.get("vectors", 1))))]

    def _grown(self, table: nn.Embedding, tokenizer: Any, words: list[str]) -> Words:
        """A table with the new words, which its tokenizer then knows."""
        if len(tokenizer) != table.num_embeddings or tokenizer.add_tokens(words) != len(words):
            raise WorkerError(
                "word_known", f"'{words[0]}' cannot be added to the tokenizer's {len(tokenizer)} words.",
                "Choose a placeholder that is no word yet.",
            )
        start = self._start(table, tokenizer)
        vectors = start.repeat(len(words), 1)
        if len(words) > 1:  # alike vectors would stay alike
            vectors = vectors + 0.1 * table.weight.float().std(0) * torch.randn(vectors.shape).to(start)
        return Words(table, vectors)

    def _start(self, table: nn.Embedding, tokenizer: Any) -> Tensor:
        """[1, size] in fp32."""
        word = self.settings.adaptation.get("initializer")
        if word is None:
            return table.weight.detach().float().mean(0, keepdim=True)
        ids = tokenizer.encode(str(word), add_special_tokens=False)
        if len(ids) != 1 or ids[0] >= table.num_embeddings:
            raise WorkerError("bad_initializer", f"'{word}' is not one word of the text encoder.", "Choose another first word.")
        return table.weight.detach()[ids].float()
