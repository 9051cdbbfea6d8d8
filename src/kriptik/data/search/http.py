"""One way to ask other servers: bounded in time and size, and every failure a sentence."""

import time
from typing import Any

import httpx

from kriptik.spec.errors import KriptikError

TIMEOUT_S, MOST_S = 10.0, 20.0
MOST_BYTES = 8 << 20


class SearchError(KriptikError):
    """A source could not be asked, or answered nothing that can be read."""

    status = 502


def fetch_text(url: str, params: dict[str, str | int] | None = None, headers: dict[str, str] | None = None) -> str:
    """The body of an answer. Raises SearchError; redirects are followed on the same host only."""
    ends = time.monotonic() + MOST_S
    raw = bytearray()
    try:
        with httpx.stream("GET", url, params=params, headers=headers, timeout=TIMEOUT_S) as answer:
            if answer.status_code != 200:
                raise _failed(url, f"status {answer.status_code}", answer.status_code)
            for piece in answer.iter_bytes():
                raw += piece
                if len(raw) > MOST_BYTES or time.monotonic() > ends:
                    raise _failed(url, "the answer is too slow or too long")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _failed(url, type(error).__name__) from error
    return raw.decode("utf-8", "replace")


def fetch_json(url: str, params: dict[str, str | int] | None = None, headers: dict[str, str] | None = None) -> Any:
    """The body of an answer as JSON. Raises SearchError."""
    import json

    try:
        return json.loads(fetch_text(url, params, headers))
    except (ValueError, RecursionError) as error:
        raise _failed(url, "the answer is no JSON") from error


def _failed(url: str, why: str, status: int | None = None) -> SearchError:
    host = httpx.URL(url).host if "://" in url else url
    steps = {401: "Check the token.", 403: "Ask its owner for access, and check the token.", 429: "Try again in some minutes."}
    return SearchError("source_not_answering", f"{host} gave no answer: {why}.", steps.get(status or 0, "Try again later."))
