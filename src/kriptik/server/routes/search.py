"""Looking for data: the hub, papers, the web where it is enabled, licensed providers; and fetching what was chosen."""

from typing import Annotated

from fastapi import APIRouter, Query

from kriptik.server import searching
from kriptik.server.auth import CoreDep, PersonDep
from kriptik.spec.data import Dataset
from kriptik.spec.search import FetchRequest, SearchAnswer, SourcePreview

router = APIRouter(tags=["data"])


@router.get("/search-data")
def search_data(
    core: CoreDep,
    person: PersonDep,
    query: Annotated[str, Query(min_length=1, max_length=300)],
    capability: Annotated[str | None, Query(max_length=100)] = None,
    min_samples: Annotated[int | None, Query(ge=1, alias="minSamples")] = None,
) -> SearchAnswer:
    """Data sets, papers, pages and providers that fit, each with licence, size and what others make of it."""
    return searching.search(core, query, capability, min_samples)


@router.post("/data/hub/preview")
def preview_hub(person: PersonDep, body: FetchRequest) -> SourcePreview:
    """The files of a data set on the hub, the revision they are pinned at, and its first rows."""
    return searching.preview(body)


@router.post("/data/hub", status_code=201)
def fetch_hub(core: CoreDep, person: PersonDep, body: FetchRequest) -> Dataset:
    """Fetches a file of a data set on the hub, pinned by revision and checked by its hash, as a data set of yours."""
    return searching.fetch(core, person.id, body)
