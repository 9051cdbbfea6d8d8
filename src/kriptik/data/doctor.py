"""Looks at rows as they pass and says what is wrong with them, in counts, places and plain sentences. Keeps no rows.

What there is to find stands in `checks.table`; the checks themselves in `checks.texts`, `checks.rows` and `checks.whole`.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kriptik.catalogue.load import load_catalogue
from kriptik.data import language, personal, text
from kriptik.data.checks import repair
from kriptik.data.checks.known import benchmark_of
from kriptik.data.checks.rows import Part, learnt_nothing, parts_of, problems
from kriptik.data.checks.table import KINDS, REPAIRS, dropping, repairing, words_of
from kriptik.data.checks.texts import ANSWERS, ANYWHERE, EACH, Span
from kriptik.data.checks.whole import Survey
from kriptik.data.record import Place
from kriptik.data.split import Split
from kriptik.spec.catalogue import DataRequirement, RowNeed
from kriptik.spec.data import Example, Finding, Row, RowKind, Severity, Sufficiency

EXAMPLES = 3
LEAST_ROWS = 4
REPEATS, REFUSED_REPEATS = 0.5, 0.9
"""Share of repeated rows that is worth a warning, and that is refused where too few are left."""
PLACES = 200_000
"""Row numbers kept of a finding."""
NEEDS: dict[RowKind, RowNeed] = {
    "preferences": "preferences",
    "feedback": "feedback",
    "prompts": "prompts",
    "checked": "prompts_with_check",
    "pairs": "pairs",
    "sound_pairs": "preferences",
    "image_pairs": "preferences",
    "video_pairs": "preferences",
    "image_preferences": "preferences",
}
DROPPED = "dropped"
_AROUND = 40


@dataclass
class _Count:
    count: int = 0
    examples: list[Example] = field(default_factory=list)
    rows: array = field(default_factory=lambda: array("L"))
    details: Counter[str] = field(default_factory=Counter)


class Doctor:
    """One examination. `max_tokens`: from which (guessed) length a row counts as too long; `fixes`: what to do about findings."""

    def __init__(self, max_tokens: int, fixes: Iterable[str] = ()) -> None:
        self.max_tokens, self.fixes = max_tokens, frozenset(fixes)
        self.languages: Counter[str] = Counter()
        self.survey = Survey()
        self.read = 0
        self._found: dict[tuple[str, str | None], _Count] = {}

    def note(
        self,
        code: str,
        place: Place | None = None,
        shown: str = "",
        *,
        column: str | None = None,
        count: int = 1,
        fixed: str | None = None,
        detail: str = "",
        after: str | None = None,
    ) -> None:
        """Counts a finding; the first few keep their place and a piece of text, masked. `fixed`: what a fix did about it."""
        found = self._found.setdefault((code, fixed), _Count())
        found.count += count
        if detail:
            found.details[detail] += 1
        if place is None:
            return
        if len(found.rows) < PLACES:
            found.rows.append(place.row)
        if len(found.examples) < EXAMPLES:
            excerpt = text.shorten(personal.mask(repair.mask_secrets(shown))[0])
            found.examples.append(Example(row=place.row, column=column, file=place.file, text=excerpt, after=after))

    def examine(
        self, row: Row, place: Place, tokens: int, columns: dict[str, str], notes: Sequence[str] = (), part: str = ""
    ) -> Row | None:
        """The row, mended as the fixes say; None where they say to drop it. `notes`: codes that reading it gave."""
        parts = parts_of(row, columns)
        whole = "\n".join(one.text for one in parts)
        hits = [*((code, None, None) for code in notes), *self._text_hits(parts, whole), *self._row_hits(row, parts, tokens)]
        kinds = personal.kinds_in(whole)
        hits += [("personal_data", None, None)] * bool(kinds)
        repairs: list[str] = []
        dropped = False
        for code, where, span in hits:
            detail = ""
            if code == "personal_data":
                where = next((one for one in parts if personal.kinds_in(one.text)), None)
            elif code == "contaminated":
                detail = benchmark_of(whole) or ""
            mended = repairing(code, self.fixes)
            gone = not mended and dropping(code, self.fixes)
            fixed = REPAIRS[mended] if mended else DROPPED if gone else None
            self._show(code, place, where, span, parts, fixed, detail)
            if code == "personal_data":
                self._found[code, fixed].details.update(set(kinds))
            repairs += [mended] if mended else []
            dropped = dropped or gone
        if dropped:
            return None
        if repairs:
            row = repair.mend(row, repairs)
            row = repair.swap(row, "swap_pairs") if "swap_pairs" in repairs else row
            parts = parts_of(row, columns)
            if not all(one.text.strip() for one in parts if one.role in ("user", "assistant", "text")) and "tool_calls" not in str(
                row
            ):
                self.note("empty_answer", place)
                return None
        last = next((one.text for one in reversed(parts) if one.learnt), parts[-1].text if parts else "")
        spoken = language.guess(last if len(last) >= 40 else "\n".join(one.text for one in parts))
        self.languages[spoken[0]] += 1
        self.survey.add(row, parts, spoken, part)
        return row

    def _text_hits(self, parts: list[Part], whole: str) -> list[tuple[str, Part | None, Span | None]]:
        hits: list[tuple[str, Part | None, Span | None]] = []
        for code, check in ANYWHERE:
            if span := check(whole):
                hits.append((code, *_inside(parts, span)))
        for one in parts:
            hits += [(code, one, span) for code, check in EACH if (span := check(one.text))]
            if one.learnt:
                hits += [(code, one, span) for code, check in ANSWERS if (span := check(one.text))]
        if benchmark_of(whole):
            hits.append(("contaminated", None, None))
        return hits

    def _row_hits(self, row: Row, parts: list[Part], tokens: int) -> list[tuple[str, Part | None, Span | None]]:
        hits: list[tuple[str, Part | None, Span | None]] = [(code, where, None) for code, where in problems(row, parts)]
        if tokens > self.max_tokens:
            alone = any(one.learnt and one.role == "assistant" for one in parts) and learnt_nothing(parts, self.max_tokens)
            hits.append(("answer_cut_away" if alone else "too_long", None, None))
        return hits

    def _show(
        self, code: str, place: Place, where: Part | None, span: Span | None, parts: list[Part], fixed: str | None, detail: str
    ) -> None:
        found = self._found.get((code, fixed))
        if found is not None and len(found.examples) >= EXAMPLES:
            self.note(code, place, fixed=fixed, detail=detail)
            return
        whole = where.text if where else "\n".join(one.text for one in parts)
        piece = whole[max(0, span[0] - _AROUND) : span[1] + _AROUND] if span else whole
        mend = repair.TEXT_REPAIRS.get(KINDS[code].repair or "")
        after = text.shorten(personal.mask(repair.mask_secrets(mend(piece)))[0]) if mend else None
        self.note(code, place, piece, column=where.column if where else None, fixed=fixed, detail=detail, after=after)

    def rows_of(self, code: str) -> list[int]:
        """Numbers of the rows in which a kind of finding shows (of the first `PLACES` of them), fixed or not."""
        return sorted(number for (name, _), found in self._found.items() if name == code for number in found.rows)

    def codes(self) -> list[str]:
        """The kinds of finding there are."""
        return sorted({code for (code, _), found in self._found.items() if found.count})

    def findings(self) -> list[Finding]:
        """All that was found, the worst first."""
        order: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}
        made = [self._finding(code, fixed, found) for (code, fixed), found in self._found.items() if found.count]
        return sorted(made, key=lambda finding: (order[finding.severity], -finding.count, finding.code))

    def after_split(self, split: Split, need: Sufficiency, not_compared: int) -> None:
        """Adds what shows only once all rows were seen."""
        self.note("labels", count=split.labels)
        self.note("near_not_searched", count=not_compared)
        usable = len(split.sides) - split.sides.count(None)
        if usable > 1 and not split.count("eval"):
            self.note("no_held_out")
        if (bias := self.survey.length_bias()) and usable:
            self.note("length_bias", detail=bias)
        if mark := self.survey.one_sided():
            self.note("one_sided_marks", detail=mark)
        self._repeats(split, usable, need)
        if usable < LEAST_ROWS:
            self.note("hardly_any_rows", count=usable, detail=f"nothing can be learnt from fewer than {LEAST_ROWS}")
        elif need.tier == "too_few":
            self.note("few_rows", count=usable, detail=f"at least {need.need:,} are needed for a result worth its money")

    def _repeats(self, split: Split, usable: int, need: Sufficiency) -> None:
        rows = usable + split.duplicates
        if split.duplicates < REPEATS * max(rows, 1) or rows < LEAST_ROWS * 2:
            return
        words = f"Only {usable:,} of {rows:,} rows are different; the other {split.duplicates:,} repeat them word for word"
        refused = split.duplicates >= REFUSED_REPEATS * rows and need.tier == "too_few"
        self.note("mostly_repeats" if refused else "many_repeats", count=split.duplicates, detail=words)

    def _finding(self, code: str, fixed: str | None, found: _Count) -> Finding:
        kind = KINDS[code]
        details = found.details.most_common(4)
        counted = code in ("personal_data", "contaminated")
        detail = ", ".join(f"{name} {count}" if counted else name for name, count in (sorted(details) if counted else details[:1]))
        return Finding(
            code=code,
            severity="info" if fixed else kind.severity,
            count=found.count,
            share=round(found.count / self.read, 6) if self.read else 0.0,
            sentence=words_of(code, found.count, fixed, detail, self.max_tokens),
            examples=found.examples,
            fix=None if fixed else kind.fix(code),
            fixed=fixed is not None,
        )


def shown(row: Row) -> str:
    """A row in short, for an example."""
    return " → ".join(one.text for one in parts_of(row, {}))


def sufficiency(have: int, kind: RowKind, capability: str | None = None) -> Sufficiency:
    """How far so many rows go for what is to be trained; counts from the catalogue."""
    need = requirement(kind, capability)
    steps = (("flagship", need.flagship_samples), ("recommended", need.recommended_samples), ("enough", need.min_samples))
    tier = next((name for name, at_least in steps if have >= at_least), "too_few")
    sentences = {
        "flagship": f"{have:,} rows: enough for flagship quality.",
        "recommended": f"{have:,} rows: a good amount ({need.flagship_samples:,} for flagship quality).",
        "enough": f"{have:,} rows: enough to start; {need.recommended_samples:,} are recommended.",
        "too_few": f"{have:,} rows: fewer than the {need.min_samples:,} needed; {need.recommended_samples:,} are recommended.",
    }
    return Sufficiency(
        have=have,
        need=need.min_samples,
        recommended=need.recommended_samples,
        flagship=need.flagship_samples,
        tier=tier,  # type: ignore[arg-type]
        sentence=sentences[tier],
    )


def requirement(kind: RowKind, capability: str | None = None) -> DataRequirement:
    """What rows of a kind are asked for: all but plain ones have their own counts, whatever the capability."""
    catalogue = load_catalogue()
    if kind in NEEDS:
        return catalogue.row_requirements[NEEDS[kind]]
    several = catalogue.data_requirements.get(capability or "", [])
    if kind in ("images", "image_messages"):
        return next((one for one in several if one.type == "image"), catalogue.row_requirements["subject_images"])
    if kind == "videos":
        return next((one for one in several if one.type == "video"), catalogue.row_requirements["captioned_media"])
    if kind == "sounds":
        return next((one for one in several if one.type == "audio"), catalogue.row_requirements["transcribed_speech"])
    return next((one for one in several if one.type in ("text", "code", "pairs")), catalogue.row_requirements["supervised"])


def _inside(parts: list[Part], span: Span) -> tuple[Part | None, Span | None]:
    """The part in which a place of the joined texts lies, and the place inside it."""
    start = 0
    for one in parts:
        if span[0] <= start + len(one.text):
            return one, (max(0, span[0] - start), min(len(one.text), span[1] - start))
        start += len(one.text) + 1
    return None, None
