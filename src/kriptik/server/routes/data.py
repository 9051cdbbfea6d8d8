"""Data to train on: upload and check a file, take a built-in sample, list, look, delete. Nothing is spent on any of it."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from pydantic import Field

from kriptik.data import builtin
from kriptik.server import datasets, uploads, words
from kriptik.server.auth import CoreDep, PersonDep
from kriptik.spec.base import Noun
from kriptik.spec.data import DataRecipe, Dataset, Transcript
from kriptik.store import datasets as rows

router = APIRouter(prefix="/data", tags=["data"])

UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [uploads.FIELD],
                    "properties": {uploads.FIELD: {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


class DatasetList(Noun):
    """A page of data sets, newest first; `next` is the id to pass as `before`."""

    datasets: list[Dataset]
    next: str | None = None


class FixRequest(Noun):
    """Fixes as the findings offer them (`fix`), all that shall be applied. `capability`: what the rows shall train."""

    fixes: Annotated[list[str], Field(max_length=50)]
    capability: Annotated[str | None, Field(max_length=100)] = None


class TranscriptList(Noun):
    """Words that recordings came without, by the name of the clip (that of its file among the prepared rows)."""

    transcripts: dict[str, Transcript]
    writing: bool = False
    """A model is writing more of them down."""


class TranscriptEdits(Noun):
    """Other words for clips that have a transcript; an empty text leaves the clip out."""

    texts: Annotated[dict[str, Annotated[str, Field(max_length=5000)]], Field(max_length=5000)]


class TranscriptEdit(Noun):
    """Other words for one clip, "" to leave it out, and whether a person read them; what is left out stays as it is."""

    text: str | None = Field(default=None, max_length=5000)
    checked: bool | None = None


class SampleSet(Noun):
    """A data set that comes as an installed package. `credit` is shown wherever its rows are used."""

    name: str
    title: str
    description: str
    language: str
    rows: int
    licence: str
    credit: str
    installed: bool


class SampleSets(Noun):
    """All built-in samples."""

    samples: list[SampleSet]


@router.post("", status_code=201, openapi_extra=UPLOAD_BODY)
async def upload_data(
    core: CoreDep,
    person: PersonDep,
    request: Request,
    capability: Annotated[str | None, Query(max_length=100)] = None,
    fix: Annotated[list[str] | None, Query(max_length=50)] = None,
) -> Dataset:
    """Takes one file (JSONL, JSON, CSV, TSV, Parquet, YAML dialogues, txt, md, or a zip of these), reads all of it, keeps it if it
    can be used. `fix` (several times) names fixes to apply, such as drop_unreadable_rows."""
    target = datasets.incoming(core)
    try:
        upload = await uploads.receive(request, target, core.settings.max_upload_mb << 20)
        return await run_in_threadpool(datasets.keep_upload, core, person.id, upload, capability, fix or [])
    finally:
        target.unlink(missing_ok=True)


@router.get("")
def list_data(
    core: CoreDep, person: PersonDep, limit: Annotated[int, Query(ge=1, le=100)] = 20, before: str | None = None
) -> DatasetList:
    """Your data sets, newest first."""
    with core.db.read() as session:
        found = rows.page(session, person.id, limit, before)
    return DatasetList(datasets=[datasets.as_noun(row) for row in found], next=found[-1].id if len(found) == limit else None)


@router.get("/samples")
def list_sample_sets(person: PersonDep) -> SampleSets:
    """Built-in data sets to try with."""
    return SampleSets(
        samples=[
            SampleSet(
                name=sample.name,
                title=sample.title,
                description=sample.description,
                language=sample.language,
                rows=sample.rows,
                licence=sample.licence,
                credit=sample.credit,
                installed=sample.installed(),
            )
            for sample in builtin.SAMPLES.values()
        ]
    )


@router.post("/samples/{name}", status_code=201)
def take_sample_data(core: CoreDep, person: PersonDep, name: str) -> Dataset:
    """A built-in sample as a data set of yours."""
    return datasets.keep_sample(core, person.id, name)


@router.get("/{dataset_id}")
def get_data(core: CoreDep, person: PersonDep, dataset_id: str) -> Dataset:
    """A data set with the report of its check."""
    with core.db.read() as session:
        return datasets.as_noun(rows.get(session, person.id, dataset_id))


@router.put("/{dataset_id}/fixes")
def fix_data(core: CoreDep, person: PersonDep, dataset_id: str, body: FixRequest) -> Dataset:
    """Chooses what is done about the findings, examines the rows again, and answers with what is left. The file stays as it is:
    the fixes are applied whenever its rows are prepared. An empty list takes all of them back."""
    return datasets.set_fixes(core, person.id, dataset_id, body.fixes, body.capability)


@router.get("/{dataset_id}/recipe")
def get_recipe(
    core: CoreDep, person: PersonDep, dataset_id: str, capability: Annotated[str | None, Query(max_length=100)] = None
) -> DataRecipe:
    """The steps that its rows are prepared with: the fixes that were chosen, and all else that decides the bytes. `capability`:
    what the rows shall train, where they were not examined for it; recordings of a voice are cut otherwise than music."""
    return datasets.recipe_of(core, person.id, dataset_id, capability)


@router.get("/{dataset_id}/transcripts")
def get_transcripts(core: CoreDep, person: PersonDep, dataset_id: str) -> TranscriptList:
    """What a model heard in recordings that came without words, and what was corrected."""
    writing = dataset_id in core.writing  # asked first: what is read afterwards holds all that it wrote
    return TranscriptList(transcripts=datasets.transcripts_of(core, person.id, dataset_id), writing=writing)


@router.post("/{dataset_id}/transcripts")
def write_transcripts(core: CoreDep, person: PersonDep, dataset_id: str) -> Dataset:
    """Examines recordings as those of a voice. Words that they came without are written down where a model that hears is at hand;
    else these recordings are left out, and the report says so. Recordings of another voice than most are found where a model that
    tells voices apart is at hand. Takes about a second a sentence."""
    return datasets.transcribe(core, person.id, dataset_id)


@router.put("/{dataset_id}/transcripts")
def correct_transcripts(core: CoreDep, person: PersonDep, dataset_id: str, body: TranscriptEdits) -> Dataset:
    """Corrects what was written down, and examines the recordings again: they are prepared with these words from now on."""
    return datasets.correct(core, person.id, dataset_id, body.texts)


@router.patch("/{dataset_id}/transcripts/{clip}")
def correct_transcript(core: CoreDep, person: PersonDep, dataset_id: str, clip: str, body: TranscriptEdit) -> Transcript:
    """Corrects the words of one clip, or notes that they were read. Answers at once: the recordings are prepared with these words
    from now on, and examined again when that is asked for."""
    return datasets.correct_one(core, person.id, dataset_id, clip, body.text, body.checked)


@router.get("/{dataset_id}/clips/{clip}.flac", response_class=FileResponse)
def get_clip(core: CoreDep, person: PersonDep, dataset_id: str, clip: str) -> FileResponse:
    """A clip that came without words, as it was heard and will be learnt."""
    file = words.clip(core, datasets.path_of(core, person.id, dataset_id), clip)
    lasting = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=31536000, immutable"}
    return FileResponse(file, media_type="audio/flac", headers=lasting)


@router.delete("/{dataset_id}", status_code=204)
def delete_data(core: CoreDep, person: PersonDep, dataset_id: str) -> None:
    """Deletes a data set and its file. Runs that use it keep their own copy of the rows."""
    datasets.remove(core, person.id, dataset_id)
