"""What a checkpoint holds of a stage at work, and how a stage is put back: every tensor that differs from the pinned base."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kriptik.engine.checkpoint import Checkpoints, Shards, tensor_hash
from kriptik.engine.cursor import Cursor
from kriptik.engine.interfaces import Bundle, Session, Update
from kriptik.engine.packed import pack, unpack, update_from_plain, update_to_plain
from kriptik.spec.errors import WorkerError

PART = "part:"


@dataclass
class Counters:
    """What a run has counted over all its generations. Seconds are of updates alone: no evaluation, no checkpoint."""

    tokens: int = 0
    train_seconds: float = 0.0
    samples: int = 0
    """Rows used in this stage."""
    dropped: int = 0
    """Updates dropped in a row, since their gradient was not finite."""
    evaluated: int = -1
    """Step of this stage at which held-out rows were last scored."""
    eval_loss: float | None = None
    sampled: int = -1
    """Step of this stage at which prompts were last answered."""
    last: dict[str, Any] | None = None
    """The newest EvalResult as a document."""
    first: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Stage → its first EvalResult as a document."""


@dataclass
class Place:
    """Where the loop is, beside the session: cursor, updates not yet used, counters, what earlier stages kept."""

    cursor: Cursor
    queue: list[Update] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    earlier: list[dict[str, Any]] = field(default_factory=list)
    """State of the adaptation of each earlier stage."""


class Baseline:
    """How buffers were when they came from the base or from `apply`: what a resume has before anything is restored."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Tensor, str]] = {}

    def note(self, bundle: Bundle) -> None:
        """Remembers buffers not seen before."""
        for _, buffer in _buffers(bundle):
            self._known.setdefault(id(buffer), (buffer, tensor_hash(buffer)))

    def differs(self, buffer: Tensor) -> bool:
        """Whether a resume would not have this buffer as it is."""
        known = self._known.get(id(buffer))
        return known is None or known[1] != tensor_hash(buffer)


def named(bundle: Bundle) -> Iterator[tuple[str, Tensor]]:
    """All parameters of trainee and parts, each once; a part's names begin with 'part:<name>/'."""
    seen: set[int] = set()
    modules = [("", bundle.trainee), *((f"{PART}{name}/", part) for name, part in bundle.parts.items())]
    for prefix, module in modules:
        for name, parameter in module.named_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield prefix + name, parameter


def differing(bundle: Bundle, baseline: Baseline) -> dict[str, Tensor]:
    """Every tensor that is not what base and `apply` give: trained, touched, or a buffer that moved."""
    found = {name: one for name, one in named(bundle) if one.requires_grad or id(one) in bundle.modified}
    found |= {name: one for name, one in _buffers(bundle) if baseline.differs(one)}
    return found


def take(session: Session, place: Place, baseline: Baseline) -> Shards:
    """This rank's share of a checkpoint. Collective."""
    runtime = session.runtime
    optimizer, runtime_state = runtime.state()
    model: dict[str, Tensor] = {}
    parts: dict[str, Tensor] = {}
    for name, one in differing(session.bundle, baseline).items():
        if (mine := runtime.own_part(one)) is not None:
            parts[name] = mine
        elif runtime.owns(name):
            model[name] = one
    kept: dict[str, Tensor] = {}
    state = {
        "step": session.step,
        "cursor": place.cursor.state(),
        "counters": vars(place.counters),
        "runtime": runtime_state,
        "adaptation": session.adaptation.state(),
        "earlier": place.earlier,
        "objective": session.objective.state(),
        "average": session.average.state() if session.average else None,
        "queue": [update_to_plain(update) for update in place.queue],
    }
    packed = {name: pack(value, kept, name) for name, value in state.items()}
    return Shards({"model": model, "parts": parts, "optimizer": optimizer, "loop": kept}, packed)


def read_state(store: Checkpoints, name: str, rank: int, device: torch.device) -> dict[str, Any]:
    """The loop's own part of a checkpoint."""
    return unpack(store.state(name, rank), store.tensors(name, "loop", rank), device)


def put_back(store: Checkpoints, name: str, bundle: Bundle) -> None:
    """Copies the checkpoint's tensors into the bundle. Raises WorkerError if one has no place.

    What came back differs from the base: it goes into the next checkpoints too, even if nothing touches it again.
    """
    places = dict(named(bundle)) | dict(_buffers(bundle))
    saved = store.tensors(name, "model")
    for key, flat in store.joined(name, "parts").items():
        fits = key in places and places[key].numel() == flat.numel()
        saved[key] = flat.view(places[key].shape) if fits else flat
    missing = [one for one in saved if one in places and places[one].shape != saved[one].shape] or [
        one for one in saved if one not in places
    ]
    if missing:
        raise WorkerError(
            "bad_checkpoint",
            f"Checkpoint {name} holds {missing[0]}, which this model does not have in that shape.",
            "It was made with another model or method: resume the run it belongs to.",
        )
    with torch.no_grad():
        for key, tensor in saved.items():
            places[key].copy_(tensor)
    bundle.touch(*(places[key] for key in saved))


def queue_of(state: dict[str, Any]) -> list[Update]:
    """The unused updates of a checkpoint."""
    return [update_from_plain(plain) for plain in state["queue"]]


def _buffers(bundle: Bundle) -> Iterator[tuple[str, Tensor]]:
    modules = [("", bundle.trainee), *((f"{PART}{name}/", part) for name, part in bundle.parts.items())]
    for prefix, module in modules:
        for name, buffer in module.named_buffers():
            yield prefix + name, buffer
