"""Embeddings: sentence-transformers models of a transformer and a pooling, taught by pairs of texts that belong together.

Rows: {"query": text, "positive": text, "negatives": [text, …]}, or a question and its answer as messages. The library itself reads
the base and writes the result, prompts, pooling and normalisation as they are.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from kriptik.engine.base import NOT_LOADABLE, find_base
from kriptik.engine.interfaces import Adaptation, Bundle, Encoded, Exported, MicroBatch, Modality
from kriptik.engine.media.library import library, versions
from kriptik.engine.media.result import leave
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.job import SamplePrompt, StageSettings

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
KNOWN = ("Transformer", "Pooling", "Normalize")
COLUMNS = ("query", "positive", "negatives")
ASKED, TOLD = ("query", "s2p_query"), ("document", "passage", "corpus")
"""Names of the prompts that models put before what is looked for, and before what is found."""
SAME = 1e-4
"""Largest difference of a vector's numbers, of length 1, between the trained model and its saved folder (bf16: 100 times that)."""
PROBES = ("How do I reset the pump?", "Hold the red button for five seconds.", "Übersetze das: naïve café, 東京!", "a")


class Embedding(Modality):
    """Texts to vectors, near one another where the texts belong together."""

    provides: ClassVar[frozenset[str]] = frozenset({"pairs"})

    def load(self) -> Bundle:
        """See Modality. Raises WorkerError for a precision or an architecture that cannot be trained."""
        if self.job.precision not in DTYPES:
            what = f"An embedding model in {self.job.precision} cannot be trained yet."
            raise WorkerError("precision_not_available", what, "Choose fp32 or bf16.")
        base = find_base(self.job)
        whole = self._library(base.folder, self.job.base_model.id, DTYPES[self.job.precision])
        kinds = [type(module).__name__ for module in whole]
        if kinds[:2] != list(KNOWN[:2]) or set(kinds) - set(KNOWN):
            what = f"{self.job.base_model.id} consists of {', '.join(kinds)}; only a transformer with a pooling can be trained."
            raise WorkerError("model_not_loadable", what, "Choose an embedding model that the catalogue calls trainable.")
        encoder, pooling = whole[0], whole[1]
        if not pooling.include_prompt or encoder.auto_model is None:
            what = f"{self.job.base_model.id} leaves its prompt out of the pooling, which is not known here."
            raise WorkerError("model_not_loadable", what, "Choose another embedding model.")
        modes = pooling.pooling_mode
        info = {
            "attention": str(encoder.auto_model.config._attn_implementation),
            "base_sha256": base.sha256,
            "base_source": base.source,
            "library": versions("sentence-transformers"),
            "pooling": [modes] if isinstance(modes, str) else list(modes),
            "longest": int(whole.max_seq_length or 512),
            "prompts": {side: _prompt(whole.prompts, names) for side, names in (("query", ASKED), ("positive", TOLD))},
        }
        return Bundle(trainee=encoder.auto_model, tokenizer=whole.tokenizer, info=info, pipeline=whole)

    def encode(self, bundle: Bundle, row: dict[str, Any], index: int, form: str, settings: StageSettings) -> Encoded:
        """See Modality: token ids of every text as the library has them, cut at the model's own length or `max_seq_len`."""
        query, positive, negatives = (row.get(name) for name in COLUMNS)
        if "messages" in row:
            query, positive = _spoken(row["messages"])
        if not _text(query) or not _text(positive) or any(not _text(one) for one in negatives or []):
            what = f"Row {index + 1} is no pair: it needs a query and a positive text."
            raise DataError("bad_pair", what, "Give every row a query and a passage that answers it.", fields={"row": index})
        told = [positive, *(negatives or [])]
        bundle.pipeline.max_seq_length = min(settings.max_seq_len, bundle.info["longest"])
        ids = [*_ids(bundle, [query], "query"), *_ids(bundle, told, "positive")]
        fields = {"ids": ids, "same": [_hash(one) for one in told]}
        return Encoded(index, sum(map(len, ids)), 1.0, fields)

    def collate(self, bundle: Bundle, bins: Sequence[Sequence[Encoded]], seed: int, epoch: int) -> MicroBatch:
        """See Modality: all texts in one forward, anchors first, then positives, then hard negatives."""
        rows = [row for one in bins for row in one]
        columns = [[row.fields["ids"][0] for row in rows], [row.fields["ids"][1] for row in rows]]
        negatives = [ids for row in rows for ids in row.fields["ids"][2:]]
        texts = [*columns[0], *columns[1], *negatives]
        device = next(bundle.trainee.parameters()).device
        padded = bundle.tokenizer.pad({"input_ids": texts}, return_tensors="pt")
        same = [row.fields["same"] for row in rows]
        extra = {
            "columns": [len(rows), len(rows), len(negatives)],
            "pooling": bundle.info["pooling"],
            "positive_ids": torch.tensor([one[0] for one in same]),
            "negative_ids": torch.tensor([id_ for one in same for id_ in one[1:]], dtype=torch.long),
        }
        return MicroBatch(
            inputs={name: padded[name].to(device) for name in ("input_ids", "attention_mask")},
            extra=extra,
            weight=float(len(rows)),
            rows=[row.row for row in rows],
            tokens=sum(map(len, texts)),
        )

    def forward(self, module: nn.Module, micro: MicroBatch) -> tuple[Tensor, ...]:
        """See Modality: anchors, positives, hard negatives."""
        vectors = _pooled(module(**micro.inputs).last_hidden_state, micro.inputs["attention_mask"], micro.extra["pooling"])
        return vectors.split(micro.extra["columns"])

    def sample(self, bundle: Bundle, prompt: SamplePrompt, settings: StageSettings) -> str:
        """See Modality: how near the query is to the text it belongs to."""
        query = prompt.asked
        if not prompt.expected:
            return "no text to compare with"
        row = self.encode(bundle, {"query": query, "positive": prompt.expected}, 0, "pair", settings)
        one, other, _ = self.forward(bundle.trainee, self.collate(bundle, [[row]], 0, 0))
        return f"cosine {float(functional.cosine_similarity(one.float(), other.float())):.4f}"

    def preview(self, row: dict[str, Any]) -> str:
        """See Modality."""
        return f"query: {row.get('query')}\npositive: {row.get('positive')}"[:2000]

    def export(self, bundle: Bundle, adaptation: Adaptation, run_dir: Path) -> Exported:
        """See Modality: an adapter by PEFT, and a sentence-transformers folder that gives the same vectors."""

        def whole(folder: Path) -> None:
            trained = self._vectors(bundle)
            merged = adaptation.merged(bundle)
            base = find_base(self.job)
            library = self._library(base.folder, self.job.base_model.id, DTYPES[self.job.precision])
            library[0].model = merged
            library.save_pretrained(str(folder), create_model_card=False)
            again = self._library(folder, self.job.base_model.id, DTYPES[self.job.precision])
            got = torch.tensor(again.encode(list(PROBES), normalize_embeddings=True, show_progress_bar=False))
            off = float((got - trained).abs().max())
            if off > SAME * (1 if self.job.precision == "fp32" else 100):
                what = f"The saved model's vectors are off by {off:.1e} from the trained one's."
                raise WorkerError("merge_differs", what, "The files were not kept; report this with the base model's name.")

        return leave(bundle, adaptation, run_dir, self.job, whole)

    def vector(self, bundle: Bundle, text: str) -> tuple[list[float], int]:
        """(a query's vector of length 1, its tokens)."""
        row = self.encode(bundle, {"query": text, "positive": text}, 0, "pair", self.job.stages[-1].settings)
        with torch.no_grad():
            found = self.forward(bundle.trainee, self.collate(bundle, [[row]], 0, 0))[0]
        return functional.normalize(found[0].float(), dim=0).tolist(), len(row.fields["ids"][0])

    def _vectors(self, bundle: Bundle) -> Tensor:
        """Of the fixed texts, by the trained model in the library's own frame, of length 1."""
        library, training = bundle.pipeline, bundle.trainee.training
        before, library[0].model = library[0].model, bundle.trainee
        try:
            return torch.tensor(library.encode(list(PROBES), normalize_embeddings=True, show_progress_bar=False))
        finally:
            library[0].model = before
            bundle.trainee.train(training)

    def _library(self, folder: Path, name: str, dtype: torch.dtype) -> Any:
        known: Any = library("sentence_transformers")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            return known.SentenceTransformer(
                str(folder), device=device, trust_remote_code=False, local_files_only=True, model_kwargs={"dtype": dtype}
            )
        except NOT_LOADABLE as error:
            raise WorkerError(
                "model_not_loadable", f"{name} cannot be loaded as an embedding model: {error}"[:800],
                "Choose an embedding model that the catalogue calls trainable.",
            ) from error


def _pooled(states: Tensor, mask: Tensor, modes: list[str]) -> Tensor:
    """[texts, tokens, size] → [texts, size], by the library's own pooling."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    pooling: Any = Pooling(states.shape[-1], tuple(modes))  # type: ignore[arg-type]
    return pooling({"token_embeddings": states, "attention_mask": mask})["sentence_embedding"]


def _ids(bundle: Bundle, texts: list[str], side: str) -> list[list[int]]:
    """Token ids without padding, the model's own prompt before them."""
    found = bundle.pipeline.preprocess(texts, prompt=bundle.info["prompts"][side] or None)
    pairs = zip(found["input_ids"].tolist(), found["attention_mask"].tolist(), strict=True)
    return [[token for token, real in zip(ids, mask, strict=True) if real] for ids, mask in pairs]


def _prompt(prompts: dict[str, str], names: tuple[str, ...]) -> str:
    return next((prompts[name] for name in names if prompts.get(name)), "")


def _spoken(messages: list[dict[str, Any]]) -> tuple[str | None, str | None]:
    """A question and the answer that belongs to it, out of a conversation: the last of each."""
    said = {str(one.get("role")): one.get("content") for one in messages}
    return said.get("user"), said.get("assistant")


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _hash(text: str) -> int:
    """48 bits: whole numbers that a double holds exactly."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
