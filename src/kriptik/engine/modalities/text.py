"""Text: causal language models of transformers, chat and raw rows, packed end to end without padding or contamination."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kriptik.data.turns import spoken
from kriptik.engine.base import NOT_LOADABLE, find_base
from kriptik.engine.cursor import into_updates
from kriptik.engine.interfaces import Adaptation, Bundle, Encoded, Exported, MicroBatch, Modality, Session, UpdatePlan
from kriptik.engine.rng import reseed
from kriptik.engine.rows import lengths_of
from kriptik.engine.text import documents, quantised, rollouts, sharing
from kriptik.engine.text.chat import encode_prompt
from kriptik.engine.text.constitution import Maker
from kriptik.engine.text.forms import documents_of, encode_form, looked_at, pad_id
from kriptik.engine.text.heads import TextOutput, defer, log_probs, value_head
from kriptik.engine.text.packing import pack, single_rows
from kriptik.engine.text.result import write_result
from kriptik.engine.text.scorer import Conversations
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import SamplePrompt, StageSettings

SAMPLE_TOKENS = 64
"""Longest answer to a held-out prompt along the way, where the objective's setting `sample_tokens` names none."""
SHOWN = {"messages": "", "prompt": "", "completion": "", "chosen": "+ ", "rejected": "- "}
"""What of a row is shown while it is trained on, and the mark before it."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Text(Modality):
    """Language models that predict the next token."""

    provides: ClassVar[frozenset[str]] = frozenset({"tokens", "layers"})
    kind: ClassVar[str] = "a language model"
    """As what a base is loaded."""
    shares: ClassVar[bool] = True
    """Whether the same tokens at the beginning of two documents are the same beginning."""

    def load(self) -> Bundle:
        """See Modality. Raises WorkerError for a precision or an architecture that cannot be trained."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if self.job.precision not in (*DTYPES, quantised.KIND):
            raise WorkerError(
                "precision_not_available",
                f"A base in {self.job.precision} cannot be loaded yet.",
                "Choose fp32, bf16, fp16 or nf4.",
            )
        four_bits = self.job.precision == quantised.KIND
        dtype = DTYPES.get(self.job.precision) or computes_in(device)
        base = find_base(self.job)
        try:
            tokenizer = self._reads(base.folder)
            model = self._model(base.folder, dtype, quantised.options(dtype, device) if four_bits else {})
        except NOT_LOADABLE as error:
            raise WorkerError(
                "model_not_loadable", f"{self.job.base_model.id} cannot be loaded as {self.kind}: {error}"[:800],
                "Choose a base model that the catalogue calls trainable.",
            ) from error
        info = {"attention": documents.NAME, "base_sha256": base.sha256, "base_source": base.source}
        bundle = Bundle(trainee=model, tokenizer=tokenizer, info=info, scorer=Conversations())
        if four_bits:
            names = quantised.settle(model)

            def stands_for() -> nn.Module:
                plain = self._model(base.folder, dtype, {})
                quantised.round_trip(plain, names, device)
                return plain

            bundle.unquantised = stands_for
        else:
            model.to(device)
        return bundle

    def _reads(self, folder: Path) -> Any:
        """What makes tokens of rows."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)

    def _model(self, folder: Path, dtype: torch.dtype, options: dict[str, Any]) -> Any:
        from transformers import AutoModelForCausalLM

        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation=documents.NAME, trust_remote_code=False, use_safetensors=True, **options
        )
        defer(model)
        model.config.use_cache = True
        model.name_or_path = model.config._name_or_path = self.job.base_model.id  # what saved files name, never a folder here
        return model

    def encode(self, bundle: Bundle, row: dict[str, Any], index: int, form: str, settings: StageSettings) -> Encoded:
        """See Modality and `text/forms.py`."""
        return encode_form(bundle.tokenizer, row, index, form, settings.max_seq_len)

    def plan_epoch(
        self, encoded: Sequence[Encoded], seed: int, epoch: int, settings: StageSettings, ranks: int
    ) -> list[UpdatePlan]:
        """See Modality: packed sequences of up to `max_seq_len` tokens, or one row per sequence, alike in length."""
        lengths = lengths_of(encoded)
        if settings.packing:
            bins = pack(lengths, settings.max_seq_len, seed, epoch)
        else:
            bins = single_rows(lengths, seed, epoch, settings.micro_batch)
        return into_updates(bins, settings.micro_batch, settings.accumulation * ranks)

    def collate(self, bundle: Bundle, bins: Sequence[Sequence[Encoded]], seed: int, epoch: int) -> MicroBatch:
        """See Modality: documents end to end in one sequence, predictions only where wanted; common beginnings once (`sharing`)."""
        rows = [row for one in bins for row in one if row.length]
        by_row = [documents_of(row) for row in rows]
        pieces = [document for several in by_row for document in several]
        alike = self.shares and bundle.trainee.config._attn_implementation == documents.NAME
        tree = (sharing.shared if alike else sharing.apart)([one["ids"] for one in pieces])
        keep: list[int] = []
        targets: list[int] = []
        counts: list[int] = []
        for one, lies in zip(pieces, tree.places, strict=True):
            places, wanted = looked_at(one)
            keep += [lies[at] for at in places]
            targets += wanted
            counts.append(len(places))
        device = next(bundle.trainee.parameters()).device
        extra: dict[str, Any] = {"targets": _row(targets, device)[0], "counts": counts, "per_row": list(map(len, by_row))}
        for name in ("answer", "label"):
            if marks := [mark for one in pieces if name in one for mark in _marks(one[name])]:
                extra[name] = torch.tensor(marks, device=device)
        return MicroBatch(
            inputs={
                "input_ids": _row(tree.ids, device),
                "position_ids": _row(tree.positions, device),
                "attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device),
                "doc_lengths": tree.lengths,
                **({"doc_parents": tree.parents} if any(parent >= 0 for parent in tree.parents) else {}),
                "logits_to_keep": _row(keep, device)[0],
                "use_cache": False,
            },
            extra=extra,
            weight=sum((row.weight for row in rows), 0.0),
            rows=[row.row for row in rows],
            tokens=sum(len(one["ids"]) for one in pieces),
        )

    def forward(self, module: nn.Module, micro: MicroBatch) -> TextOutput:
        """See Modality. The vocabulary's layer is left to the loss."""
        head: Any = _head_of(module)
        head.deferred = True
        try:
            hidden = module(**micro.inputs).logits[0]
        finally:
            head.deferred = False
        found = value_head(module)
        return TextOutput(hidden, head, found[1] if found else None)

    def token_log_probs(self, output: TextOutput, micro: MicroBatch) -> tuple[Tensor, Tensor]:
        """See Modality: one line per document, as long as the one with the most learnt tokens."""
        flat = log_probs(output, micro.extra["targets"], micro.extra.get("temperature", 1.0))
        parts = flat.split(micro.extra["counts"])
        padded = nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
        lengths = torch.tensor(micro.extra["counts"], device=flat.device)
        return padded, torch.arange(padded.shape[1], device=flat.device)[None] < lengths[:, None]

    def sample(self, bundle: Bundle, prompt: SamplePrompt, settings: StageSettings) -> str:
        """See Modality."""
        ids = encode_prompt(bundle.tokenizer, list(prompt.messages), tools=prompt.tools or None)[-settings.max_seq_len :]
        return answer(bundle, ids, max_new_tokens=sample_tokens(settings))[0]

    def brief(self, settings: StageSettings, share: float) -> StageSettings:
        """See Modality."""
        return settings.with_objective(sample_tokens=max(1, round(sample_tokens(settings) * share)))

    def preview(self, row: dict[str, Any]) -> str:
        """See Modality."""
        said = [_spoken(row[name], mark) for name, mark in SHOWN.items() if isinstance(row.get(name), list)]
        return "\n".join(said)[:2000] if said else str(row.get("text", row))[:2000]

    def export(self, bundle: Bundle, adaptation: Adaptation, run_dir: Path) -> Exported:
        """See Modality."""
        return write_result(bundle, adaptation, run_dir, self.job)

    def generate(self, bundle: Bundle, prompts: Sequence[Encoded], settings: dict[str, Any]) -> list[Encoded]:
        """See Modality and `text/rollouts.py`."""
        return rollouts.sampled(bundle, prompts, settings)

    def decode(self, bundle: Bundle, encoded: Encoded) -> str:
        """See Modality."""
        said = [token for token, learnt in zip(encoded.fields["ids"], encoded.fields["learnt"], strict=True) if learnt]
        return bundle.tokenizer.decode(said, skip_special_tokens=True)

    def row_maker(self, session: Session) -> Callable[[dict[str, Any], int], dict[str, Any]]:
        """See Modality: by the principles of a constitution."""
        return Maker(session).row

    def layers(self, bundle: Bundle, stages: int) -> list[nn.Module]:
        """See Modality."""
        from kriptik.engine.text.layers import cut

        return cut(bundle.trainee, stages)


def computes_in(device: str) -> torch.dtype:
    """What a base in 4 bits computes in: a GPU's own 16-bit format, fp32 on a CPU."""
    if device == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def sample_tokens(settings: StageSettings) -> int:
    """Longest answer that a sample on the way may be."""
    return int(settings.objective.get("sample_tokens", SAMPLE_TOKENS))  # type: ignore[arg-type]


def answer(
    bundle: Bundle,
    ids: list[int],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    inputs: Mapping[str, Any] | None = None,
) -> tuple[str, int]:
    """(text, tokens made) for a prompt; greedy at temperature 0, else sampled with the seed.

    `inputs`: what the model takes besides.
    """
    device = next(bundle.trainee.parameters()).device
    model: Any = bundle.trainee
    if temperature > 0:
        reseed(seed, "answer")
    options = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False, "temperature": None}
    with torch.no_grad():
        made = model.generate(
            input_ids=torch.tensor([ids], device=device),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long, device=device),
            max_new_tokens=max_new_tokens,
            top_p=None,
            top_k=None,
            pad_token_id=pad_id(bundle.tokenizer),
            **(inputs or {}),
            **options,
        )
    said = made[0, len(ids) :].tolist()
    return bundle.tokenizer.decode(said, skip_special_tokens=True).strip(), len(said)


def _spoken(turns: list[dict[str, Any]], mark: str) -> str:
    return "\n".join(f"{mark}{m.get('role')}: {spoken(m)}" for m in turns)


def _marks(value: Any) -> list[bool]:
    return value if isinstance(value, list) else [value]


def _head_of(module: nn.Module) -> nn.Module:
    for one in module.modules():
        if type(one).__name__ == "DeferredHead":
            return one
    raise WorkerError("no_output_layer", "The model has no output layer that can be left out.", "Report this as a fault.")


def _row(values: list[int], device: torch.device) -> Tensor:
    return torch.tensor([values], dtype=torch.long, device=device)
