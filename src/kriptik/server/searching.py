"""Looking for data over all sources that are allowed, and fetching what was chosen from the hub."""

import os
from collections.abc import Callable

from kriptik.catalogue.load import load_catalogue
from kriptik.data.search.http import SearchError
from kriptik.data.search.hub import Hub
from kriptik.data.search.others import WebSearch, licensed, papers
from kriptik.server import datasets
from kriptik.server.core import Core
from kriptik.server.settings import Settings
from kriptik.spec.data import Dataset
from kriptik.spec.errors import BadInputError
from kriptik.spec.search import DataSource, FetchRequest, SearchAnswer, SourcePreview

EACH = 10
WEB = {"searxng": "http://127.0.0.1:8888", "brave": "https://api.search.brave.com"}
"""Where a provider of web search is, unless the settings say otherwise."""


def search(core: Core, query: str, capability: str | None, min_samples: int | None) -> SearchAnswer:
    """Asks every source that is allowed; one that does not answer is named in the notes and spoils nothing."""
    found: list[DataSource] = []
    notes: list[str] = []
    for name, ask in _sources(core.settings, query, notes):
        try:
            found += ask()
        except SearchError as error:
            notes.append(f"{name}: {error.sentence}")
    found += licensed(capability)
    told = [_told(one, min_samples) for one in found]
    return SearchAnswer(sources=sorted(told, key=lambda one: (one.enough is False, not one.fetchable)), notes=notes)


def preview(request: FetchRequest) -> SourcePreview:
    """Files and first rows of a data set on the hub. Raises SearchError."""
    _online()
    return Hub.of().look(request.id, request.revision)


def fetch(core: Core, user_id: str, request: FetchRequest) -> Dataset:
    """Fetches one file of a data set on the hub, at one revision, and keeps it if it can be trained on."""
    _online()
    if not request.licence_accepted:
        raise BadInputError(
            "licence_not_accepted", "The data set's licence was not accepted.", "Read it, then set licenceAccepted."
        )
    target = datasets.incoming(core)
    try:
        pinned, file, licence = Hub.of().fetch(
            request.id, request.revision, request.file, target, core.settings.max_upload_mb << 20
        )
        name = f"{request.id}@{pinned[:12]}/{file.rsplit('/', 1)[-1]}"
        return datasets.keep_fetched(core, user_id, target, name[-200:], licence)
    finally:
        target.unlink(missing_ok=True)


def _sources(settings: Settings, query: str, notes: list[str]) -> list[tuple[str, Callable[[], list[DataSource]]]]:
    allowed = {name.strip() for name in settings.search.split(",") if name.strip()}
    several: list[tuple[str, Callable[[], list[DataSource]]]] = []
    if os.environ.get("HF_HUB_OFFLINE") == "1" and "huggingface" in allowed:
        notes.append("The hub was not asked: HF_HUB_OFFLINE is set.")
    elif "huggingface" in allowed:
        several.append(("Hugging Face", lambda: Hub.of().search(query, EACH)))
    if "arxiv" in allowed:
        several.append(("arXiv", lambda: papers(query, EACH, settings.arxiv_url)))
    if settings.web_search != "off":
        key = os.environ.get(settings.web_search_key_env, "")
        web = WebSearch(settings.web_search, settings.web_search_url or WEB[settings.web_search], key)
        several.append(("The web", lambda: web.find(query, EACH)))
    else:
        notes.append("The web was not searched: no provider is set up (KRIPTIK_WEB_SEARCH).")
    return several


def _told(one: DataSource, min_samples: int | None) -> DataSource:
    """What the catalogue knows of its licence, and whether it has the rows asked for."""
    note = one.licence_note or _licence_note(one.licence.lower())
    enough = None if min_samples is None or one.rows is None else one.rows[1] > min_samples
    return one.model_copy(update={"licence_note": note, "enough": enough})


def _licence_note(licence: str) -> str:
    if not licence or licence in ("other", "unknown"):
        return "Not stated: ask its owner before using it."
    if "nc" in licence.split("-"):
        return "Not for commercial use."
    known = load_catalogue().licences.get(licence)
    return f"Commercial use: {known.commercial}. {known.notes or ''}".strip() if known else ""


def _online() -> None:
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        raise SearchError("offline", "The hub is not asked: HF_HUB_OFFLINE is set.", "Unset it, and start the server again.")
