"""Making data: questions out of documents, preference pairs by models or people. A forecast comes first; asking is confirmed."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from kriptik.server import datasets, making, uploads
from kriptik.server.auth import CoreDep, PersonDep
from kriptik.server.routes.data import UPLOAD_BODY
from kriptik.spec.base import Noun
from kriptik.spec.making import Annotations, Label, MadeRows, PairSet, PreferencePairConfig

router = APIRouter(prefix="/data", tags=["data"])


class RowsRequest(Noun):
    """How many rows out of a document; `confirmed` once the forecast was seen."""

    rows_wanted: Annotated[int, Field(ge=1, le=2_000)] = 100
    per_passage: Annotated[int, Field(ge=1, le=10)] = 3
    confirmed: bool = False


class Labels(Noun):
    """Judgements of pairs."""

    labels: Annotated[list[Label], Field(min_length=1, max_length=500)]


@router.post("/documents", status_code=201, openapi_extra=UPLOAD_BODY)
async def upload_document(core: CoreDep, person: PersonDep, request: Request) -> MadeRows:
    """Takes one document (PDF, DOCX, HTML, Markdown, text) and says what making rows out of it would take. Nothing is asked yet."""
    target = datasets.incoming(core)
    try:
        upload = await uploads.receive(request, target, core.settings.max_upload_mb << 20)
        return await run_in_threadpool(making.keep_document, core, person.id, upload)
    finally:
        target.unlink(missing_ok=True)


@router.post("/documents/{document_id}/rows")
def make_document_rows(core: CoreDep, person: PersonDep, document_id: str, body: RowsRequest) -> MadeRows:
    """Questions with answers out of a document, checked against its words; only the forecast until it is confirmed."""
    return making.rows_from(core, person.id, document_id, body.rows_wanted, body.per_passage, body.confirmed)


@router.post("/preference-pairs", status_code=201)
def make_preference_pairs(core: CoreDep, person: PersonDep, body: PreferencePairConfig) -> PairSet:
    """Pairs of a better and a worse answer. Without `confirmed` only the forecast is answered where a model would be asked."""
    return making.make_pairs(core, person.id, body)


@router.get("/preference-pairs/{set_id}/annotations")
def list_annotations(
    core: CoreDep,
    person: PersonDep,
    set_id: str,
    start: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    open: bool = False,
) -> Annotations:
    """Pairs to compare; `open` leaves out those that have a judgement."""
    return making.annotations(core, person.id, set_id, start, limit, open)


@router.put("/preference-pairs/{set_id}/annotations")
def put_annotations(core: CoreDep, person: PersonDep, set_id: str, body: Labels) -> Annotations:
    """Judges pairs; a later judgement of the same pair replaces an earlier one."""
    return making.label(core, person.id, set_id, body.labels)


@router.post("/preference-pairs/{set_id}/dataset", status_code=201)
def finish_annotations(core: CoreDep, person: PersonDep, set_id: str) -> PairSet:
    """Makes a data set of the judgements so far."""
    return making.finish(core, person.id, set_id)
