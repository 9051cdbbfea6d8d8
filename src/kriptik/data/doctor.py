"""Looks at rows as they pass and says what is wrong with them, in counts, places and plain sentences. Keeps no rows."""

import re
from collections import Counter
from dataclasses import dataclass, field

from kriptik.catalogue.load import load_catalogue
from kriptik.data import language, personal, text
from kriptik.data.record import Place
from kriptik.data.split import Split, sides_of
from kriptik.spec.catalogue import DataRequirement, RowNeed
from kriptik.spec.data import Example, Finding, FixName, Row, RowKind, Severity, Sufficiency

EXAMPLES = 3
LEAST_ROWS = 4
NEEDS: dict[RowKind, RowNeed] = {
    "preferences": "preferences",
    "feedback": "feedback",
    "prompts": "prompts",
    "checked": "prompts_with_check",
    "pairs": "pairs",
}
_DAMAGE = re.compile("\ufffd|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|â€|[ÃÂ][\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹Œ‘’“”•–—˜™š›œž]")
"""Replacement marks, control characters, and UTF-8 that was once read as Windows-1252 ("Ã¤", "â€™")."""
_MARKUP = re.compile(r"<\|(?:im_start|im_end|endoftext|eot_id|start_header_id|user|assistant)\|>|\[/?INST\]|<</?SYS>>|</s>")

SENTENCES: dict[str, tuple[Severity, str, FixName | None]] = {
    "empty_row": ("warning", "{n} {rows} {hold} no text; left out.", None),
    "no_answer": ("warning", "{n} {rows} {have} no answer to learn; left out.", None),
    "no_question": ("warning", "{n} {rows} {have} no question; left out.", None),
    "empty_answer": ("warning", "{n} {rows} {have} an empty answer; left out.", None),
    "empty_question": ("warning", "{n} {rows} {have} an empty question; left out.", None),
    "same_answers": ("warning", "{n} {rows} {prefer} an answer to itself; left out.", None),
    "no_preference": ("warning", "{n} {rows} {prefer} neither answer; left out.", None),
    "other_question": ("warning", "In {n} {rows} the answers do not follow on one question; left out.", None),
    "system_not_first": ("warning", "{n} {rows} {have} a system message in the middle; left out.", None),
    "joined_turns": ("info", "In {n} {rows} neighbouring messages of one speaker were joined.", None),
    "leading_answer": ("info", "In {n} {rows} an answer before the first question was cut.", None),
    "trailing_question": ("info", "In {n} {rows} a question without an answer was cut from the end.", None),
    "duplicates": ("info", "{n} {rows} {repeat} an earlier one; dropped.", None),
    "near_duplicates": ("info", "{n} {rows} nearly the same as an earlier one; kept on its side.", "drop_near_duplicates"),
    "near_dropped": ("info", "{n} {rows} nearly the same as an earlier one; dropped.", None),
    "near_not_searched": ("info", "Near-duplicates were searched in the first rows only; not compared: {n}.", None),
    "labels": ("info", "Short answers shared by many rows ({n}) count as labels and may stand on both sides.", None),
    "personal_data": ("warning", "{n} {rows} {hold} what looks like personal data ({what}).", "mask_pii"),
    "personal_masked": ("info", "In {n} {rows} personal data was masked ({what}).", None),
    "damaged_text": ("warning", "{n} {rows} {hold} damaged characters, as after a wrong encoding.", "drop_damaged"),
    "damaged_dropped": ("info", "{n} {rows} with damaged characters; dropped.", None),
    "too_long": ("warning", "{n} {rows} {are} longer than {limit} tokens; the rest is cut.", "drop_long"),
    "long_dropped": ("info", "{n} {rows} longer than {limit} tokens; dropped.", None),
    "chat_markup": ("warning", "{n} {rows} {hold} a chat template's control marks as text; the template adds its own.", None),
    "files_left_out": ("info", "Files of the archive without rows, left out: {n}.", None),
    "picture_damaged": ("warning", "{n} {files} cannot be read as pictures; left out.", None),
    "picture_tiny": ("warning", "{n} {pictures} {are} smaller than 64 pixels; left out.", None),
    "picture_bomb": ("warning", "{n} {pictures} would unpack to more than 64 million pixels; left out.", None),
    "picture_animated": ("info", "{n} {pictures} {have} several frames; the first was taken.", None),
    "picture_converted": ("info", "{n} {pictures} {are} not plain RGB (grey, CMYK, transparent, 16 bits); converted.", None),
    "picture_renamed": ("info", "{n} {pictures} {are} of another kind than the name says; read by content.", None),
    "picture_no_caption": ("info", "{n} {pictures} {have} no caption.", None),
    "no_held_out": ("warning", "No row can be held out: all of them hang together. The result cannot be measured.", None),
    "hardly_any_rows": ("error", "{n} usable {rows}: {what}.", None),
    "few_rows": ("warning", "{n} usable {rows}: {what}.", None),
}
"""What there is to find: severity, sentence, and the fix that `prepare` knows."""
VERBS = {"hold": "holds", "have": "has", "are": "is", "prefer": "prefers", "repeat": "repeats"}
"""Several rows hold, one row holds."""


@dataclass
class _Count:
    count: int = 0
    examples: list[Example] = field(default_factory=list)


class Doctor:
    """One examination. `max_tokens`: from which (guessed) length a row counts as too long."""

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self.languages: Counter[str] = Counter()
        self._found: dict[str, _Count] = {}
        self._kinds: Counter[str] = Counter()
        self._few = ""

    def note(self, code: str, place: Place | None = None, shown: str = "", count: int = 1) -> None:
        """Counts a finding; the first few keep their place and a piece of text, masked."""
        found = self._found.setdefault(code, _Count())
        found.count += count
        if place is not None and len(found.examples) < EXAMPLES:
            excerpt = text.shorten(personal.mask(shown)[0])
            found.examples.append(Example(row=place.row, file=place.file, text=excerpt))

    def examine(self, row: Row, place: Place, tokens: int, fixes: frozenset[FixName]) -> Row | None:
        """The row, mended as `fixes` say; None where they say to drop it."""
        asked, said = sides_of(row)
        whole = "\n".join([*asked, *said])
        if _DAMAGE.search(whole):
            dropped = "drop_damaged" in fixes
            self.note("damaged_dropped" if dropped else "damaged_text", place, _around(_DAMAGE, whole))
            if dropped:
                return None
        if tokens > self.max_tokens:
            dropped = "drop_long" in fixes
            self.note("long_dropped" if dropped else "too_long", place, whole)
            if dropped:
                return None
        if _MARKUP.search(whole):
            self.note("chat_markup", place, _around(_MARKUP, whole))
        masked, kinds = personal.mask_row(row)
        if kinds:
            self._kinds.update(set(kinds))
            mask = "mask_pii" in fixes
            self.note("personal_masked" if mask else "personal_data", place, whole)
            row = masked if mask else row
        self.languages[language.guess(said[-1] if said else whole)] += 1
        return row

    def findings(self) -> list[Finding]:
        """All that was found, the worst first."""
        order: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}
        made = [self._finding(code, found) for code, found in self._found.items() if found.count]
        return sorted(made, key=lambda finding: (order[finding.severity], -finding.count, finding.code))

    def after_split(self, split: Split, need: Sufficiency, dropped_near: bool, not_compared: int) -> None:
        """Adds what shows only once all rows were seen."""
        self.note("duplicates", count=split.duplicates)
        self.note("near_dropped" if dropped_near else "near_duplicates", count=split.near)
        self.note("labels", count=split.labels)
        self.note("near_not_searched", count=not_compared)
        usable = len(split.sides) - split.sides.count(None)
        if usable > 1 and not split.count("eval"):
            self.note("no_held_out")
        if usable < LEAST_ROWS:
            self.note("hardly_any_rows", count=usable)
            self._few = f"nothing can be learnt from fewer than {LEAST_ROWS}"
        elif need.tier == "too_few":
            self.note("few_rows", count=usable)
            self._few = f"at least {need.need} are needed for a result worth its money"

    def _finding(self, code: str, found: _Count) -> Finding:
        severity, sentence, fix = SENTENCES[code]
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self._kinds.items()))
        what = kinds if code.startswith("personal") else self._few
        one = found.count == 1
        verbs = {name: one_form if one else name for name, one_form in VERBS.items()}
        rows = "row" if one else "rows"
        nouns = {"pictures": "picture" if one else "pictures", "files": "file" if one else "files"}
        words = sentence.format(n=found.count, rows=rows, **nouns, what=what, limit=f"{self.max_tokens:,}", **verbs)
        return Finding(code=code, severity=severity, count=found.count, sentence=words, examples=found.examples, fix=fix)


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
    if kind == "images":
        return next((one for one in several if one.type == "image"), catalogue.row_requirements["subject_images"])
    return next((one for one in several if one.type in ("text", "code", "pairs")), catalogue.row_requirements["supervised"])


def _around(pattern: re.Pattern[str], whole: str) -> str:
    found = pattern.search(whole)
    return whole[max(0, found.start() - 40) : found.end() + 40] if found else whole
