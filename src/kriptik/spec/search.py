"""Nouns of looking for data: what was found where, under which licence, how much of it, and how good it seems."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from kriptik.spec.base import Noun

SourceKind = Literal["huggingface", "academic", "web", "licensed"]


class Quality(Noun):
    """What others make of it. None where the source does not say."""

    downloads: int | None = None
    """In the last 30 days."""
    likes: int | None = None
    updated: datetime | None = None
    gated: bool = False
    """Whether its owner has to let you in first."""
    described: bool = False
    """Whether there is a description worth the name."""


class DataSource(Noun):
    """Something to train on that was found. `revision` pins it; `licence` is as the source states it, empty where it does not."""

    id: str
    kind: SourceKind
    title: str
    url: str
    licence: str = ""
    licence_note: str = ""
    """What the licence means for use, where the catalogue knows it."""
    rows: tuple[int, int] | None = None
    """At least and at most; from the source's own size class where it does not count."""
    bytes: int | None = None
    languages: list[str] = []
    summary: str = ""
    quality: Quality = Quality()
    revision: str | None = None
    fetchable: bool = False
    """Whether it can be fetched here, as it stands."""
    enough: bool | None = None
    """Whether it has the rows asked for; None where that is unknown."""


class SearchAnswer(Noun):
    """What was found, the likeliest first. `notes` say which sources were not asked, and why."""

    sources: list[DataSource]
    notes: list[str] = []


class SourcePreview(Noun):
    """The first rows of something that was found, as its source shows them."""

    id: str
    revision: str
    files: list[str]
    rows: list[dict[str, JsonValue]] = []


class FetchRequest(Noun):
    """What to fetch. Without `revision` the present one is pinned; without `file` the training file is chosen."""

    id: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]
    revision: Annotated[str | None, Field(max_length=64, pattern=r"^[0-9a-f]{7,64}$")] = None
    file: Annotated[str | None, Field(max_length=300)] = None
    licence_accepted: bool = False
    """That the licence as stated was read and suits the use."""


class ModelCheck(Noun):
    """What the hub says of a plan's base model, asked with the user's token. Nothing is downloaded.

    open, granted: it can be fetched; gated: terms must be accepted first; missing: there is no such model for this token;
    here: it lies on this machine; not_asked: the hub was not asked, and the sentence says why.
    """

    id: str
    status: Literal["open", "granted", "gated", "missing", "here", "not_asked"]
    sentence: str
    next_step: str = ""
    url: str | None = None
    revision: str | None = None
    gated: bool | None = None
    licence: str = ""
    """As the card states it now."""
    licence_note: str = ""
    """Where the card says something else than the catalogue read."""
