"""Trains the heads for kind and source of the data a person speaks of (`kriptik.pipeline.intent.heads`), in some minutes.

    python scripts/train_heads.py            writes src/kriptik/pipeline/intent/heads.npz
    python scripts/train_heads.py --check    leaves out a quarter of `development_data.txt` at a time and judges it by the rest

Learned from: `development.txt`, `development_fields.txt` and, twice as heavy, `development_data.txt`, for which no rule was made.
Run it again after `train_intent.py`: the heads read what the encoder of `learned.bin` sees.
"""

import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kriptik.pipeline.intent import heads
from kriptik.pipeline.intent.heads import FILE, KINDS, LEARNED, NONE, SOURCES
from kriptik.pipeline.intent.parser import OfflineParser
from kriptik.spec.intent import DataMention

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "pipeline" / "intent"))
from intent_rows import rows

FRESH = "development_data.txt"
WEIGHTS = {"development.txt": 1.0, "development_fields.txt": 1.0, FRESH: 2.0}
PULL_TEXT, PULL_RULES = 3e-4, 1e-3
"""How strongly factors are pulled to nothing."""
SCALE = 3.0
"""Length of the text's part beside that of the rules."""
PARTS = 4


@dataclass
class Seen:
    """One request: what the rules read, the encoder's view, the labels, its weight, whether it may be judged."""

    rules: np.ndarray
    text: np.ndarray
    labels: dict[str, str]
    weight: float
    fresh: bool


def requests() -> list[Seen]:
    """Every request that is read as one, with what reaches the heads."""
    parser, found, box = OfflineParser(), [], []

    def taken(data: DataMention | None, capability: str | None, seen: np.ndarray) -> DataMention | None:
        box.append((heads.features(data, capability), seen))
        return data

    plain, heads.weighed = heads.weighed, taken
    try:
        for name, weight in WEIGHTS.items():
            for prompt, wanted, _other in rows(name):
                box.clear()
                parser.parse(prompt)
                if box and "no" not in wanted:
                    labels = {"kind": wanted.get("dt", NONE), "source": wanted.get("ds", NONE)}
                    found.append(Seen(*box[0], labels, weight, name == FRESH))
    finally:
        heads.weighed = plain
    return found


def fit(seen: list[Seen]) -> dict[str, np.ndarray]:
    """The arrays of `heads.npz`: for each head the weights that make the labels likeliest."""
    view = np.stack([one.text for one in seen])
    middle, spread = view.mean(0), (view.std(0) + 1e-6) * view.shape[1] ** 0.5 / SCALE
    text = torch.tensor((view - middle) / spread, dtype=torch.float32)
    rules = torch.tensor(np.stack([one.rules for one in seen]), dtype=torch.float32)
    weight = torch.tensor([one.weight for one in seen])
    made = {"middle": middle, "spread": spread}
    for name, choices in (("kind", KINDS), ("source", SOURCES)):
        target = torch.tensor([choices.index(one.labels[name]) for one in seen])
        made |= {f"{name}.{part}": one for part, one in _head(rules, text, target, weight, len(choices)).items()}
    return made


def _head(rules: Tensor, text: Tensor, target: Tensor, weight: Tensor, count: int) -> dict[str, np.ndarray]:
    """Logistic regression on both parts, each pulled to nothing in its own measure."""
    of_rules, of_text = (torch.zeros(part.shape[1], count, requires_grad=True) for part in (rules, text))
    bias = torch.zeros(count, requires_grad=True)
    optimizer = torch.optim.LBFGS([of_rules, of_text, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        odds = rules @ of_rules + text @ of_text + bias
        value = (torch.nn.functional.cross_entropy(odds, target, reduction="none") * weight).sum() / weight.sum()
        value = value + PULL_RULES * of_rules.square().sum() + PULL_TEXT * of_text.square().sum()
        value.backward()
        return value

    optimizer.step(loss)  # pyright: ignore[reportArgumentType]
    return {"rules": of_rules.detach().numpy(), "text": of_text.detach().numpy(), "bias": bias.detach().numpy()}


def check(seen: list[Seen]) -> None:
    """Right of those that count, by the rules and by the heads that saw nothing of the part."""
    fresh = [one for one in seen if one.fresh]
    counts = {name: [0, 0, 0, 0] for name in ("kind", "source")}
    for part in range(PARTS):
        held = fresh[part * len(fresh) // PARTS : (part + 1) * len(fresh) // PARTS]
        out = {id(one) for one in held}
        arrays = fit([one for one in seen if id(one) not in out])
        for one in held:
            text = (one.text - arrays["middle"]) / arrays["spread"]
            for name, choices, at in (("kind", KINDS, 0), ("source", SOURCES, len(KINDS))):
                read = choices[int(one.rules[at : at + len(choices)].argmax())]
                odds = one.rules @ arrays[f"{name}.rules"] + text @ arrays[f"{name}.text"] + arrays[f"{name}.bias"]
                odds[0] += heads.DOUBT[name] if read == NONE else 0.0
                for place, answer in ((0, read), (2, choices[int(odds.argmax())])):
                    if NONE not in (answer, one.labels[name]) or answer != one.labels[name]:
                        counts[name][place] += answer == one.labels[name]
                        counts[name][place + 1] += 1
    for name, (read, of, weighed, of_them) in counts.items():
        print(f"{name}: rules {read}/{of}, weighed {weighed}/{of_them}")


def main(arguments: list[str]) -> None:
    """Trains, or checks."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    seen = requests()
    if "--check" in arguments:
        check(seen)
        return
    arrays = {name: array.astype(np.float16 if name.endswith("text") else np.float32) for name, array in fit(seen).items()}
    np.savez_compressed(FILE, of=np.array(zlib.crc32(LEARNED.read_bytes())), **arrays)
    print(f"{FILE.name}: {len(seen)} requests, {FILE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
