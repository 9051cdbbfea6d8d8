"""Preference pairs and single marked answers, out of all the layouts in which people keep them."""

from typing import Any

from kriptik.data import text
from kriptik.data.cells import Cells, Made, parsed, plain
from kriptik.data.record import row_error
from kriptik.data.turns import Message, scalar, spoken

GOOD = frozenset({"true", "1", "1.0", "yes", "y", "good", "up", "thumbs_up", "positive", "desirable", "+1"})
BAD = frozenset({"false", "0", "0.0", "no", "n", "bad", "down", "thumbs_down", "negative", "undesirable", "-1"})
NEITHER = frozenset({"tie", "both", "neither", "equal", "none", "tie (bothbad)", "both_bad", ""})
"""Words for a mark, and for a comparison that nobody won."""
RESPONSES, SCORES = ("response", "completion", "answer", "text", "content"), ("overall_score", "score", "rating", "rank_score")
"""How a candidate answer names its text and its score."""


def of_preferences(cells: Cells) -> Made:
    """A better and a worse answer: named so, by who won, or by their scores. Raises DataError with row and column."""
    if "winner" in cells.columns:
        sides = _by_winner(cells)
    elif "candidates" in cells.columns:
        sides = _by_score(cells)
    else:
        sides = cells.turns("chosen", "assistant"), cells.turns("rejected", "assistant")
    if sides is None:
        return Made(None, problem="no_preference")
    chosen, rejected = sides
    if _opens(chosen) and _opens(rejected):  # whole conversations: the prompt is what they share
        shortest = min(len(chosen), len(rejected))
        shared = next((i for i in range(shortest) if chosen[i] != rejected[i]), shortest)
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    else:
        role = next((name for name in ("prompt", "messages") if name in cells.columns), None)
        prompt = cells.turns(role, "user") if role else []
    made = _pair(prompt if prompt[:1] and prompt[0]["role"] == "system" else cells.system() + prompt, chosen, rejected)
    if made.row is not None and _scored_otherwise(cells):
        return Made(made.row, (*made.notes, "swapped_pairs"))
    return made


def _scored_otherwise(cells: Cells) -> bool:
    """Whether columns with scores say that the rejected answer is the better one."""
    try:
        return float(cells.maybe("chosen_score")) < float(cells.maybe("rejected_score"))
    except ValueError:
        return False


def _pair(prompt: list[Message], chosen: list[Message], rejected: list[Message]) -> Made:
    if problem := asked_problem(prompt):
        return Made(None, problem=problem)
    if [spoken(turn) for turn in chosen] == [spoken(turn) for turn in rejected]:
        return Made(None, problem="same_answers")
    if not _answered(chosen) or not _answered(rejected):
        return Made(None, problem="empty_answer")
    if prompt[-1]["role"] == "assistant" or any(side[0]["role"] != "assistant" for side in (chosen, rejected)):
        return Made(None, problem="other_question")
    return Made({"prompt": prompt, "chosen": chosen, "rejected": rejected})


def _by_winner(cells: Cells) -> tuple[list[Message], list[Message]] | None:
    """Two answers and which one won; None for a tie. DataError where the winner is neither of them."""
    value = str(cells.raw("winner")).strip().lower()
    sides = cells.turns("first", "assistant"), cells.turns("second", "assistant")
    for place, role in enumerate(("first", "second")):
        column = plain(cells.columns[role])
        mark = column.rpartition("_")[2]
        if value in (mark, column, role, f"model_{mark}", "12"[place] if mark in "ab" else mark):
            return sides[place], sides[1 - place]
    if value in NEITHER:
        return None
    found = text.shorten(repr(cells.raw("winner")), 40)
    what = f"holds {found}, which is neither {cells.columns['first']!r} nor {cells.columns['second']!r}."
    raise row_error(cells.place, cells.columns["winner"], what, "Name the better answer, or write tie.")


def _by_score(cells: Cells) -> tuple[list[Message], list[Message]] | None:
    """The best and the worst of several scored answers; None where all have the same score."""
    column, several = cells.columns["candidates"], parsed(cells.raw("candidates"))
    if not isinstance(several, list) or len(several) < 2:
        raise row_error(cells.place, column, "holds no list of two or more answers.", "Give every prompt several scored answers.")
    found = []
    for number, one in enumerate(several):
        inside = f"{column}[{number}]"
        keys = [next((key for key in names if isinstance(one, dict) and key in one), None) for names in (RESPONSES, SCORES)]
        if keys[0] is None or keys[1] is None:
            raise row_error(cells.place, inside, "has no answer with a score.", 'Write {"response": "…", "score": 4}.')
        try:
            score = float(one[keys[1]])
        except (TypeError, ValueError):
            raise row_error(cells.place, f"{inside}.{keys[1]}", "is no number.", "Give every answer a score.") from None
        found.append((score, scalar(one[keys[0]], cells.place, f"{inside}.{keys[0]}").strip()))
    best, worst = max(found, key=lambda one: one[0]), min(found, key=lambda one: one[0])
    if best[0] == worst[0]:
        return None
    return [{"role": "assistant", "content": best[1]}], [{"role": "assistant", "content": worst[1]}]


def of_feedback(cells: Cells) -> Made:
    """One answer with its mark. Raises DataError with row and column."""
    if "messages" in cells.columns:
        turns = cells.system() + cells.turns("messages", "user")
        last = max((at for at, turn in enumerate(turns) if turn["role"] != "assistant"), default=-1) + 1
        prompt, completion = turns[:last], turns[last:]
    else:
        prompt, completion = cells.system() + cells.turns("prompt", "user"), cells.turns("completion", "assistant")
    mark = mark_of(cells.raw("label"))
    if mark is None:
        found = text.shorten(repr(cells.raw("label")), 40)
        raise row_error(cells.place, cells.columns["label"], f"holds {found}, neither good nor bad.", "Use true or false.")
    if problem := asked_problem(prompt):
        return Made(None, problem=problem)
    if not _answered(completion):
        return Made(None, problem="empty_answer")
    if prompt[-1]["role"] == "assistant" or completion[0]["role"] != "assistant":
        return Made(None, problem="other_question")
    return Made({"prompt": prompt, "completion": completion, "label": mark})


def _opens(turns: list[Message]) -> bool:
    """Whether it begins with somebody else than the assistant."""
    return bool(turns) and turns[0]["role"] != "assistant"


def asked_problem(prompt: list[Message]) -> str | None:
    """The code of what makes a prompt useless; None when it asks something."""
    asked = [turn for turn in prompt if turn["role"] == "user"]
    if not asked:
        return "no_question"
    return None if all(turn["content"].strip() for turn in asked) else "empty_question"


def _answered(completion: list[Message]) -> bool:
    return bool(completion) and any(turn["content"].strip() or turn.get("tool_calls") for turn in completion)


def mark_of(value: Any) -> bool | None:
    """Good or bad; None for a value that says neither."""
    word = str(value).strip().lower()
    return True if word in GOOD else False if word in BAD else None
