"""What data a person speaks of, and whether anything is asked for at all: rules, and linear heads over the sentence encoder's view.

Rules read figures and plain words well and miss what is only implied ("learn from her", "whatever lies in our mailbox"); the heads
alone would name data where a text has none. So each head sees the rules' answer beside the text, and gives way where the rules
read a figure. That for "no request" sees the decision's odds, its signs and whether the text is an errand (`errands.py`).
`heads.npz` is made by `scripts/train_heads.py`, for one `learned.bin`. Numpy only.
"""

import zlib
from functools import cache
from math import log
from pathlib import Path

import numpy as np

from kriptik.pipeline.intent.capability import CAPABILITIES
from kriptik.pipeline.intent.learned import FILE as LEARNED
from kriptik.spec.intent import DataMention

FILE = Path(__file__).with_name("heads.npz")
NONE = "none"
KINDS = (NONE, "text", "audio", "video", "image", "code", "pairs", "preferences")
SOURCES = (NONE, "user_upload", "huggingface", "web_search", "synthetic", "hybrid")
DOUBT = {"kind": 0.5, "source": 0.0}
"""Log odds that "none" gains where the rules read none: a kind that nobody spoke of is worse than one that is left out."""
Arrays = dict[str, np.ndarray]


def features(data: DataMention | None, capability: str | None) -> np.ndarray:
    """What the rules read, as numbers: kind, source, capability, whether there is a figure or a format, capability × kind."""
    kind = _one(KINDS, (data and data.type) or NONE)
    source = _one(SOURCES, (data and data.source) or NONE)
    purpose = _one(CAPABILITIES, capability)
    more = np.array([data is not None and data.amount is not None, data is not None and data.format is not None], np.float32)
    return np.concatenate([kind, source, purpose, more, np.outer(purpose, kind).ravel()])


def weighed(data: DataMention | None, capability: str | None, seen: np.ndarray) -> DataMention | None:
    """The mention with the likeliest kind and source; None where there is no data in the text. `seen`: the encoder's view."""
    rules = features(data, capability)
    found: dict[str, str | None] = {}
    for name, choices, read in (("kind", KINDS, data and data.type), ("source", SOURCES, data and data.source)):
        likely = odds(name, rules, seen, heads())
        likely[0] += DOUBT[name] if read is None else 0.0
        likeliest = choices[int(likely.argmax())]
        found[name] = read if likeliest == NONE and data is not None and data.amount is not None else likeliest
    kind, source = (None if one == NONE else one for one in (found["kind"], found["source"]))
    if data is None:
        return DataMention.model_validate({"type": kind, "source": source}) if kind else None
    changed = data.model_copy(update={"type": kind, "source": source})
    return changed if changed != DataMention.model_validate({}) else None


SURELY = 1e-4
"""Probabilities nearer to 0 or 1 than this say no more."""


def doubts(no: float, errand: bool, signs: dict[str, float]) -> np.ndarray:
    """What speaks for "no request" beside the view: its log odds by the decision, whether it is an errand, and every sign."""
    no = min(max(no, SURELY), 1 - SURELY)
    return np.array([log(no / (1 - no)), errand, *signs.values()], np.float32)


SURE = 2.0
"""Log odds that the head must reach where the decision saw a request: to turn one away is worse than to plan for a remark."""


def is_none(rules: np.ndarray, seen: np.ndarray) -> bool:
    """Whether the text asks for no model. `rules`: what `doubts` found; `seen`: the encoder's view."""
    return float(odds("none", rules, seen, heads())[0]) > least(rules)


def least(rules: np.ndarray) -> float:
    """Log odds from which on a text counts as no request, by what `doubts` found."""
    return 0.0 if rules[0] > 0 or rules[1] > 0 else SURE


def odds(head: str, rules: np.ndarray, seen: np.ndarray, arrays: Arrays) -> np.ndarray:
    """Log odds of each choice of a head, [choices] or [rows, choices]."""
    text = (seen - arrays[f"{head}.middle"]) / arrays[f"{head}.spread"]
    return rules @ arrays[f"{head}.rules"] + text @ arrays[f"{head}.text"] + arrays[f"{head}.bias"]


@cache
def heads() -> Arrays:
    """The shipped heads, read once."""
    with np.load(FILE, allow_pickle=False) as file:
        return {name: file[name].astype(np.float32) for name in file.files if name != "of"}


def belongs() -> bool:
    """Whether the heads were made for the `learned.bin` that is there."""
    with np.load(FILE, allow_pickle=False) as file:
        return int(file["of"]) == zlib.crc32(LEARNED.read_bytes())


def _one(choices: tuple[str, ...], value: str | None) -> np.ndarray:
    return np.array([one == value for one in choices], np.float32)
