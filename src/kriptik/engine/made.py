"""Rows that a stage makes out of the job's before it trains: once, in the run's folder, before they are used.

Rank 0 makes them with the model as it is at the start of the stage; a killed process makes them again, and a judge is not asked
twice. There are as many rows as before, so that the number of updates is known from the start.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kriptik.engine.cursor import read_rows
from kriptik.engine.interfaces import Session
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import StageSettings

FOLDER = "made"
CHUNK = 4
"""Rows between two looks at what is wanted."""


def makes_rows(settings: StageSettings) -> bool:
    """Whether a stage trains on rows of its own. Raises WorkerError where their lengths would have to be known before."""
    asked = "rows" in settings.objective
    if asked and settings.packing:
        raise WorkerError("unfit_packing", "Rows that are made on the way cannot be packed.", "Set packing to false.")
    return asked


def made_rows(
    session: Session, raw: Sequence[dict[str, Any]], name: str, obey: Callable[[Session], None]
) -> Sequence[dict[str, Any]]:
    """The stage's own rows. `obey` is called on every rank alike between chunks and may raise to end the work."""
    path = Path(session.job.run_dir) / FOLDER / f"s{session.stage}-{name}.jsonl"
    runtime, made = session.runtime, []
    there = bool(runtime.share(path.exists() if runtime.rank == 0 else None))
    make = session.modality.row_maker(session) if not there and runtime.rank == 0 else None
    for start in range(0, 0 if there else len(raw), CHUNK):
        obey(session)
        if make is not None:
            made += [make(row, start + number) for number, row in enumerate(raw[start : start + CHUNK])]
    if make is not None:
        _put(path, made)
    runtime.barrier()
    return read_rows(path)


def _put(path: Path, rows: list[dict[str, Any]]) -> None:
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as handle:
            handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            handle.flush()
            os.fsync(handle.fileno())
        part.replace(path)
    except OSError as error:
        raise WorkerError("disk_full", f"Rows could not be kept: {error.strerror}.", "Free disk space, then retry.") from error
