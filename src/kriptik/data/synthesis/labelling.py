"""Pairs of answers that people compare: kept in a folder, shuffled so that nobody sees which is which, labels appended only.

`pairs.jsonl` is written once; `labels.jsonl` grows by a line a judgement, and the last one of a pair counts.
"""

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kriptik.data import text
from kriptik.spec.errors import BadInputError
from kriptik.spec.making import Annotation, Label

PAIRS, LABELS = "pairs.jsonl", "labels.jsonl"


class Labelling:
    """The pairs of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, pairs: Sequence[dict[str, Any]]) -> None:
        """Writes the pairs: {"prompt", "one", "other"} and whatever else a row shall say of its origin."""
        self.folder.mkdir(parents=True)
        lines = (json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
        (self.folder / PAIRS).write_text("".join(lines), "utf-8")

    def pairs(self) -> list[dict[str, Any]]:
        """All pairs, in order."""
        return [json.loads(line) for line in (self.folder / PAIRS).read_text("utf-8").splitlines()]

    def labels(self) -> dict[int, str]:
        """Pair → the last judgement of it. A line that a crash cut short counts as never said."""
        found: dict[int, str] = {}
        path = self.folder / LABELS
        for line in path.read_text("utf-8").splitlines() if path.exists() else []:
            try:
                said = json.loads(line)
                found[int(said["index"])] = str(said["better"])
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def put(self, labels: Sequence[Label]) -> None:
        """Adds judgements; they are on disk when this returns. Raises BadInputError for a pair that does not exist."""
        total = len(self.pairs())
        if wrong := [one.index for one in labels if one.index >= total]:
            raise BadInputError("no_such_pair", f"There is no pair {wrong[0]}.", f"Pairs are numbered 0 to {total - 1}.")
        with (self.folder / LABELS).open("a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            for one in labels:
                file.write("\n" + json.dumps({"index": one.index, "better": one.better}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def shown(self, start: int, count: int, open_only: bool) -> list[Annotation]:
        """Pairs from `start` on, their sides shuffled; `open_only` leaves out those with a judgement."""
        labels = self.labels()
        found: list[Annotation] = []
        for index, pair in enumerate(self.pairs()):
            if index < start or (open_only and index in labels):
                continue
            a, b = _sides(index, pair)
            found.append(Annotation(index=index, prompt=pair["prompt"], a=pair[a], b=pair[b], better=labels.get(index)))  # type: ignore[arg-type]
            if len(found) >= count:
                break
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Preference rows out of the judgements; ties and skipped pairs give none."""
        made: list[dict[str, Any]] = []
        labels = self.labels()
        for index, pair in enumerate(self.pairs()):
            better = labels.get(index)
            if better in ("a", "b"):
                sides = _sides(index, pair)
                chosen, rejected = sides if better == "a" else sides[::-1]
                origin = {"kind": "human", **pair.get("provenance", {}), "chosenBy": pair.get(f"{chosen}_by", "")}
                made.append({"prompt": pair["prompt"], "chosen": pair[chosen], "rejected": pair[rejected], "provenance": origin})
        return made


def _sides(index: int, pair: dict[str, Any]) -> tuple[str, str]:
    """Which answer stands on the left: by the pair itself, so that it is the same every time."""
    return ("one", "other") if text.hash64(f"{index}:{pair['prompt']}") % 2 else ("other", "one")
