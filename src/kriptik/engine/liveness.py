"""Whether a stage can learn at all, as its smoke test asks: do rows teach anything, do weights move, does a loss fall."""

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kriptik.engine import ranks
from kriptik.engine.cursor import rows_of
from kriptik.engine.interfaces import Session, UpdatePlan
from kriptik.engine.masks import turn_ends
from kriptik.engine.text.forms import documents_of
from kriptik.engine.text.heads import value_head
from kriptik.spec.errors import DataError

FEW = 8
"""Rows that a model must be able to overfit."""
MOST = 16
"""Updates on them at most."""
CLEAR = 0.2
"""A loss that fell by this share of the first has fallen clearly: no more updates are made to see it."""
LEAST = 3e-6
"""Share by which it must have fallen per update, where updates or time are used up before. Rows, dropout and noise are the same
each time, so that rounding alone stands against it: about 1e-7 in fp32. Of all methods at the catalogue's rates on models of 0.3
million weights AdaLoRA fell least in its first updates, by 9e-6; then upcycled experts, 2e-5. On SmolLM2-135M it was 8e-4."""
ROUGH = 0.02
"""In half precision rounding moves a loss by so much (0.6 % on SmolLM2-135M in bf16), more than a small rate lowers it in a few
updates: there it must have changed, and not have risen by more."""
LOST = 2.0
"""A model whose own answers cost it so many nats per token more than when it gave them is destroyed, whatever falls afterwards."""
LOOKED_AT = 512
"""Rows of which it is counted what they teach, from all over the data."""
TEACHING = 0.05
"""With a smaller share of rows that teach anything, masks, template or length are wrong."""
NUMBERS = 4096
"""Of each trained tensor, about so many are compared."""


Seen = tuple[int, float]
"""Updates made before, and the loss then."""


@dataclass
class Fit:
    """What came of training on the same rows again and again."""

    rows: int
    seen: list[Seen]
    most: float = math.inf
    """The last loss must not be above this."""
    rough: float = 0.0
    """Share by which rounding may move a loss."""

    @property
    def updates(self) -> int:
        """Between the first loss and the last."""
        return self.seen[-1][0] - self.seen[0][0] if self.seen else 0

    @property
    def fall(self) -> float:
        """Share of the first loss by which the last one is lower; −∞ where that is no number, or the last one is too high."""
        first, last = self.seen[0][1], self.seen[-1][1]
        fell = (first - last) / abs(first) if first else -math.inf
        return fell if math.isfinite(fell) and last <= self.most else -math.inf

    @property
    def learns(self) -> bool:
        """Whether it fell by more than rounding can; where rounding hides that, whether something happened, and nothing bad."""
        return self.updates > 0 and self.fall != 0 and self.fall >= LEAST * self.updates - self.rough

    @property
    def clear(self) -> bool:
        """Whether it fell so far that nothing more need be seen."""
        return self.updates > 0 and self.fall >= CLEAR


class Weights:
    """Some numbers of everything that is trained, as they were.

    A value head does not count: it can learn on a model that is frozen by mistake.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._before = self._now()

    def moved(self) -> float:
        """Share of the trained tensors that are no longer as they were, over all ranks. Collective."""
        now = self._now()
        moved = sum(not torch.equal(one, now[name]) for name, one in self._before.items())
        counts = torch.tensor([moved, len(now)], dtype=torch.float64, device=ranks.device())
        if dist.is_initialized():  # not `Runtime.all_sum`: the ranks of a pipeline see the same rows, but hold other weights
            dist.all_reduce(counts)
        return float(counts[0] / counts[1].clamp_min(1))

    def _now(self) -> dict[str, Tensor]:
        """By name; what this rank holds, each tensor on one rank or cut over them."""
        runtime, trainee = self._session.runtime, self._session.bundle.trainee
        head = value_head(trainee)
        left_out = {id(one) for one in head[1].parameters()} if head else set()
        found = {}
        for name, one in trainee.named_parameters():
            if not one.requires_grad or id(one) in left_out:
                continue
            part = runtime.own_part(one)
            if part is None and runtime.owns(name):
                part = one
            if part is not None and part.numel():
                flat = part.detach().reshape(-1)
                found[name] = flat[:: max(1, len(flat) // NUMBERS)].clone()
        return found


@dataclass(frozen=True)
class Taught:
    """What rows of text teach; None each where that is no question: pictures, prompts, answers that are only scored."""

    tokens: float | None = None
    """Share of tokens that are predicted and learnt."""
    rows: float | None = None
    """Share of rows with any such token."""
    ends: bool | None = None
    """Whether the end of a turn is ever among them; None without rows of chat."""


def taught(session: Session) -> Taught:
    """Looks at rows from all over the data. Raises DataError where none, or hardly any, teaches anything."""
    encoded = session.rows.encoded
    if not session.objective.overfits or not len(encoded):
        return Taught()
    ends = {getattr(session.bundle.tokenizer, "eos_token_id", None)}
    tokens = learnt = rows = teaching = 0
    ended: bool | None = None
    for number in range(0, len(encoded), max(1, len(encoded) // LOOKED_AT)):
        documents = [one for one in documents_of(encoded[number]) if "learnt" in one and "at" not in one]
        if not documents:
            continue
        if rows == 0:
            ends |= set(turn_ends(session.bundle.tokenizer))
        on = sum(sum(one["learnt"][1:]) for one in documents)
        rows, teaching = rows + 1, teaching + (on > 0)
        tokens, learnt = tokens + sum(len(one["ids"]) for one in documents), learnt + on
        if on and session.rows.raw[number].keys() & {"messages", "prompt", "chosen"}:
            here = any(token in ends and on for one in documents for token, on in zip(one["ids"], one["learnt"], strict=True))
            ended = bool(ended) or here
    if rows == 0:
        return Taught()
    if teaching < TEACHING * rows:
        count = f"{teaching} of the {rows:,} rows that were looked at" if teaching else "None of the rows"
        raise DataError(
            "nothing_supervised",
            f"{count} {'has' if teaching < 2 else 'have'} a token that is learnt: the run would teach nothing.",
            "Give rows in which the assistant answers (`kriptik data show` prints what is learnt), or choose another method.",
        )
    return Taught(learnt / max(1, tokens), teaching / rows, ended)


def first_rows(plan: UpdatePlan, most: int = FEW) -> UpdatePlan:
    """The first rows of an update, in its own micro-batches; the very plan where it has no more."""
    if len(rows_of(plan)) <= most:
        return plan
    found, left = [], most
    for micro in plan:
        bins = []
        for one in micro:
            bins.append(one[:left])
            left -= len(bins[-1])
        found.append([one for one in bins if one])
    return [one for one in found if one]


def finite(loss: float) -> float | None:
    """A loss as JSON can carry it."""
    return loss if math.isfinite(loss) else None


def roughness(trainee: nn.Module) -> float:
    """`ROUGH` where any weight is held in fewer than 32 bits."""
    return ROUGH if any(one.dtype.itemsize < 4 for one in trainee.parameters()) else 0.0
