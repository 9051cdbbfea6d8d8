"""Fits the factors of the decision (`kriptik.pipeline.intent.decide`) on texts that the learned models did not see."""

from dataclasses import dataclass

import numpy as np
import torch

from kriptik.pipeline.intent import details, names
from kriptik.pipeline.intent.capability import CAPABILITIES, weigh
from kriptik.pipeline.intent.decide import OTHERS, SHARED, Mix, shared
from kriptik.pipeline.intent.learned import Judgement
from kriptik.pipeline.intent.parser import OfflineParser, is_specific
from kriptik.pipeline.intent.request import FLAGS, readable, signs
from kriptik.pipeline.intent.text import read_text

PULL = 2e-3
"""How strongly factors are pulled to nothing."""
STEPS = 150


@dataclass
class Rows:
    """What the decision sees of each text: shared [rows, 10, factors], own [rows, 2, grams and net], signs [rows, flags]."""

    shared: np.ndarray
    own: np.ndarray
    signs: np.ndarray


def seen(texts: list[str], classes: list[str], grams: np.ndarray, net: np.ndarray) -> Rows:
    """The texts read by the parser with the given log probabilities in place of the shipped models'."""
    parser = OfflineParser()
    shares, owns, flags = [], [], []
    for at, text in enumerate(texts):
        reading = read_text(text)
        judgement = Judgement(*(dict(zip(classes, map(float, part[at]), strict=True)) for part in (grams, net)))
        if not readable(reading):
            shares.append(np.zeros((len(CAPABILITIES), len(SHARED))))
            owns.append(np.zeros((2, 2)))
            flags.append(np.zeros(len(FLAGS)))
            continue
        named = names.resolve(reading)
        methods, excluded = details.methods(reading)
        evidence = weigh(reading, named, methods, judgement)
        found = signs(reading, named, evidence, is_specific(parser.means(reading, named, methods, excluded)))
        shares.append(np.array([[shared(evidence, c)[k] for k in SHARED] for c in CAPABILITIES]))
        owns.append(np.array([[judgement.grams[o], judgement.net[o]] for o in OTHERS]))
        flags.append(np.array([found[f] for f in FLAGS]))
    return Rows(np.stack(shares), np.stack(owns), np.stack(flags))


def fit(rows: Rows, labels: list[str], weights: np.ndarray) -> Mix:
    """The factors that make the labels likeliest."""
    torch.manual_seed(0)
    every = [*CAPABILITIES, *OTHERS]
    target = torch.tensor([every.index(label) for label in labels])
    share, own, flags = (torch.tensor(part, dtype=torch.float32) for part in (rows.shared, rows.own, rows.signs))
    weight = torch.tensor(weights, dtype=torch.float32)
    common = torch.tensor([0.5, 0.5, 0.3, 0.2, 0.2], requires_grad=True)
    mine = torch.full((2, 2), 0.5, requires_grad=True)
    said = torch.zeros(2, len(FLAGS), requires_grad=True)
    optimiser = torch.optim.LBFGS([common, mine, said], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        sums = torch.cat([share @ common, (own * mine).sum(dim=2) + flags @ said.T], dim=1)
        wrong = (torch.nn.functional.cross_entropy(sums, target, reduction="none") * weight).sum() / weight.sum()
        total = wrong + PULL * (said**2).sum() + PULL * 0.1 * (common**2).sum()
        total.backward()
        return total

    optimiser.step(loss)
    mix: Mix = {"shared": dict(zip(SHARED, _told(common), strict=True))}
    for place, name in enumerate(OTHERS):
        mix[name] = dict(zip(("grams", "net"), _told(mine[place]), strict=True)) | dict(zip(FLAGS, _told(said[place]), strict=True))
    return mix


def _told(values: torch.Tensor) -> list[float]:
    return [round(float(v), 4) for v in values.detach()]


def decided(rows: Rows, mix: Mix) -> np.ndarray:
    """Log probabilities [rows, ten capabilities, no, ask]."""
    sums = [rows.shared @ np.array([mix["shared"][k] for k in SHARED])]
    for place, name in enumerate(OTHERS):
        own = rows.own[:, place] @ np.array([mix[name]["grams"], mix[name]["net"]])
        sums.append((own + rows.signs @ np.array([mix[name][f] for f in FLAGS]))[:, None])
    logits = np.concatenate(sums, axis=1)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
