"""Which methods train: computed from the conformance suite's findings in `proof.json`, never typed by hand.

`proof.json` is a list of `ProofEntry` in wire form, sorted by method, capability, strategy and way (`ways.toml`):

    [{"method": "lora", "capability": "text_generation", "strategy": "single", "piecesHash": "9f2c…",
      "checks": {"trains": true, "resume_exact": true, …}, "provedOn": "2026-11-25", "stack": {"torch": "2.13.0", …}}]

The suite makes entries with `proof_entry` (which computes the hash) and saves them with `write_proofs`. A method counts as
trainable for a capability while all its checks are true and the hash is still that of the code; else it is planned.
"""

import json
from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from kriptik.catalogue.load import FOLDER, load_catalogue
from kriptik.catalogue.points import belongs, fill_points, ordered_methods, ways_of
from kriptik.catalogue.sources import ENGINE, names_of, piece_file, pieces_hash
from kriptik.spec.catalogue import CapabilityEntry, MethodEntry, MethodStatus, PairStatus, Point, ProofEntry, Way
from kriptik.spec.errors import KriptikError, NotFoundError

PROOF_FILE = FOLDER / "proof.json"
Proofs = list[ProofEntry]


def load_proofs(file: Path = PROOF_FILE) -> Proofs:
    """The entries of the proof file; none where there is no file. Raises KriptikError `catalogue_broken`."""
    if not file.is_file():
        return []
    try:
        return [ProofEntry.model_validate(entry) for entry in json.loads(file.read_text(encoding="utf-8"))]
    except (ValueError, TypeError, ValidationError) as error:
        sentence = f"The proof file {file.name} cannot be read: {str(error)[:200]}"
        raise KriptikError("catalogue_broken", sentence, "Run make conformance.", status=500) from error


def write_proofs(entries: Iterable[ProofEntry], file: Path = PROOF_FILE, *, keep_others: bool = True) -> None:
    """Save what was found: one entry per (method, capability, strategy, way), the newest wins, in a stable order.

    With `keep_others`, entries of other keys that the file already holds stay, so that part of the suite can be run alone.
    """
    merged = {entry.key: entry for entry in (*(load_proofs(file) if keep_others else ()), *entries)}
    body = [merged[key].document() for key in sorted(merged)]
    waiting = file.with_suffix(".json.part")
    waiting.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    waiting.replace(file)


def proof_entry(
    method: str, capability: str, strategy: str, checks: dict[str, bool], stack: dict[str, str], way: str | None = None
) -> ProofEntry:
    """An entry for what the suite has just checked, with the hash of the present code, dated today.

    `strategy` is the one it ran with; a method that fixes its own strategy keeps it. `way`: the modality it ran in, where that is
    not the capability's own.
    """
    present = current_hash(method, capability, strategy, way=way)
    return ProofEntry(
        method=method,
        capability=capability,
        strategy=strategy,
        pieces_hash=present,
        checks=checks,
        proved_on=date.today(),
        stack=stack,
        way=way,
    )


def current_hash(method: str, capability: str, strategy: str, engine: Path = ENGINE, way: str | None = None) -> str:
    """The hash of the code that trains this method for this capability now. KriptikError `piece_missing` if it is not built."""
    about, other = _capability(capability), _way(way)
    points = fill_points(_method(method), about, strategy, way=other)
    return pieces_hash(points, other.id if other else about.modality, engine)


def stale_proofs(file: Path = PROOF_FILE) -> Proofs:
    """Entries whose code has changed, or gone, since they were proved."""
    return [entry for entry in load_proofs(file) if not _is_current(entry, ENGINE)]


def method_statuses() -> list[MethodStatus]:
    """Every method with its status over all capabilities, listed ids first. Cached until the proof file changes."""
    stamp = PROOF_FILE.stat().st_mtime_ns if PROOF_FILE.is_file() else 0
    return list(_statuses(stamp))


def pair_statuses() -> list[PairStatus]:
    """Every method × capability that the catalogue claims, each way to make what it makes apart, methods in their order."""
    return list(_pairs(PROOF_FILE.stat().st_mtime_ns if PROOF_FILE.is_file() else 0))


def pairs_from(proofs: Proofs, engine: Path = ENGINE) -> list[PairStatus]:
    """The pairs as these proofs give them; `pair_statuses` reads them from the proof file."""
    found = []
    for method in ordered_methods():
        for capability in map(_capability, method.capabilities):
            for way in (one for one in ways_of(capability) if belongs(method, capability, one)):
                why = _why_not(method, capability.id, proofs, engine, way)
                state = "planned" if why else "trainable"
                found.append(PairStatus(method=method.id, capability=capability.id, way=way and way.id, status=state, reason=why))
    return found


def status_of(method_id: str, capability: str | None = None) -> MethodStatus:
    """The status of one method, over all capabilities or for one. Raises NotFoundError for an unknown id."""
    if capability is not None:
        stamp = PROOF_FILE.stat().st_mtime_ns if PROOF_FILE.is_file() else 0
        return _status(_method(method_id), _proofs(stamp), [_capability(capability).id], ENGINE)
    return next(s for s in method_statuses() if s.id == _method(method_id).id)


def way_statuses() -> dict[tuple[str, str], MethodStatus]:
    """(way, method) → its status there, over the one capability of the way. Cached until the proof file changes."""
    return dict(_other_statuses(PROOF_FILE.stat().st_mtime_ns if PROOF_FILE.is_file() else 0))


def statuses_from(proofs: Proofs, engine: Path = ENGINE) -> list[MethodStatus]:
    """The statuses that these proofs give; `method_statuses` reads them from the proof file."""
    return [_status(method, proofs, method.capabilities, engine) for method in ordered_methods()]


@lru_cache(maxsize=4)
def _proofs(stamp: int) -> Proofs:
    return load_proofs()


@lru_cache(maxsize=4)
def _statuses(stamp: int) -> tuple[MethodStatus, ...]:
    return tuple(statuses_from(_proofs(stamp)))


@lru_cache(maxsize=4)
def _pairs(stamp: int) -> tuple[PairStatus, ...]:
    return tuple(pairs_from(_proofs(stamp)))


@lru_cache(maxsize=4)
def _other_statuses(stamp: int) -> tuple[tuple[tuple[str, str], MethodStatus], ...]:
    found = []
    for way in load_catalogue().ways.values():
        several = (_status(method, _proofs(stamp), [way.capability], ENGINE, way) for method in ordered_methods())
        found += [((way.id, one.id), one) for one in several]
    return tuple(found)


def _status(
    method: MethodEntry, proofs: Proofs, capabilities: list[str], engine: Path, way: Way | None = None
) -> MethodStatus:
    """Trainable: `capabilities` are those where it is proved. Planned: those where it would make sense, and why not."""
    reasons = {capability: _why_not(method, capability, proofs, engine, way) for capability in capabilities}
    proved = [capability for capability, reason in reasons.items() if reason is None]
    return MethodStatus(
        id=method.id,
        alias_of=method.alias_of,
        stages=method.stages,
        status="trainable" if proved else "planned",
        reason=None if proved else next(iter(reasons.values())),
        capabilities=proved or [c for c in capabilities if c in method.capabilities],
    )


def _why_not(method: MethodEntry, capability: str, proofs: Proofs, engine: Path, way: Way | None = None) -> str | None:
    """None where the method is proved for the capability, in the way that is given, else the reason as one sentence.

    A proof counts for every capability in which the method is the very same thing: same modality, same points.
    """
    if capability not in method.capabilities:
        return f"It makes no sense for {_capability(capability).title.lower()}."
    about = _capability(capability)
    target = _method(method.alias_of or method.id)
    if way and target.id in way.unclaimed:
        return way.unclaimed[target.id]
    if not belongs(method, about, way):
        return f"It is not for models that are trained by '{way.objective if way else about.objective}'."
    here = [p for p in proofs if p.way == (way.id if way else None)]
    mine = [p for p in here if p.method == target.id and _same(target, about, _capability(p.capability))]
    if any(all(p.checks.values()) and _is_current(p, engine) for p in mine):
        return None
    missing = _not_built(fill_points(target, about, way=way), way.id if way else about.modality, engine)
    if missing:
        return missing
    for entry in mine:
        failed = [name for name, passed in entry.checks.items() if not passed]
        return f"Its conformance check '{failed[0]}' fails." if failed else "Its code has changed since it was proved."
    if any(stage.base_precision == "nf4" for stage in target.stages):
        return "Loading a base model in 4-bit (nf4) is not proved yet."
    return "No conformance proof yet."


def _same(method: MethodEntry, one: CapabilityEntry, other: CapabilityEntry) -> bool:
    return one.modality == other.modality and fill_points(method, one) == fill_points(method, other)


def _not_built(points: list[Point], modality: str, engine: Path) -> str | None:
    if any("offload" in point.options for point in points):
        return "Moving weights and optimizer to main memory or NVMe is not built yet."
    modality_last = sorted(names_of(points, modality), key=lambda named: named[0] == "modality")
    for axis, name in modality_last:
        if piece_file(axis, name, engine) is None:
            return f"The {axis} '{name}' is not built yet."
    return None


def _is_current(entry: ProofEntry, engine: Path) -> bool:
    try:
        return entry.pieces_hash == current_hash(entry.method, entry.capability, entry.strategy, engine, entry.way)
    except KriptikError:
        return False


def _method(method_id: str) -> MethodEntry:
    found = load_catalogue().methods.get(method_id)
    if found is None:
        raise NotFoundError("method_not_found", f"There is no method '{method_id[:100]}'.", "See kriptik methods.")
    return found


def _way(way: str | None) -> Way | None:
    """Raises NotFoundError for an unknown one."""
    if way is not None and way not in load_catalogue().ways:
        raise NotFoundError("way_not_found", f"There is no way '{way[:100]}'.", "See ways.toml.")
    return load_catalogue().ways[way] if way else None


def _capability(capability: str) -> CapabilityEntry:
    found = load_catalogue().capabilities.get(capability)
    if found is None:
        raise NotFoundError("capability_not_found", f"There is no capability '{capability[:100]}'.", "Choose one of the ten.")
    return found
