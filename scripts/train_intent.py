"""Trains the small classifier of the offline parser from the committed phrases and development requests.

    python scripts/train_intent.py            writes src/kriptik/pipeline/intent/learned.bin
    python scripts/train_intent.py --check N  N-fold accuracy instead: no phrase is judged by a model that saw it

Multinomial logistic regression, full batch, numpy alone; every random choice comes from the seed. Each phrase is seen as written
and wrapped the way people wrap such a wish (`wraps.toml`), so that the words of asking and of money say nothing about what for.
"""

import json
import random
import re
import sys
import tomllib
import zlib
from pathlib import Path

import numpy as np

from kriptik.pipeline.intent.learned import BUCKETS, FILE, features
from kriptik.pipeline.intent.text import fold, guess_language

ROOT = Path(__file__).parents[1]
PHRASES = ROOT / "bench" / "intent"
sys.path.insert(0, str(ROOT / "tests" / "pipeline" / "intent"))
from intent_rows import rows  # noqa: E402

SEED, STEPS, RATE, DECAY = 7, 220, 30.0, 3e-5
COPIES = 3
WRAPS = tomllib.loads((PHRASES / "wraps.toml").read_text(encoding="utf-8"))


def phrases() -> list[tuple[str, str]]:
    """(class, phrase) of the phrase files."""
    found, label = [], ""
    for name in ("phrases_en.txt", "phrases_other.txt"):
        for line in (PHRASES / name).read_text(encoding="utf-8").splitlines():
            if line.startswith("["):
                label = line.strip("[]")
            elif line and not line.startswith("#"):
                found.append((label, line))
    return found


def requests() -> list[tuple[str, str]]:
    """(class, request) of the development set."""
    found = []
    for prompt, fields, _ in rows("development.txt"):
        label = "no" if "no" in fields else ("ask" if "ask" in fields else fields.get("cap"))
        if label and prompt:
            found.append((label, prompt))
    return found


def wrapped(label: str, phrase: str, rng: random.Random) -> list[str]:
    """The phrase as written, and in a few wraps of its language. What is no request gets no word of asking."""
    if label in ("no", "ask"):
        return [phrase, phrase if label == "no" else f"{phrase}{rng.choice(WRAPS['en']['after'])}"]
    language = _language(phrase)
    before, after = WRAPS[language]["before"], WRAPS[language]["after"]
    out = [phrase]
    for _ in range(COPIES):
        head, tail = rng.choice(["", *before, *before]), rng.choice(["", *after])
        out.append(f"{head} {phrase}{'' if tail.startswith((',', '.', '，', '、')) else ' '}{tail}".strip())
    return out


def _language(phrase: str) -> str:
    guess = guess_language(fold(phrase))
    return guess if guess in WRAPS else "en"


def batch(items: list[tuple[str, str]], classes: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(bucket of each feature, its value, where each example starts, class of each example)."""
    index, values, starts, target = [], [], [], []
    for label, text in items:
        found = features(fold(text))
        starts.append(len(index))
        index += found
        values += [1 / np.sqrt(max(len(found), 1))] * len(found)
        target.append(classes.index(label))
    return np.array(index), np.array(values), np.array(starts), np.array(target)


def fit(items: list[tuple[str, str]], classes: list[str], weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(weights [buckets, classes], bias [classes]) by gradient descent with momentum."""
    index, values, starts, target = batch(items, classes)
    width, count = len(classes), len(target)
    owner = np.repeat(np.arange(count), np.diff([*starts, len(index)]))
    weights, bias = np.zeros((BUCKETS, width)), np.zeros(width)
    speed, bias_speed = np.zeros_like(weights), np.zeros_like(bias)
    share = (weight / weight.sum())[:, None]
    for _ in range(STEPS):
        logits = np.add.reduceat(weights[index] * values[:, None], starts, axis=0) + bias
        chance = np.exp(logits - logits.max(axis=1, keepdims=True))
        chance /= chance.sum(axis=1, keepdims=True)
        chance[np.arange(count), target] -= 1
        slope = chance * share
        pushed = slope[owner] * values[:, None]
        gradient = np.stack([np.bincount(index, pushed[:, c], BUCKETS) for c in range(width)], axis=1) + DECAY * weights
        speed = 0.9 * speed - RATE * 0.1 * gradient * 10
        bias_speed = 0.9 * bias_speed - 0.5 * slope.sum(axis=0)
        weights, bias = weights + speed, bias + bias_speed
    return weights, bias


def predict(items: list[tuple[str, str]], classes: list[str], weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Log probabilities [examples, classes]."""
    index, values, starts, _ = batch(items, classes)
    logits = np.add.reduceat(weights[index] * values[:, None], starts, axis=0) + bias
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def training(sources: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], np.ndarray]:
    """The examples and their weights: a phrase counts once however often it is wrapped."""
    rng = random.Random(SEED)
    items, weight = [], []
    for label, phrase in sources:
        copies = wrapped(label, phrase, rng) if len(phrase) < 90 else [phrase]
        items += [(label, c) for c in copies]
        weight += [1 / len(copies)] * len(copies)
    return items, np.array(weight)


def folded_scores(sources: list[tuple[str, str]], classes: list[str], folds: int) -> np.ndarray:
    """Log probabilities of every source by models that did not see it."""
    out = np.zeros((len(sources), len(classes)))
    part = np.array([zlib.crc32(p.encode()) % folds for _, p in sources])
    for fold_number in range(folds):
        items, weight = training([s for s, at in zip(sources, part, strict=True) if at != fold_number])
        weights, bias = fit(items, classes, weight)
        held = [s for s, at in zip(sources, part, strict=True) if at == fold_number]
        out[part == fold_number] = predict(held, classes, weights, bias)
    return out


def write(weights: np.ndarray, bias: np.ndarray, classes: list[str]) -> None:
    """Weights as int8 of one scale."""
    scale = float(np.quantile(np.abs(weights[weights != 0]), 0.9995) / 127)
    packed = zlib.compress(np.clip(np.round(weights / scale), -127, 127).astype(np.int8).tobytes(), 9)
    head = json.dumps({"classes": classes, "bias": [round(float(b), 6) for b in bias], "scale": round(scale, 9)})
    FILE.write_bytes(head.encode() + b"\n" + packed)


def main(arguments: list[str]) -> None:
    """Trains, or checks."""
    sources = phrases() + requests()
    classes = sorted({label for label, _ in sources})
    if "--check" in arguments:
        scores = folded_scores(sources, classes, int(arguments[arguments.index("--check") + 1]))
        right = np.array([classes[i] for i in scores.argmax(axis=1)]) == np.array([label for label, _ in sources])
        count = len(phrases())
        foreign = np.array([bool(re.search("[^\x00-\x7f]", p)) for _, p in sources])
        print(f"phrases {right[:count].mean():.3f}, requests {right[count:].mean():.3f}, not ascii {right[foreign].mean():.3f}")
        return
    items, weight = training(sources)
    write(*fit(items, classes, weight), classes)
    print(f"{FILE.name}: {len(sources)} phrases, {FILE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
