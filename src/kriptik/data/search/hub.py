"""Data sets of the Hugging Face hub: found, looked at, and fetched at one revision with the hash of every file checked.

Source: the hub's API (/api/datasets, /api/datasets/…/revision/…, /datasets/…/resolve/…) and the data set viewer's /first-rows.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from kriptik.data import text
from kriptik.data.search import folders
from kriptik.data.search.folders import Listed
from kriptik.data.search.http import TIMEOUT_S, SearchError, fetch_json
from kriptik.spec.errors import DataError
from kriptik.spec.search import DataSource, Quality, SourcePreview

ENDPOINT = "https://huggingface.co"
VIEWER = "https://datasets-server.huggingface.co"
FORMATS = (".parquet", ".jsonl", ".json", ".csv", ".tsv")
"""Kinds of file that can be trained on here, the likeliest first."""
SIZES = {"n<1K": (0, 1_000), "n>1T": (10**12, 10**15)}
_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
CHUNK = 1 << 20


@dataclass(frozen=True)
class Hub:
    """Where the hub is and who asks. `token` may be empty: then only what is open is seen."""

    endpoint: str = ENDPOINT
    viewer: str = VIEWER
    token: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> "Hub":
        """As HF_ENDPOINT and HF_TOKEN say; a mirror has its own viewer or none."""
        endpoint = environment.get("HF_ENDPOINT", "").rstrip("/") or ENDPOINT
        viewer = VIEWER if endpoint == ENDPOINT else endpoint
        return cls(endpoint, environment.get("HF_VIEWER", "").rstrip("/") or viewer, environment.get("HF_TOKEN", "").strip())

    def search(self, query: str, limit: int) -> list[DataSource]:
        """Data sets whose name or description fits, the most used first. Raises SearchError."""
        asked: dict[str, str | int] = {"search": query, "limit": limit, "full": "true", "sort": "downloads", "direction": -1}
        found = fetch_json(f"{self.endpoint}/api/datasets", asked, self._headers())
        return [self._source(one) for one in found if isinstance(one, dict) and isinstance(one.get("id"), str)]

    def look(self, dataset: str, revision: str | None) -> SourcePreview:
        """The files, and folders of media ("train/"), that can be fetched at a revision, and the first rows where the viewer shows
        them. Raises SearchError."""
        about = self._about(dataset, revision)
        files = [*folders.found(_listed(about)), *(name for name, _, _ in _files(about))]
        return SourcePreview(id=dataset, revision=str(about["sha"]), files=files, rows=self._first_rows(dataset))

    def fetch(self, dataset: str, revision: str | None, file: str | None, target: Path, most_bytes: int) -> tuple[str, str, str]:
        """Downloads one file to `target`, in pieces, or a folder of media as a zip; returns revision, name and licence.

        Raises DataError where there is no such file, it is too large, or what came is not what the hub's list says (SHA-256).
        """
        about = self._about(dataset, revision)
        pinned, files = str(about["sha"]), _files(about)
        several = folders.found(_listed(about))
        if several and (file is None or file in several):
            folder = file or next(iter(several))
            place = f"{self.endpoint}/datasets/{dataset}/resolve/{pinned}/"

            def fetch(one: Listed, part: Path, most: int) -> None:
                self._download(place + quote(one[0]), part, most, one[2], one[0])

            folders.zipped(folder, several[folder], target, most_bytes, fetch)
            return pinned, f"{folder.strip('./') or 'files'}.zip", licence_of(about)
        chosen = next((one for one in files if one[0] == file), None) if file else _training(files)
        if chosen is None:
            shown = ", ".join(name for name, _, _ in files[:6]) or "none"
            raise DataError(
                "no_such_file", f"{dataset} has no such file that can be trained on here; there are: {shown}.", "Name one."
            )
        name, size, digest = chosen
        if size is not None and size > most_bytes:
            sentence = f"{name} has {size / 1e6:,.0f} MB, more than the {most_bytes / 1e6:,.0f} MB that are taken."
            raise DataError("source_too_large", sentence, "Choose a smaller file, or raise KRIPTIK_MAX_UPLOAD_MB.")
        self._download(f"{self.endpoint}/datasets/{dataset}/resolve/{pinned}/{name}", target, most_bytes, digest, name)
        return pinned, name, licence_of(about)

    def _about(self, dataset: str, revision: str | None) -> dict[str, Any]:
        path = f"/api/datasets/{dataset}" + (f"/revision/{revision}" if revision else "")
        about = fetch_json(self.endpoint + path, {"blobs": "true"}, self._headers())
        if not isinstance(about, dict) or not re.fullmatch(r"[0-9a-f]{40,64}", str(about.get("sha"))):
            raise SearchError(
                "source_not_answering", f"The hub does not say which revision of {dataset} there is.", "Try again later."
            )
        return about

    def _first_rows(self, dataset: str) -> list[dict[str, Any]]:
        try:
            splits = fetch_json(f"{self.viewer}/splits", {"dataset": dataset}, self._headers())["splits"]
            part = next((one for one in splits if one.get("split") == "train"), splits[0])
            asked: dict[str, str | int] = {"dataset": dataset, "config": part["config"], "split": part["split"]}
            rows = fetch_json(f"{self.viewer}/first-rows", asked, self._headers())["rows"]
            return [_shortened(one["row"]) for one in rows[:3]]
        except (SearchError, LookupError, TypeError, AttributeError):
            return []  # the viewer knows not every data set; the list of files is there all the same

    def _download(self, url: str, target: Path, most_bytes: int, digest: str | None, name: str) -> None:
        hashed, size = hashlib.sha256(), 0
        try:
            with httpx.stream("GET", url, headers=self._headers(), timeout=TIMEOUT_S, follow_redirects=True) as answer:
                if answer.status_code != 200:
                    raise SearchError(
                        "source_not_answering", f"{name} cannot be fetched: status {answer.status_code}.", "Check access."
                    )
                with target.open("wb") as out:
                    for piece in answer.iter_bytes(CHUNK):
                        size += len(piece)
                        if size > most_bytes:
                            raise DataError("source_too_large", f"{name} is larger than its list says.", "Choose another file.")
                        hashed.update(piece)
                        out.write(piece)
        except httpx.HTTPError as error:
            raise SearchError("source_not_answering", f"{name} cannot be fetched: {type(error).__name__}.", "Try again.") from error
        if digest and hashed.hexdigest() != digest:
            raise DataError("source_changed", f"{name} is not the file that the hub lists: its hash differs.", "Fetch it again.")

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def _source(self, about: dict[str, Any]) -> DataSource:
        tags = [str(tag) for tag in about.get("tags") or ()]
        summary = text.shorten(str(about.get("description") or ""), 300)
        quality = Quality(
            downloads=_count(about.get("downloads")),
            likes=_count(about.get("likes")),
            updated=_time(about.get("lastModified")),
            gated=bool(about.get("gated")),
            described=len(summary) > 60,
        )
        return DataSource(
            id=about["id"],
            kind="huggingface",
            title=about["id"],
            url=f"{self.endpoint}/datasets/{about['id']}",
            licence=licence_of(about),
            rows=_rows(tags),
            languages=[tag.removeprefix("language:") for tag in tags if tag.startswith("language:")][:20],
            summary=summary,
            quality=quality,
            revision=str(about["sha"]) if about.get("sha") else None,
            fetchable=bool(_files(about) or folders.found(_listed(about))),
        )


def _files(about: dict[str, Any]) -> list[Listed]:
    """What can be trained on as it is."""
    return [one for one in _listed(about) if one[0].lower().endswith(FORMATS)]


def _listed(about: dict[str, Any]) -> list[Listed]:
    """(name, bytes, SHA-256) of all files; the last two where the hub says them."""
    found = []
    for one in about.get("siblings") or ():
        name = one.get("rfilename") if isinstance(one, dict) else None
        if isinstance(name, str) and ".." not in name.split("/") and not name.startswith("/"):
            said = one.get("lfs")
            lfs: dict[str, Any] = said if isinstance(said, dict) else {}
            digest = lfs.get("sha256") or lfs.get("oid")
            found.append((name, _count(one.get("size")), str(digest) if digest else None))
    return found


def _training(files: list[Listed]) -> Listed | None:
    """The file that is likeliest meant for training: named so, in the format that is read best, the first by name."""

    def rank(one: Listed) -> tuple[bool, bool, int, str]:
        lower = one[0].lower()
        other = any(word in lower for word in ("test", "valid", "dev", "eval", "dataset_info", "config", "readme"))
        return other, "train" not in lower, next(at for at, kind in enumerate(FORMATS) if lower.endswith(kind)), lower

    best = min(files, key=rank, default=None)
    return None if best is None or rank(best)[0] else best


def licence_of(about: dict[str, Any]) -> str:
    """The licence as the card states it; empty where it does not."""
    stated = (about.get("cardData") or {}).get("license") if isinstance(about.get("cardData"), dict) else None
    if isinstance(stated, list):
        stated = ", ".join(map(str, stated))
    return str(stated) if stated else next((str(t)[8:] for t in about.get("tags") or () if str(t).startswith("license:")), "")


def _rows(tags: list[str]) -> tuple[int, int] | None:
    """At least and at most, from a tag such as size_categories:10K<n<100K."""
    said = next((tag.removeprefix("size_categories:") for tag in tags if tag.startswith("size_categories:")), "")
    if said in SIZES:
        return SIZES[said]
    found = re.fullmatch(r"(\d+)([KMBT])<n<(\d+)([KMBT])", said)
    return (int(found[1]) * _UNITS[found[2]], int(found[3]) * _UNITS[found[4]]) if found else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value).replace("Z", "+00:00")) if value else None
    except ValueError:
        return None


def _shortened(row: Any) -> dict[str, Any]:
    cells = row.items() if isinstance(row, dict) else ()
    return {str(name)[:80]: text.shorten(value if isinstance(value, str) else str(value), 300) for name, value in list(cells)[:20]}
