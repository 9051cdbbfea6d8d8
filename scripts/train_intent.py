"""Trains the learned part of the offline parser from the committed texts of `bench/intent` and the development requests.

    python scripts/train_intent.py            cross-validates, fits the decision, writes src/kriptik/pipeline/intent/learned.bin
    python scripts/train_intent.py --check    cross-validates alone
    --folds N                                 judges N of the four parts (one is enough for the decision's few factors)

No text is judged by a model that saw its writer, so what is measured is phrasing nobody wrote before. Every random choice comes
from the seed; one thread. Needs torch, transformers and the teacher (`bench/intent/teacher.py`).
"""

import json
import random
import sys
import zlib
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "bench" / "intent"))
import combine
import corpus
import student
import teacher
import vocabulary
from corpus import Example
from encoder import Encoder

from kriptik.pipeline.intent.capability import CAPABILITIES
from kriptik.pipeline.intent.decide import OTHERS
from kriptik.pipeline.intent.learned import FILE

SEED, FOLDS = 7, 4
JUDGED = 1
WEIGHT = {"free": 1.0, "phrase": 1.0, "gaps": 0.5, "request": 2.0}
TOLD = ["free", "phrase", "gaps", "request"]


def examples() -> list[Example]:
    """Everything learned from."""
    return [*corpus.free(), *corpus.phrases(), *corpus.gaps(random.Random(SEED)), *corpus.requests()]


def dressed(items: list[Example], rng: random.Random) -> list[tuple[str, str, float]]:
    """(class, text, weight) of every text, as written or dressed."""
    table = corpus.wraps()
    return [(item.label, rng.choice(corpus.wrapped(item, 1, rng, table)), WEIGHT[item.kind]) for item in items]


class Training:
    """The texts, the teacher and its pieces."""

    def __init__(self) -> None:
        self.items = examples()
        self.classes = sorted({item.label for item in self.items})
        self.base, self.pieces = teacher.load()
        self.ids = vocabulary.kept(self.pieces, [item.text.lower() for item in self.items])
        self.names, self.likely = [self.pieces.pieces[i] for i in self.ids], self.pieces.scores[self.ids]
        self.scores = {name: (at, float(score)) for at, (name, score) in enumerate(zip(self.names, self.likely, strict=True))}

    def models(self, items: list[Example], seed: int) -> tuple[student.Grams, Encoder]:
        """Both models trained on some of the texts."""
        texts = student.prepared(dressed(items, random.Random(seed)), self.classes, self.scores)
        torch.manual_seed(seed)
        fresh = Encoder(self.base, self.pieces, self.ids, len(self.classes))
        return student.trained(texts, fresh, len(self.classes), seed)

    def judged(self, models: tuple[student.Grams, Encoder], texts: list[str]) -> list[np.ndarray]:
        """Log probabilities by both models."""
        seen = student.prepared([(self.classes[0], text, 1.0) for text in texts], self.classes, self.scores)
        return [student.scored(model, seen) for model in models]

    def folds(self, judged: int) -> tuple[list[Example], list[str], np.ndarray, np.ndarray]:
        """(what was judged, as which text, log probabilities by grams and net): each by models that saw nothing of its writer."""
        part = {item.writer: zlib.crc32(item.writer.encode()) % FOLDS for item in self.items}
        table, rng = corpus.wraps(), random.Random(SEED)
        kept: list[Example] = []
        texts: list[str] = []
        scores: list[list[np.ndarray]] = []
        for fold in range(judged):
            models = self.models([i for i in self.items if part[i.writer] != fold], SEED + fold)
            held = [i for i in self.items if part[i.writer] == fold]
            held = [i for at, i in enumerate(held) if i.kind != "gaps" or at % 2 == 0]
            shown = [rng.choice(corpus.wrapped(i, 1, rng, table)) for i in held]
            kept, texts = kept + held, texts + shown
            scores.append(self.judged(models, shown))
        return kept, texts, *(np.concatenate([s[place] for s in scores]) for place in (0, 1))


def told(name: str, right: np.ndarray, kept: list[Example]) -> None:
    """Prints the share that is right, by kind of text and by script."""
    by = {kind: right[[i.kind == kind for i in kept]].mean() for kind in TOLD}
    latin = np.array([i.text.isascii() for i in kept])
    asked = np.array([i.label not in OTHERS for i in kept])
    print(
        f"{name}: all {right.mean():.3f}, " + ", ".join(f"{k} {v:.3f}" for k, v in by.items())
        + f", capability {right[asked].mean():.3f}, not ascii {right[~latin].mean():.3f}"
    )  # fmt: skip


def write(training: Training, models: tuple[student.Grams, Encoder], mix: combine.Mix) -> None:
    """The file of `kriptik.pipeline.intent.learned`: the encoder's matrices in four bits, learned ones in int8."""
    grams, net = models
    arrays = {
        "pieces": (np.frombuffer("\n".join(training.names).encode(), np.uint8), 1.0),
        "likely": _packed(training.likely),
        "grams": _packed(grams.table.weight.detach().numpy()),
        "grams_bias": (grams.bias.detach().numpy().astype("<f4"), 1.0),
    }
    for name, array in net.arrays().items():
        thin = name.endswith((".a", ".b")) or name in ("places", "outer.weight")
        arrays[name] = _packed(array) if thin else (array, 1.0)
    head = {
        "classes": training.classes,
        "mix": mix,
        "arrays": [[name, array.dtype.str, list(array.shape), scale] for name, (array, scale) in arrays.items()],
    }
    body = zlib.compress(b"".join(np.ascontiguousarray(array).tobytes() for array, _ in arrays.values()), 9)
    FILE.write_bytes(json.dumps(head).encode() + b"\n" + body)
    print(f"{FILE.name}: {len(training.items)} texts, {len(training.names)} pieces, {FILE.stat().st_size / 1e6:.2f} MB")


def _packed(values: np.ndarray) -> tuple[np.ndarray, float]:
    scale = float(np.quantile(np.abs(values[values != 0]), 0.9995) / 127)
    return np.clip(np.round(values / scale), -127, 127).astype(np.int8), scale


def main(arguments: list[str]) -> None:
    """Trains, or checks."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    training = Training()
    kept, texts, grams, net = training.folds(int(arguments[arguments.index("--folds") + 1]) if "--folds" in arguments else JUDGED)
    labels = [i.label for i in kept]
    for name, scores in (("grams", grams), ("net", net)):
        told(name, np.array([training.classes[at] for at in scores.argmax(axis=1)]) == np.array(labels), kept)
    rows = combine.seen(texts, training.classes, grams, net)
    mix = combine.fit(rows, labels, np.array([WEIGHT[i.kind] for i in kept]))
    every = np.array([*CAPABILITIES, *OTHERS])
    told("together", every[combine.decided(rows, mix).argmax(axis=1)] == np.array(labels), kept)
    if "--check" not in arguments:
        write(training, training.models(training.items, SEED), mix)


if __name__ == "__main__":
    main(sys.argv[1:])
