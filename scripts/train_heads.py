"""Trains the heads of `kriptik.pipeline.intent.heads` and `.figures`: what data is spoken of, what is no request. Some minutes.

    python scripts/train_heads.py            writes src/kriptik/pipeline/intent/heads.npz
    python scripts/train_heads.py --check    leaves out a fifth of a fresh file at a time, judges it by the rest

Learned from: `development.txt`, `development_fields.txt` and, twice as heavy, the fresh files, for which no rule of
these fields was made. First which figure is the amount, then kind and source, whose rules see that amount. What is no request is
learned from `NEAR`, texts that the models did not see, and, less heavy, from some that they learned from (`bench/intent/`): there
are wishes told indirectly.
Run it again after `train_intent.py`: the heads read what the encoder of `learned.bin` sees.
"""

import sys
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kriptik.pipeline.intent import amounts, figures, heads, names
from kriptik.pipeline.intent.heads import FILE, KINDS, LEARNED, NONE, SOURCES
from kriptik.pipeline.intent.learned import judged
from kriptik.pipeline.intent.parser import OfflineParser
from kriptik.pipeline.intent.text import read_text
from kriptik.spec.intent import DataMention

HERE = Path(__file__).parents[1]
sys.path[:0] = [str(HERE / "bench" / "intent"), str(HERE / "tests" / "pipeline" / "intent")]
import corpus  # noqa: E402
from intent_rows import rows, same  # noqa: E402

FRESH = ("development_data.txt", "development_everyone.txt")
FILES = ("development.txt", "development_fields.txt", *FRESH)
NEAR = ("development_fields.txt", "development_terms.txt", "development_near.txt", *FRESH)
HEAVY = 2.0
"""How much a request of a fresh file counts."""
PULL_RULES = 1e-3
PULL_TEXT = 1e-4
"""How strongly factors are pulled to nothing."""
SCALE = 3.0
"""Length of the text's part beside that of the rules."""
PARTS = 5
CHOICES = {"kind": KINDS, "source": SOURCES}
LEARNED_TOO, LIGHT = 4, 0.5
"""One in so many of the models' own texts, and how much it counts."""
CHECKED = {"none": NEAR[1:]}
"""Files that a head is judged on, where it is not `FRESH`."""
Arrays = dict[str, np.ndarray]
Loss = Callable[[Tensor], Tensor]


@dataclass
class Seen:
    """What reaches one head of one request: rules and text, a row a choice for figures and a single row else; the right choice.

    `right`: place of the right figure (-1: none of them, None: it is not among them), or of the kind or source.
    """

    rules: np.ndarray
    text: np.ndarray
    right: int | None
    weight: float
    file: str
    told: float | None = None
    """The amount as labelled."""
    values: tuple[float, ...] = ()
    picked: float | None = None


def wanted(file: str) -> list[tuple[str, dict[str, str]]]:
    """Prompt and labels of each request to train."""
    return [(prompt, labels) for prompt, labels, _other in rows(file) if "no" not in labels]


def figures_of(file: str) -> list[Seen]:
    """The figures of each request and which of them is the amount."""
    found, width = [], None
    for prompt, labels in wanted(file):
        reading = read_text(prompt)
        named, pieces = names.resolve(reading), judged(reading.text, reading.clean).pieces
        picked = amounts.amount(reading, named)
        among = figures.figures(reading, named, picked)
        if pieces is None or not among:
            continue
        width = width or pieces.views.shape[1]
        told = labels.get("da")
        values = tuple(one.amount.value for one in among)
        fits = [place for place, value in enumerate(values) if told and same("da", told, value)]
        ours = [place for place in fits if among[place].picked]
        right = (ours or fits or [None])[0] if told else -1
        seen = Seen(figures.features(among), figures.views(among, pieces, width), right, HEAVY if file in FRESH else 1.0, file)
        seen.told, seen.values, seen.picked = float(told) if told else None, values, picked.value if picked else None
        found.append(seen)
    return found


class _Listening(OfflineParser):
    """Notes what the head for "no request" would see, and reads on as if everything were one."""

    def __init__(self) -> None:
        self.heard: list[tuple[np.ndarray, np.ndarray]] = []

    def asks_nothing(self, no: float, errand: bool, marks: dict[str, float], seen: np.ndarray | None) -> bool:
        if seen is not None:
            self.heard.append((heads.doubts(no, errand, marks), seen))
        return False


def mentions_of(file: str) -> dict[str, list[Seen]]:
    """What the rules read of each request's data, for the heads of kind and source."""
    parser, box, found = _Listening(), [], {name: [] for name in CHOICES}

    def taken(data: DataMention | None, capability: str | None, seen: np.ndarray) -> DataMention | None:
        box.append((heads.features(data, capability), seen))
        return data

    plain, heads.weighed = heads.weighed, taken
    try:
        for prompt, labels in wanted(file):
            box.clear()
            parser.parse(prompt)
            for name, key in (("kind", "dt"), ("source", "ds")):
                if box:
                    rules, text = box[0]
                    right = CHOICES[name].index(labels.get(key, NONE))
                    found[name].append(Seen(rules, text, right, HEAVY if file in FRESH else 1.0, file))
    finally:
        heads.weighed = plain
    return found


def requests_of(file: str) -> list[Seen]:
    """Every text of a file, and whether it asks for nothing (1) or is a request (0)."""
    weight = HEAVY if file == "development_near.txt" else 1.0
    return [one for prompt, labels, _other in rows(file) for one in _heard(prompt, "no" in labels, weight, file)]


def learned_too() -> list[Seen]:
    """The same of some texts that the models learned from."""
    asked = [one for one in corpus.free() if one.label != "ask"][::LEARNED_TOO]
    return [seen for one in asked for seen in _heard(one.text, one.label == "no", LIGHT, "bench/intent")]


def _heard(prompt: str, none: bool, weight: float, file: str) -> list[Seen]:
    parser = _Listening()
    parser.parse(prompt)
    return [Seen(told, text, int(none), weight, file) for told, text in parser.heard]


def fitted(name: str, seen: list[Seen]) -> Arrays:
    """The arrays of one head: the weights that make the labels likeliest."""
    seen = [one for one in seen if one.right is not None]
    views = np.concatenate([one.text.reshape(-1, one.text.shape[-1]) for one in seen])
    middle, spread = views.mean(0), (views.std(0) + 1e-6) * views.shape[1] ** 0.5 / SCALE
    text = torch.tensor((views - middle) / spread, dtype=torch.float32)
    rules = torch.tensor(np.concatenate([one.rules.reshape(-1, one.rules.shape[-1]) for one in seen]), dtype=torch.float32)
    weight = torch.tensor([one.weight for one in seen])
    count = len(CHOICES[name]) if name in CHOICES else 1
    loss = {"amount": _figure_loss, "none": _request_loss}.get(name, _choice_loss)(seen, weight)
    found = _head(rules, text, count, PULL_TEXT, loss)
    return {f"{name}.{part}": one for part, one in (found | {"middle": middle, "spread": spread}).items()}


def _choice_loss(seen: list[Seen], weight: Tensor) -> Loss:
    right = torch.tensor([one.right for one in seen])
    return lambda odds: (torch.nn.functional.cross_entropy(odds, right, reduction="none") * weight).sum() / weight.sum()


def _request_loss(seen: list[Seen], weight: Tensor) -> Loss:
    right = torch.tensor([float(one.right or 0) for one in seen])
    apart = torch.nn.functional.binary_cross_entropy_with_logits
    return lambda odds: (apart(odds[:, 0], right, reduction="none") * weight).sum() / weight.sum()


def _figure_loss(seen: list[Seen], weight: Tensor) -> Loss:
    """Of the figures of a request one is likelier than the others and than none, whose odds are nothing."""
    counts = torch.tensor([len(one.values) for one in seen])
    of = torch.repeat_interleave(torch.arange(len(seen)), counts)
    first = counts.cumsum(0) - counts
    right = torch.tensor([-1 if one.right is None else one.right for one in seen])

    def loss(odds: Tensor) -> Tensor:
        odds = odds[:, 0].clamp(max=30)
        every = torch.ones(len(seen)).index_add(0, of, odds.exp())
        chosen = torch.where(right >= 0, odds[(first + right.clamp(min=0))], torch.zeros(len(seen)))
        return ((every.log() - chosen) * weight).sum() / weight.sum()

    return loss


def _head(rules: Tensor, text: Tensor, count: int, pull_text: float, loss: Loss) -> Arrays:
    """Logistic regression on both parts, each pulled to nothing in its own measure."""
    of_rules, of_text = (torch.zeros(part.shape[1], count, requires_grad=True) for part in (rules, text))
    bias = torch.zeros(count, requires_grad=True)
    optimizer = torch.optim.LBFGS([of_rules, of_text, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(rules @ of_rules + text @ of_text + bias)
        value = value + PULL_RULES * of_rules.square().sum() + pull_text * of_text.square().sum()
        value.backward()
        return value

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    return {"rules": of_rules.detach().numpy(), "text": of_text.detach().numpy(), "bias": bias.detach().numpy()}


def check(name: str, seen: list[Seen]) -> None:
    """Right of those that count, by the rules and by heads that saw nothing of that part of a fresh file."""
    counts: Counter[str] = Counter()
    for file in CHECKED.get(name, FRESH):
        mine = [one for one in seen if one.file == file]
        for part in range(PARTS):
            held = mine[part * len(mine) // PARTS : (part + 1) * len(mine) // PARTS]
            out = {id(one) for one in held}
            arrays = fitted(name, [one for one in seen if id(one) not in out])
            for one in held:
                _judge(name, one, arrays, counts)
    told = [by for by in counts if not by.startswith("of ")]
    print(f"{name}: " + ", ".join(f"{by} {counts[by]}/{counts[f'of {by}']}" for by in told))


def _judge(name: str, one: Seen, arrays: Arrays, counts: Counter[str]) -> None:
    odds = heads.odds(name, one.rules, one.text, arrays)
    if name == "amount":
        best = None if odds.max() < 0 else one.values[int(odds.argmax())]
        answers, right = (one.picked, best), one.told
        fits = lambda answer: right is not None and answer is not None and same("da", right, answer)  # noqa: E731
    elif name == "none":
        for by, said in (("rules", one.rules[0] > 0 or one.rules[1] > 0), ("weighed", odds[0] > heads.least(one.rules))):
            of = f"{by} {'no request' if one.right else 'request'}"
            counts[of] += bool(said) == bool(one.right)
            counts[f"of {of}"] += 1
        return
    else:
        choices = CHOICES[name]
        read = choices[int(one.rules[(0 if name == "kind" else len(KINDS)) :][: len(choices)].argmax())]
        odds[0] += heads.DOUBT[name] if read == NONE else 0.0
        answers = [None if each == NONE else each for each in (read, choices[int(odds.argmax())])]
        right = None if choices[one.right or 0] == NONE else choices[one.right or 0]
        fits = lambda answer: answer == right  # noqa: E731
    for by, answer in zip(("rules", "weighed"), answers, strict=True):
        if answer is not None or right is not None:
            counts[by] += fits(answer)
            counts[f"of {by}"] += 1


def saved(arrays: Arrays) -> None:
    """Writes `heads.npz`."""
    small = {name: one.astype(np.float16 if name.endswith("text") else np.float32) for name, one in arrays.items()}
    np.savez_compressed(FILE, of=np.array(zlib.crc32(LEARNED.read_bytes())), **small)
    heads.heads.cache_clear()


def main(arguments: list[str]) -> None:
    """Trains, or checks."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    seen = {"amount": [one for file in FILES for one in figures_of(file)]}
    if "--check" in arguments:
        check("amount", seen["amount"])
    else:
        saved(heads.heads() | fitted("amount", seen["amount"]))
    read = [mentions_of(file) for file in FILES]
    for name in CHOICES:
        seen[name] = [one for part in read for one in part[name]]
        if "--check" in arguments:
            check(name, seen[name])
    seen["none"] = [one for file in NEAR for one in requests_of(file)] + learned_too()
    if "--check" in arguments:
        check("none", seen["none"])
    if "--check" not in arguments:
        saved({part: one for name in seen for part, one in fitted(name, seen[name]).items()})
        print(f"{FILE.name}: {len(seen['kind'])} requests, {FILE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
