"""Papers (arXiv), the web (a provider of the operator's choice), and licensed providers (the catalogue's list)."""

import tomllib
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any
from xml.etree import ElementTree

from kriptik.data import text
from kriptik.data.search.http import SearchError, fetch_json, fetch_text
from kriptik.spec.search import DataSource, Quality

ARXIV = "https://export.arxiv.org/api/query"
_ATOM = "{http://www.w3.org/2005/Atom}"


def papers(query: str, limit: int, url: str = ARXIV) -> list[DataSource]:
    """Papers about data sets that fit. Source: arXiv's API, which answers Atom. Raises SearchError."""
    words = " AND ".join(f"all:{word}" for word in query.split()[:8] if word.isalnum())
    asked: dict[str, str | int] = {
        "search_query": f"({words or 'all:text'}) AND all:dataset",
        "max_results": limit,
        "sortBy": "relevance",
    }
    body = fetch_text(url, asked)
    if "<!DOCTYPE" in body or "<!ENTITY" in body:  # nothing of the kind stands in a feed; entities can unfold without end
        raise SearchError("source_not_answering", "arXiv's answer cannot be read.", "Try again later.")
    try:
        feed = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise SearchError("source_not_answering", "arXiv's answer cannot be read.", "Try again later.") from error
    return [_paper(entry) for entry in feed.iter(f"{_ATOM}entry")]


def _paper(entry: ElementTree.Element) -> DataSource:
    def said(name: str) -> str:
        return " ".join((entry.findtext(f"{_ATOM}{name}") or "").split())

    updated = said("updated").replace("Z", "+00:00")
    return DataSource(
        id=said("id").rsplit("/abs/", 1)[-1],
        kind="academic",
        title=text.shorten(said("title"), 200),
        url=said("id"),
        licence_note="A paper: the data it describes has a licence of its own.",
        summary=text.shorten(said("summary"), 300),
        quality=Quality(updated=datetime.fromisoformat(updated) if updated else None, described=True),
    )


@dataclass(frozen=True)
class WebSearch:
    """A provider of web search: "searxng" (an instance of one's own) or "brave" (with a key)."""

    provider: str
    url: str
    key: str = ""

    def find(self, query: str, limit: int) -> list[DataSource]:
        """Pages that may hold data. Nothing is fetched from them: their terms have to be read first. Raises SearchError."""
        asked: dict[str, str | int] = {"q": f"{query} dataset"}
        if self.provider == "searxng":
            body = fetch_json(f"{self.url.rstrip('/')}/search", {**asked, "format": "json"})
            found = body.get("results") if isinstance(body, dict) else None
            return [_page(one, "content") for one in (found or [])[:limit]]
        body = fetch_json(
            f"{self.url.rstrip('/')}/res/v1/web/search", {**asked, "count": limit}, {"X-Subscription-Token": self.key}
        )
        found = (body.get("web") or {}).get("results") if isinstance(body, dict) else None
        return [_page(one, "description") for one in (found or [])[:limit]]


def _page(one: dict[str, Any], summary: str) -> DataSource:
    return DataSource(
        id=str(one.get("url")),
        kind="web",
        title=text.shorten(str(one.get("title") or one.get("url")), 200),
        url=str(one.get("url")),
        licence_note="Not stated: read the page's terms before using anything of it.",
        summary=text.shorten(str(one.get(summary) or ""), 300),
    )


def licensed(capability: str | None) -> list[DataSource]:
    """Providers whose data can be licensed, as the catalogue lists them, for a capability."""
    return [
        DataSource(
            id=name,
            kind="licensed",
            title=str(one["title"]),
            url=str(one["url"]),
            licence=str(one["licence"]),
            licence_note=str(one["note"]),
            summary=str(one["summary"]),
        )
        for name, one in _providers().items()
        if capability is None or capability in one["capabilities"]
    ]


@cache
def _providers() -> dict[str, dict[str, Any]]:
    return tomllib.loads(resources.files("kriptik.catalogue").joinpath("licensed_data.toml").read_text("utf-8"))
