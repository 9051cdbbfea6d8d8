"""Checked rows → files ready to train on: canonical JSONL, split, hashed. The same source and settings give the same files."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from kriptik.data import split
from kriptik.data.archive import parts_of
from kriptik.data.doctor import Survey, layout_of_parts, report_of, usable
from kriptik.spec.data import DataReport, FixName, PreparedData
from kriptik.spec.errors import DataError

VERSION = 1
"""Raised when the same source would be prepared otherwise than before."""
SIDES = ("train", "eval", "test")
CHUNK = 1 << 20


def prepare(
    source: Path,
    folder: Path,
    *,
    name: str | None = None,
    seed: int = 0,
    fixes: Sequence[FixName] = (),
    capability: str | None = None,
    origin: str = "",
    licence: str = "",
) -> PreparedData:
    """Writes `train.jsonl`, `eval.jsonl` (and `test.jsonl`) to `folder` as a whole or not at all.

    `origin` and `licence` are said wherever the rows are used. Raises DataError naming row and column, or `data_not_ready`.
    """
    digest = sha256_of(source)
    key = hashlib.sha256(f"{VERSION}/{digest}/{seed}/{sorted(fixes)}".encode()).hexdigest()
    part = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        with parts_of(source, name) as parts:
            sides, near, survey = _plan(parts, seed, fixes)
            report = report_of(survey, sides, near, capability)
            _must_be_ready(report)
            _write(parts, survey, sides, fixes, part)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except OSError as error:
        raise DataError("disk_full", f"The prepared rows could not be written: {error.strerror}.", "Free disk space.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    files = {side: folder / f"{side}.jsonl" for side in SIDES if (folder / f"{side}.jsonl").is_file()}
    hashes = {side: sha256_of(path) for side, path in files.items()}
    return PreparedData(
        train_path=str(files["train"]),
        eval_path=str(files["eval"]) if "eval" in files else None,
        test_path=str(files["test"]) if "test" in files else None,
        train_sha256=hashes["train"],
        eval_sha256=hashes.get("eval"),
        test_sha256=hashes.get("test"),
        settings_key=key,
        seed=seed,
        fixes=list(fixes),
        source=origin,
        licence=licence,
        report=report,
    )


def sha256_of(path: Path) -> str:
    """The file's SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _plan(parts: list, seed: int, fixes: Sequence[FixName]) -> tuple[list[str], int, Survey]:
    survey = Survey(layout_of_parts(parts))
    for _ in usable(parts, survey, fixes):
        pass
    groups, near = split.group(survey.marks)
    if near:
        survey.counts["near_duplicate"] = near
    sides, _ = split.assign(groups, seed)
    if "drop_near_duplicates" in fixes:
        kept: set[int] = set()
        for row in range(len(sides)):
            first = groups.of(row)
            if first in kept and survey.marks[row].near:
                sides[row] = "dropped"
            kept.add(first)
    return sides, near, survey


def _write(parts: list, survey: Survey, sides: list[str], fixes: Sequence[FixName], folder: Path) -> None:
    """A second pass over the source: nothing of the rows was kept but hashes."""
    open_files: dict[str, TextIO] = {}
    try:
        again = Survey(survey.layout)
        for (row, mark), side in zip(usable(parts, again, fixes), sides, strict=True):
            if side not in SIDES:
                continue
            if side not in open_files:
                open_files[side] = (folder / f"{side}.jsonl").open("w", encoding="utf-8")
            open_files[side].write(json.dumps({**row, "key": f"{mark.question:016x}"}, ensure_ascii=False) + "\n")
    finally:
        for handle in open_files.values():
            handle.close()


def _must_be_ready(report: DataReport) -> None:
    wrong = next((finding for finding in report.findings if finding.severity == "error"), None)
    if wrong is not None:
        raise DataError("data_not_ready", wrong.sentence, "Add rows and upload the file again.")
    if report.overlap_rows:
        raise DataError("split_overlaps", f"{report.overlap_rows} held-out rows also occur in training.", "Report this as a fault.")
