"""Rows that are made here: questions out of documents, and preference pairs by models or people. Nothing is asked unconfirmed."""

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kriptik.data import prepare
from kriptik.data.synthesis.asking import Maker, compared, forecast, no_model
from kriptik.data.synthesis.documents import Passage, read_passages
from kriptik.data.synthesis.labelling import Labelling
from kriptik.llm.purse import Paid
from kriptik.server import datasets
from kriptik.server.core import Core
from kriptik.server.reading import model_of
from kriptik.server.uploads import Upload
from kriptik.spec.base import new_id
from kriptik.spec.data import DataReport, Row
from kriptik.spec.errors import BadInputError, NotFoundError
from kriptik.spec.llm import Usage
from kriptik.spec.making import Annotations, Label, MadeRows, MakingForecast, PairSet, PreferencePairConfig
from kriptik.store import datasets as rows_of_table

PER_PASSAGE_TOKENS, ANSWER_TOKENS, VERDICT_TOKENS = 350, 300, 60
"""Tokens that a model is expected to answer with; stated as a forecast, settled by what was used."""
META = "set.json"
ID_LENGTH = 26


def keep_document(core: Core, user_id: str, upload: Upload) -> MadeRows:
    """Reads a document and says what making rows out of it would take. Raises `DataError`; nothing is kept then."""
    passages = list(read_passages(upload.path, upload.name))
    document = new_id()
    folder = _home(core, user_id, "documents", document)
    folder.mkdir(parents=True)
    upload.path.rename(folder / f"source{Path(upload.name).suffix.lower()}")
    (folder / META).write_text(json.dumps({"name": upload.name}), "utf-8")
    return MadeRows(
        document_id=document, passages=len(passages), forecast=_forecast(core, [one.text for one in passages], PER_PASSAGE_TOKENS)
    )


def rows_from(core: Core, user_id: str, document: str, wanted: int, per_passage: int, confirmed: bool) -> MadeRows:
    """Questions with answers out of a document as a data set; only the forecast where it is not confirmed."""
    folder = _found(core, user_id, "documents", document)
    name = json.loads((folder / META).read_text("utf-8"))["name"]
    passages = list(read_passages(next(folder.glob("source.*")), name))
    needed = passages[: max(1, -(-wanted // per_passage))]
    told = MadeRows(
        document_id=document, passages=len(passages), forecast=_forecast(core, [one.text for one in needed], PER_PASSAGE_TOKENS)
    )
    if not confirmed:
        return told
    made = _maker(core).from_passages(_spread(passages), per_passage, wanted)
    if not made.rows:
        raise BadInputError(
            "nothing_made", "No row that the model made passed the checks.", "Try another model.", fields=dict(made.rejected)
        )
    kept = datasets.keep_made(core, user_id, made.rows, f"Questions about {name}"[:200], "synthetic", "")
    return told.model_copy(
        update={"dataset_id": kept.id, "rows": len(made.rows), "rejected": dict(made.rejected), "preview": made.rows[:3]}
    )


def make_pairs(core: Core, user_id: str, wanted: PreferencePairConfig) -> PairSet:
    """Preference pairs out of a data set's questions: judged by a model, or laid out for people."""
    rows = _rows(core, user_id, wanted.source_data)
    ready = _standing(rows)[: wanted.pairs_needed] if wanted.generation_method == "human_annotation" else []
    questions = [_asked(row) for row in rows if _asked(row)][: wanted.pairs_needed]
    if not questions:
        raise BadInputError("no_questions", "This data set holds no questions.", "Choose one with prompts or conversations.")
    told = PairSet(id=new_id(), generation_method=wanted.generation_method, total=len(ready) or len(questions))
    if len(ready) < wanted.pairs_needed and (wanted.generation_method != "human_annotation" or not ready):
        told.forecast = _pairs_forecast(core, questions, wanted)
        if not wanted.confirmed:
            return told
    if wanted.generation_method == "human_annotation":
        pairs = ready or _answered(_maker(core), rows, questions)
        Labelling(_home(core, user_id, "annotations", told.id)).begin(pairs)
        meta = {"name": f"Compared answers ({len(pairs)})", "method": wanted.generation_method}
        (_home(core, user_id, "annotations", told.id) / META).write_text(json.dumps(meta), "utf-8")
        return told.model_copy(update={"total": len(pairs)})
    made, rejected = _judged(_maker(core), rows, questions, wanted)
    if not made:
        raise BadInputError(
            "nothing_made", "The judge could tell no pair apart.", "Choose other questions or criteria.", fields=dict(rejected)
        )
    kept = datasets.keep_made(core, user_id, made, f"Preference pairs ({wanted.generation_method})", "synthetic", "")
    return told.model_copy(update={"total": len(made), "dataset_id": kept.id, "rejected": dict(rejected)})


def annotations(core: Core, user_id: str, set_id: str, start: int, count: int, open_only: bool) -> Annotations:
    """A stretch of a set's pairs."""
    labelling = Labelling(_found(core, user_id, "annotations", set_id))
    shown = labelling.shown(start, count, open_only)
    return Annotations(id=set_id, pairs=shown, labelled=len(labelling.labels()), total=len(labelling.pairs()))


def label(core: Core, user_id: str, set_id: str, labels: list[Label]) -> Annotations:
    """Adds judgements; answers with how far the set is."""
    Labelling(_found(core, user_id, "annotations", set_id)).put(labels)
    return annotations(core, user_id, set_id, 0, 0, True)


def finish(core: Core, user_id: str, set_id: str) -> PairSet:
    """The judgements so far as a data set."""
    folder = _found(core, user_id, "annotations", set_id)
    labelling = Labelling(folder)
    rows = labelling.rows()
    if not rows:
        raise BadInputError("nothing_compared", "No pair has a better answer yet.", "Compare some pairs first.")
    meta = json.loads((folder / META).read_text("utf-8"))
    kept = datasets.keep_made(core, user_id, rows, meta["name"], "synthetic", "")
    labelled = len(labelling.labels())
    return PairSet(id=set_id, generation_method=meta["method"], total=len(labelling.pairs()), labelled=labelled, dataset_id=kept.id)


def _judged(
    maker: Maker, rows: list[Row], questions: list[str], wanted: PreferencePairConfig
) -> tuple[list[dict[str, Any]], Counter[str]]:
    made: list[dict[str, Any]] = []
    rejected: Counter[str] = Counter()
    own = {_asked(row): _said(row) for row in rows}
    for question in questions:
        answer = maker.answer(question)
        if wanted.generation_method == "model_comparison" and own.get(question):
            other = (own[question], "the data")
        else:
            other = (maker.answer(question, worse=wanted.quality_criteria), f"{maker.name}, told to err")
        row, why = compared(question, (answer, maker.name), other, maker, wanted.quality_criteria)
        if row is not None:
            made.append(row)
        elif why:
            rejected[why] += 1
    return made, rejected


def _answered(maker: Maker, rows: list[Row], questions: list[str]) -> list[dict[str, Any]]:
    """Pairs for people: the data's own answer beside the model's."""
    own = {_asked(row): _said(row) for row in rows}
    pairs = []
    for question in questions:
        if own.get(question):
            other = maker.answer(question)
            if other:
                pairs.append(
                    {"prompt": question, "one": own[question], "one_by": "the data", "other": other, "other_by": maker.name}
                )
    if not pairs:
        raise BadInputError("nothing_to_compare", "No question has two answers to compare.", "Choose data with answers.")
    return pairs


def _standing(rows: list[Row]) -> list[dict[str, Any]]:
    """Pairs that the data holds already: preference rows to judge anew, and questions with two answers."""
    pairs = []
    first: dict[str, str] = {}
    for row in rows:
        asked = _asked(row)
        if "chosen" in row:
            pairs.append({"prompt": asked, "one": row["chosen"][-1]["content"], "other": row["rejected"][-1]["content"]})
        elif asked and (said := _said(row)):
            before = first.setdefault(asked, said)
            if before != said:
                pairs.append({"prompt": asked, "one": before, "other": said})
    return pairs


def _rows(core: Core, user_id: str, dataset_id: str) -> list[Row]:
    with core.db.read() as session:
        row = rows_of_table.get(session, user_id, dataset_id)
        path, fixes = Path(row.path), DataReport.model_validate(row.report).fixes
    settings = prepare.PrepareSettings(eval_fraction=0, near_duplicates=False, fixes=fixes)
    with TemporaryDirectory(dir=datasets.incoming(core).parent) as folder:
        made = prepare.prepare(path, Path(folder) / "rows", name=path.name, settings=settings)
        return [json.loads(line) for line in Path(made.train_path).read_text("utf-8").splitlines()]


def _asked(row: Row) -> str:
    turns = row.get("prompt") or row.get("messages") or []
    return next((turn["content"] for turn in turns if turn["role"] == "user"), "")


def _said(row: Row) -> str:
    turns = row.get("messages") or row.get("completion") or row.get("chosen") or []
    return next((turn["content"] for turn in turns if turn["role"] == "assistant"), "")


def _maker(core: Core) -> Maker:
    model = model_of(core.settings)
    if model is None:
        raise no_model()
    return Maker(model, str(model.model.model))


def _forecast(core: Core, materials: list[str], per_call: int) -> MakingForecast:
    told = forecast(materials, per_call)
    return _priced(model_of(core.settings), told.calls, told.input_tokens, told.output_tokens)


def _pairs_forecast(core: Core, questions: list[str], wanted: PreferencePairConfig) -> MakingForecast:
    """Per question an answer or two, and two verdicts that read both."""
    answers = 1 if wanted.generation_method in ("human_annotation", "model_comparison") else 2
    verdicts = 0 if wanted.generation_method == "human_annotation" else 2
    asked = forecast(questions, ANSWER_TOKENS)
    read = answers * asked.input_tokens + verdicts * (asked.input_tokens + 2 * ANSWER_TOKENS * len(questions))
    written = len(questions) * (answers * ANSWER_TOKENS + verdicts * VERDICT_TOKENS)
    return _priced(model_of(core.settings), len(questions) * (answers + verdicts), read, written)


def _priced(model: Paid | None, calls: int, read: int, written: int) -> MakingForecast:
    cost = model.prices.cost(Usage(read, written)) if model else Decimal(0)
    left = max(Decimal(0), model.purse.cap - model.purse.spent()) if model else Decimal(0)
    return MakingForecast(
        model=model.model.model if model else None,
        calls=calls,
        input_tokens=read,
        output_tokens=written,
        expected_usd=cost,
        left_usd=left,
    )


def _spread(passages: list[Passage]) -> list[Passage]:
    """Passages in an order that takes from the whole document first, and from every place of it in the end."""
    step = max(1, round(len(passages) ** 0.5))
    return [passages[at] for start in range(step) for at in range(start, len(passages), step)]


def _home(core: Core, user_id: str, kind: str, name: str) -> Path:
    return core.data_dir / kind / user_id / name


def _found(core: Core, user_id: str, kind: str, name: str) -> Path:
    folder = _home(core, user_id, kind, name) if len(name) == ID_LENGTH and name.isalnum() else None
    if folder is None or not folder.is_dir():
        raise NotFoundError(f"no_such_{kind.rstrip('s')}", f"There is no such {kind.rstrip('s')}.", "Make it first.")
    return folder
