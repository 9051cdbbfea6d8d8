"""Looking at data before any money is spent: format, rows, what is wrong with them, how they would be split, whether they suffice.

One pass over the file; of a row only hashes and a few numbers are kept, so that memory stays small for large files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from kriptik.catalogue.load import load_catalogue
from kriptik.data import checks, split, text
from kriptik.data.archive import Part, parts_of
from kriptik.data.formats import Converted, Layout, convert, layout_of
from kriptik.data.readers import read_records
from kriptik.data.record import Place, Record
from kriptik.spec.data import DataReport, Example, Finding, FixName, Row, Sufficiency
from kriptik.spec.errors import DataError

MOST_EXAMPLES = 5
PREVIEW = 3
SENTENCES = {
    "empty_row": "{n} empty rows were left out.",
    "no_answer": "{n} conversations without an answer were left out.",
    "no_question": "{n} rows without a question were left out.",
    "empty_answer": "{n} rows with an empty answer were left out.",
    "empty_question": "{n} rows with an empty question were left out.",
    "system_not_first": "{n} conversations with a system message in the middle were left out.",
    "same_answers": "{n} pairs whose two answers are the same were left out.",
    "duplicate": "{n} exact repetitions were dropped.",
    "joined_turns": "In {n} rows neighbouring turns of one role were joined.",
    "leading_answer": "In {n} rows an answer before the first question was cut.",
    "trailing_question": "In {n} rows a question without an answer at the end was cut.",
    "near_duplicate": "{n} rows are nearly the same as an earlier one; they stay on the same side of the split.",
    "personal": "{n} rows seem to hold personal data.",
    "damaged": "{n} rows hold damaged characters.",
    "long": "{n} rows are longer than about {long} tokens and would be cut.",
    "few_rows": "There are only {n} usable rows.",
}
FIXES: dict[str, FixName] = {
    "personal": "mask_pii", "near_duplicate": "drop_near_duplicates", "damaged": "drop_damaged", "long": "drop_long",
}
LEFT_OUT = frozenset(
    {"empty_row", "no_answer", "no_question", "empty_answer", "empty_question", "system_not_first", "same_answers"}
)
LEAST_ROWS = 4


@dataclass
class Survey:
    """What one pass over the rows found."""

    layout: Layout
    read: int = 0
    marks: list[split.Marks] = field(default_factory=list)
    """Of the usable rows, in order."""
    tokens: int = 0
    longest: int = 0
    languages: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[Example]] = field(default_factory=dict)
    preview: list[Row] = field(default_factory=list)

    def note(self, code: str, place: Place, shown: str = "") -> None:
        """Counts a finding and keeps its first examples."""
        self.counts[code] = self.counts.get(code, 0) + 1
        kept = self.examples.setdefault(code, [])
        if len(kept) < MOST_EXAMPLES:
            kept.append(Example(row=place.row, file=place.file, text=checks.masked(text.shorten(shown, 120))))


def inspect(
    source: Path, *, name: str | None = None, capability: str | None = None, fixes: Sequence[FixName] = (), seed: int = 0
) -> DataReport:
    """The report on a file or zip. `name` gives the suffix where the path has none. Raises DataError where it cannot be read."""
    with parts_of(source, name) as parts:
        survey = Survey(layout_of_parts(parts))
        for _ in usable(parts, survey, fixes):
            pass
    groups, near = split.group(survey.marks)
    if near:
        survey.counts["near_duplicate"] = near
    sides, _ = split.assign(groups, seed)
    return report_of(survey, sides, near, capability)


def layout_of_parts(parts: Sequence[Part]) -> Layout:
    """The layout of the first file; the others must give rows of the same kind."""
    return layout_of(read_records(parts[0].path, parts[0].name, parts[0].member))


def usable(parts: Sequence[Part], survey: Survey, fixes: Sequence[FixName] = ()) -> Iterator[tuple[Row, split.Marks]]:
    """Canonical rows without empty, useless and repeated ones; what is left out is counted in `survey`."""
    seen: set[int] = set()
    for record, layout in _records(parts, survey.layout):
        survey.read += 1
        done = convert(record, layout)
        row = _accept(done, record, survey, fixes)
        if row is None:
            continue
        mark = split.marks_of(*checks.texts_of(row))
        if mark.whole in seen:
            survey.note("duplicate", record.place, checks.texts_of(row)[0])
            continue
        seen.add(mark.whole)
        survey.marks.append(mark)
        if len(survey.preview) < PREVIEW:
            survey.preview.append(row)
        yield row, mark
    if not survey.marks:
        sentence = f"None of the {survey.read} rows can be trained on."
        raise DataError("no_usable_rows", sentence, "Every row needs a question and an answer, or text.")


def report_of(survey: Survey, sides: Sequence[str], near: int, capability: str | None = None) -> DataReport:
    """The report of a pass and its split."""
    count = len(survey.marks)
    train, held, test = (sum(side == name for side in sides) for name in ("train", "eval", "test"))
    findings = [_finding(code, number, survey) for code, number in sorted(survey.counts.items(), key=lambda item: -item[1])]
    if count < LEAST_ROWS:
        sentence = SENTENCES["few_rows"].format(n=count)
        findings.insert(0, Finding(code="few_rows", severity="error", count=count, sentence=sentence))
    return DataReport(
        format=survey.layout.format,
        kind=survey.layout.kind,
        columns=survey.layout.columns,
        rows=survey.read,
        usable=count,
        tokens_estimate=survey.tokens,
        longest_tokens_estimate=survey.longest,
        train_rows=train,
        eval_rows=held,
        test_rows=test,
        overlap_rows=split.overlap(survey.marks, sides),
        duplicates_dropped=survey.counts.get("duplicate", 0),
        near_duplicates=near,
        languages=dict(sorted(survey.languages.items(), key=lambda item: -item[1])),
        findings=findings,
        sufficiency=sufficiency(count, capability),
        preview=[_short(row) for row in survey.preview],
        ready=not any(finding.severity == "error" for finding in findings),
    )


def sufficiency(have: int, capability: str | None) -> Sufficiency:
    """How far `have` rows go for a capability."""
    needs = load_catalogue().data_requirements.get(capability or "", [])
    if not needs:
        return Sufficiency(have=have, sentence=f"{have:,} usable rows.")
    need = needs[0]
    steps = [("flagship", need.flagship_samples), ("recommended", need.recommended_samples), ("enough", need.min_samples)]
    tier = next((name for name, rows in steps if have >= rows), "too_few")
    words = {
        "flagship": "as many as flagship quality asks for",
        "recommended": "as many as recommended",
        "enough": f"enough to start; {need.recommended_samples:,} are recommended",
        "too_few": f"fewer than the {need.min_samples:,} that are the least",
    }
    return Sufficiency(
        have=have, need=need.min_samples, recommended=need.recommended_samples, flagship=need.flagship_samples,
        tier=tier, sentence=f"{have:,} usable rows: {words[tier]}.",  # type: ignore[arg-type]  # one of the four above
    )


def _records(parts: Sequence[Part], first: Layout) -> Iterator[tuple[Record, Layout]]:
    for number, part in enumerate(parts):
        records = read_records(part.path, part.name, part.member)
        if number == 0:
            layout = first
        else:
            head = next(records)
            layout, records = layout_of([head]), chain([head], records)
            if layout.kind != first.kind:
                raise DataError(
                    "mixed_rows",
                    f"{part.member!r} holds {layout.kind} rows, the first file {first.kind} rows.",
                    "Send files of one kind together.",
                    fields={"file": part.member},
                )
        for record in records:
            yield record, layout


def _accept(done: Converted, record: Record, survey: Survey, fixes: Sequence[FixName]) -> Row | None:
    for note in done.notes:
        survey.note(note, record.place)
    if done.row is None:
        survey.note(done.problem or "empty_row", record.place)
        return None
    looked = checks.look(done.row)
    row = done.row
    if looked.personal:
        survey.note("personal", record.place, f"{looked.personal}: {checks.texts_of(row)[0]}")
        row = _masked(row) if "mask_pii" in fixes else row
    if looked.damaged:
        survey.note("damaged", record.place, checks.texts_of(row)[0])
        if "drop_damaged" in fixes:
            return None
    if looked.tokens > checks.LONG_TOKENS:
        survey.note("long", record.place, checks.texts_of(row)[0])
        if "drop_long" in fixes:
            return None
    survey.tokens += looked.tokens
    survey.longest = max(survey.longest, looked.tokens)
    survey.languages[looked.language] = survey.languages.get(looked.language, 0) + 1
    return row


def _finding(code: str, number: int, survey: Survey) -> Finding:
    warned = code in LEFT_OUT or code in ("personal", "damaged", "long")
    sentence = SENTENCES[code].format(n=number, long=f"{checks.LONG_TOKENS:,}")
    return Finding(
        code=code, severity="warning" if warned else "info", count=number, sentence=sentence,
        examples=survey.examples.get(code, []), fix=FIXES.get(code),
    )


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return checks.masked(value)
    if isinstance(value, list):
        return [_masked(one) for one in value]
    if isinstance(value, dict):
        return {key: one if key == "role" else _masked(one) for key, one in value.items()}
    return value


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return checks.masked(text.shorten(value, 300))
    if isinstance(value, list):
        return [_short(one) for one in value[:6]]
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    return value
