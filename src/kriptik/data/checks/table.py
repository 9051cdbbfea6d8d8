"""The kinds of finding: how bad, in which words, and what can be done about it.

A new kind: one line in `KINDS`; then a check that notes its code, in `texts`, `rows` or `whole`.
"""

from dataclasses import dataclass

from kriptik.spec.data import Severity


@dataclass(frozen=True)
class Kind:
    """`words`: the sentence without its end. `tail`: what is done about it without a fix. `repair`: the fix that mends the rows;
    `drop`: whether `drop_<code>` may leave them out; `suggest` overrides which of the two is offered by one click."""

    severity: Severity
    words: str
    tail: str = ""
    repair: str | None = None
    drop: bool = False

    def fix(self, code: str) -> str | None:
        """The fix that is offered."""
        return self.repair or (f"drop_{code}" if self.drop else None)


KINDS: dict[str, Kind] = {
    # how a file is built
    "unreadable_rows": Kind("error", "{n} {rows} cannot be read", "the first: {detail}", drop=True),
    "files_left_out": Kind("info", "Files of the archive without rows, left out: {n}"),
    "constant_column": Kind("warning", "A column says the same in every row: {detail}"),
    # rows that cannot be used
    "empty_row": Kind("warning", "{n} {rows} {hold} no text", "left out"),
    "no_answer": Kind("warning", "{n} {rows} {have} no answer to learn", "left out"),
    "no_question": Kind("warning", "{n} {rows} {have} no question", "left out"),
    "empty_answer": Kind("warning", "{n} {rows} {have} an empty answer", "left out"),
    "empty_question": Kind("warning", "{n} {rows} {have} an empty question", "left out"),
    "null_answer": Kind("warning", "{n} {rows} {have} a table's word for nothing as answer (nan, null …)", drop=True),
    "wordless_answer": Kind("warning", "{n} {rows} {have} an answer without a letter or digit", drop=True),
    "nothing_learnt": Kind("warning", "In {n} {rows} every answer has weight 0: nothing of them is learnt", drop=True),
    # order of turns
    "system_not_first": Kind("warning", "{n} {rows} {have} a system message in the middle", "left out"),
    "joined_turns": Kind("info", "In {n} {rows} neighbouring messages of one speaker were joined"),
    "leading_answer": Kind("info", "In {n} {rows} an answer before the first question was cut"),
    "trailing_question": Kind("info", "In {n} {rows} a question without an answer was cut from the end"),
    "bad_tool_call": Kind(
        "warning", "{n} {rows} {hold} a tool call that is broken or a tool's answer that nobody asked for", drop=True
    ),
    # preferences and marks
    "same_answers": Kind("warning", "{n} {rows} {prefer} an answer to itself", "left out"),
    "no_preference": Kind("warning", "{n} {rows} {prefer} neither answer", "left out"),
    "other_question": Kind("warning", "In {n} {rows} the answers do not follow on one question", "left out"),
    "nearly_same_answers": Kind("warning", "In {n} {rows} the better and the worse answer are nearly the same", drop=True),
    "swapped_pairs": Kind(
        "warning",
        "In {n} {rows} the worse answer has the higher score: better and worse look swapped",
        repair="swap_pairs",
        drop=True,
    ),
    "contradicting_pairs": Kind("warning", "{n} {rows} {prefer} what another row rejects for the same question", drop=True),
    "refusal_preferred": Kind("warning", "{n} {rows} {prefer} a refusal to an answer", drop=True),
    "contradicting_marks": Kind("warning", "{n} {rows} {mark} an answer otherwise than another row does", drop=True),
    "length_bias": Kind(
        "warning", "The better answer is mostly the longer one: {detail}", "the model may learn length instead of quality"
    ),
    "one_sided_marks": Kind("warning", "All marks are the same ({detail})", "good and bad ones are both needed"),
    # repetition
    "duplicates": Kind("info", "{n} {rows} {repeat} an earlier one", "dropped"),
    "near_duplicates": Kind("info", "{n} {rows} nearly the same as an earlier one", "kept on its side", drop=True),
    "near_not_searched": Kind("info", "Near-duplicates were searched in the first rows only; not compared: {n}"),
    "mostly_repeats": Kind("error", "{detail}", "a test on held-out rows would only show what was learnt by heart"),
    "many_repeats": Kind("warning", "{detail}", "repetitions were dropped"),
    "boilerplate": Kind("warning", "{n} {rows} {give} the same answer to different questions", drop=True),
    "conflicting_answers": Kind("info", "{n} {rows} {answer} a question otherwise than an earlier row does", drop=True),
    "labels": Kind("info", "Short answers shared by many rows ({n}) count as labels and may stand on both sides"),
    # what leaks
    "leaks": Kind("warning", "{n} {rows} of the file's own test or validation part also stand in its training part", drop=True),
    "contaminated": Kind(
        "warning", "{n} {rows} {hold} tasks of a known benchmark ({detail})", "results on it would mean nothing", drop=True
    ),
    "no_held_out": Kind("warning", "No row can be held out: all of them hang together. The result cannot be measured"),
    # people's data
    "personal_data": Kind("warning", "{n} {rows} {hold} what looks like personal data ({detail})", repair="mask_pii", drop=True),
    "secrets": Kind("warning", "{n} {rows} {hold} what looks like a password or key", repair="mask_secrets", drop=True),
    # damage
    "damaged_text": Kind(
        "warning", "{n} {rows} {hold} damaged characters, as after a wrong encoding", repair="repair_text", drop=True
    ),
    "control_characters": Kind("warning", "{n} {rows} {hold} control or invisible characters", repair="repair_text", drop=True),
    "html_remnants": Kind("warning", "{n} {rows} {hold} remnants of HTML", repair="strip_html", drop=True),
    "chat_markup": Kind(
        "warning",
        "{n} {rows} {hold} a chat template's control marks as text",
        "the template adds its own",
        repair="strip_markup",
        drop=True,
    ),
    "speaker_labels": Kind("warning", "{n} {rows} {hold} a whole conversation in one field", drop=True),
    "escaped_text": Kind("warning", "{n} {rows} {hold} escapes as text (\\n, \\u00e4)", repair="unescape_text", drop=True),
    "odd_spacing": Kind(
        "warning", "{n} {rows} {have} spaced-out letters or long runs of blanks", repair="squeeze_spaces", drop=True
    ),
    "open_code": Kind("warning", "{n} {rows} {open} a block of code that never ends", drop=True),
    "gibberish": Kind("warning", "{n} {rows} {hold} no words of any language", drop=True),
    "repetitive": Kind("warning", "{n} {rows} {repeat} the same words over and over", drop=True),
    # answers nobody wants to learn
    "refusals": Kind("warning", "{n} {rows} {answer} with a refusal", drop=True),
    "model_talk": Kind("warning", "{n} {rows} {hold} a model speaking of itself", drop=True),
    "placeholders": Kind("warning", "{n} {rows} {hold} a placeholder that nobody filled in", drop=True),
    "echoes": Kind("warning", "{n} {rows} {answer} with the question itself", drop=True),
    "cut_off": Kind("warning", "{n} {rows} {end} in the middle of a sentence", drop=True),
    "swapped_sides": Kind("warning", "In {n} {rows} question and answer look swapped", repair="swap_sides", drop=True),
    "other_language": Kind("warning", "{n} {rows} {are} in another language than the rest ({detail})", drop=True),
    # length
    "too_long": Kind("warning", "{n} {rows} {are} longer than {limit} tokens", "the rest is cut", drop=True),
    "answer_cut_away": Kind("warning", "In {n} {rows} the question alone fills {limit} tokens", "its beginning is cut", drop=True),
    "outlier_length": Kind("warning", "{n} {rows} {are} many times longer than the others", drop=True),
    # pictures
    "picture_damaged": Kind("warning", "{n} {files} cannot be read as pictures", "left out"),
    "picture_tiny": Kind("warning", "{n} {pictures} {are} smaller than 64 pixels", "left out"),
    "picture_bomb": Kind("warning", "{n} {pictures} would unpack to more than 64 million pixels", "left out"),
    "picture_animated": Kind("info", "{n} {pictures} {have} several frames", "the first was taken"),
    "picture_converted": Kind("info", "{n} {pictures} {are} not plain RGB (grey, CMYK, transparent, 16 bits)", "converted"),
    "picture_renamed": Kind("info", "{n} {pictures} {are} of another kind than the name says", "read by content"),
    "picture_no_caption": Kind("info", "{n} {pictures} {have} no caption"),
    "pair_shapes": Kind("info", "{n} {rows} {have} sides of different shapes", "the worse one is cut to the better one's"),
    # videos
    "clip_damaged": Kind("warning", "{n} {files} cannot be read as videos to their end", "left out"),
    "clip_format": Kind("warning", "{n} {files} {are} of a kind of video that is not read here", "left out; save as MP4 or WebM"),
    "clip_no_picture": Kind("warning", "{n} {files} {hold} sound or data, but no pictures", "left out"),
    "clip_tiny": Kind("warning", "{n} {videos} {are} smaller than 64 pixels", "left out"),
    "clip_bomb": Kind("warning", "{n} {videos} {have} frames of more than 4096 × 2304 pixels", "left out; scale them down"),
    "clip_short": Kind("warning", "{n} {videos} {are} shorter than 0.3 seconds or 5 frames", "left out"),
    "clip_long": Kind("warning", "{n} {videos} {are} longer than 10 minutes of 1080p", "left out; cut them into parts"),
    "clip_bad_part": Kind("warning", "{n} {videos} {are} shorter than the times that a table gives", "left out"),
    "clip_still": Kind("warning", "In {n} {videos} nothing moves"),
    "clip_variable_rate": Kind("info", "{n} {videos} {have} frames at uneven distances", "frames are taken by the clock"),
    "clip_renamed": Kind("info", "{n} {videos} {are} of another kind than the name says", "read by content"),
    "clip_cut": Kind("info", "{n} {videos} {are} long", "taken in parts, which stay together in the split"),
    "clip_no_caption": Kind("info", "{n} {videos} {have} no caption"),
    # recordings
    "sound_damaged": Kind("warning", "{n} {files} cannot be read as recordings", "left out"),
    "sound_format": Kind("warning", "{n} {files} {are} of a kind of sound that is not read here", "left out; save as WAV or FLAC"),
    "sound_rate": Kind("warning", "{n} {recordings} {have} fewer than 8,000 or more than 192,000 samples a second", "left out"),
    "sound_long": Kind("warning", "{n} {recordings} {are} longer than 20 minutes (10 in stereo)", "left out; cut them into parts"),
    "sound_short": Kind("warning", "{n} {recordings} {are} shorter than 0.3 seconds", "left out"),
    "sound_silent": Kind("warning", "{n} {recordings} {are} silent", "left out"),
    "sound_bad_part": Kind("warning", "{n} {recordings} {are} shorter than the times that a table gives", "left out"),
    "sound_no_words": Kind("warning", "In {n} {recordings} nobody says what is spoken", "left out; a voice is learnt from words"),
    "sound_transcribed": Kind(
        "warning", "The words of {n} {recordings} were written down by a model", "read and correct them before they are learnt"
    ),
    "sound_corrected": Kind("info", "The words of {n} {recordings} were written down by a model and corrected by you"),
    "sound_checked": Kind("info", "The words of {n} {recordings} were written down by a model and found right by you"),
    "sound_long_phrase": Kind("warning", "{n} {recordings} {are} longer than 30 seconds in one piece", "left out"),
    "sound_noisy": Kind("warning", "{n} {recordings} {have} noise less than 15 dB below the voice"),
    "sound_clipped": Kind("warning", "{n} {recordings} {are} clipped: too loud when it was made"),
    "sound_mixed": Kind("info", "{n} {recordings} {have} more than two channels", "mixed to one"),
    "sound_resampled": Kind("info", "{n} {recordings} {have} more than 48,000 samples a second", "brought to 48,000"),
    "sound_renamed": Kind("info", "{n} {recordings} {are} of another kind than the name says", "read by content"),
    "sound_cut": Kind("info", "{n} {recordings} {are} long", "cut into parts, which stay together in the split"),
    "sound_pair_cut": Kind("info", "{n} {rows} {have} recordings of more than 30 seconds", "their beginnings are compared"),
    "sound_no_text": Kind("info", "{n} {recordings} {have} no text"),
    "other_voice": Kind(
        "warning", "{n} {recordings} {sound} like another voice than most", "leave them out unless all are of one person", drop=True
    ),
    "speakers_unchecked": Kind("info", "Whether all recordings are of one person was not checked"),
    # amount
    "hardly_any_rows": Kind("error", "{n} usable {rows}: {detail}"),
    "few_rows": Kind("warning", "{n} usable {rows}: {detail}"),
}

VERBS = {
    "hold": "holds", "have": "has", "are": "is", "prefer": "prefers", "repeat": "repeats", "give": "gives", "answer": "answers",
    "end": "ends", "open": "opens", "mark": "marks", "sound": "sounds",
}  # fmt: skip
"""Several rows hold, one row holds."""

REPAIRS: dict[str, str] = {
    "mask_pii": "personal data was masked",
    "mask_secrets": "secrets were masked",
    "repair_text": "characters were repaired",
    "strip_html": "HTML was stripped",
    "strip_markup": "control marks were stripped",
    "unescape_text": "escapes were resolved",
    "squeeze_spaces": "blanks were squeezed",
    "swap_pairs": "better and worse were swapped",
    "swap_sides": "question and answer were swapped",
}
"""Fixes that mend rows, and what is said where they did. All others drop: `drop_<code>`."""

FIXES: frozenset[str] = frozenset({*REPAIRS, *(f"drop_{code}" for code, kind in KINDS.items() if kind.drop)})


def repairing(code: str, fixes: frozenset[str]) -> str | None:
    """The fix among `fixes` that mends what `code` stands for."""
    repair = KINDS[code].repair
    return repair if repair in fixes else None


def dropping(code: str, fixes: frozenset[str]) -> bool:
    """Whether `fixes` say to leave rows of this kind out."""
    return KINDS[code].drop and f"drop_{code}" in fixes


def words_of(code: str, count: int, fixed: str | None, detail: str, limit: int) -> str:
    """The finding as one sentence. `fixed`: what was done by a fix, if one was chosen."""
    kind = KINDS[code]
    tail = fixed if fixed is not None else kind.tail
    one = count == 1
    verbs = {name: one_form if one else name for name, one_form in VERBS.items()}
    text = f"{kind.words}; {tail}." if tail else f"{kind.words}."
    nouns = {noun: noun[:-1] if one else noun for noun in ("rows", "pictures", "recordings", "videos", "files")}
    return text.format(n=f"{count:,}", detail=detail, limit=f"{limit:,}", **nouns, **verbs)
