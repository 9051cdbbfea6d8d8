"""The batch interface: rows of {id, prompt} in, rows of {id, contract} out."""

from collections.abc import Iterable, Iterator
from typing import Any

from kriptik.pipeline.intent.parser import IntentParser, OfflineParser


def parse_batch(rows: Iterable[dict[str, Any]], parser: IntentParser | None = None) -> Iterator[dict[str, Any]]:
    """One row out per row in, in order. A row that carries an error, or no text as prompt, comes back with an error."""
    parser = parser or OfflineParser()
    for row in rows:
        if not isinstance(row, dict):
            yield {"id": None, "error": "The row is no object."}
        elif "error" in row:
            yield {"id": row.get("id"), "error": row["error"]}
        elif not isinstance(row.get("prompt"), str):
            yield {"id": row.get("id"), "error": "The row has no text in 'prompt'."}
        else:
            yield {"id": row.get("id"), "contract": parser.parse(row["prompt"]).fields()}
