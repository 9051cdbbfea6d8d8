"""YAML dialogues: `conversations: [[said, answered, …], …]`, as chatterbot-corpus keeps them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from kriptik.data import text
from kriptik.data.record import Place, Record
from kriptik.spec.errors import DataError

MOST_BYTES = 64 << 20
"""A YAML file is read whole."""
SPEAKERS = ("user", "assistant")


class _Loader(yaml.SafeLoader):
    """No aliases: a few lines of them can unfold into gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not read here")
        return super().compose_node(parent, index)


def read_yaml(path: Path, member: str | None) -> Iterator[Record]:
    """One record per conversation: its lines as messages, the user's first. Raises DataError for any other YAML."""
    if path.stat().st_size > MOST_BYTES:
        raise DataError("yaml_too_large", f"A YAML file above {MOST_BYTES >> 20} MB is not read.", "Save it as JSONL.")
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as handle:
            value = yaml.load(handle, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
        near = text.shorten(str(error), 160)
        raise DataError("bad_yaml", f"The YAML file cannot be read: {near}", "Repair it, or save the rows as JSONL.") from error
    several = value.get("conversations") if isinstance(value, dict) else None
    if not isinstance(several, list):
        raise DataError(
            "no_usable_columns",
            "The YAML file holds no list called 'conversations'.",
            "Write conversations: [[question, answer], …], or save the rows as JSONL.",
        )
    for number, lines in enumerate(several, 1):
        said = [line for line in lines if line is not None] if isinstance(lines, list) else [lines]
        turns = [
            {"role": SPEAKERS[at % 2], "content": line if isinstance(line, str) else str(line)} for at, line in enumerate(said)
        ]
        yield Record(Place(number, member), turns)
