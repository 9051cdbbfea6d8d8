"""What is known of defects in training rows: the phrases and marks of `defects.toml`, compiled."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Defects:
    """One pattern per kind; `rare` are letter pairs that words hardly ever contain, `open_end` words that end no sentence."""

    refusal: re.Pattern[str]
    model_talk: re.Pattern[str]
    placeholder: re.Pattern[str]
    markup: re.Pattern[str]
    speakers: re.Pattern[str]
    secret: re.Pattern[str]
    null: frozenset[str]
    open_end: frozenset[str]
    rare: re.Pattern[str]
    refusal_marks: tuple[str, ...]
    model_talk_marks: tuple[str, ...]
    placeholder_marks: tuple[str, ...]
    secret_marks: tuple[str, ...]
    """Of the pieces of text without which a pattern cannot match: looked for first, as that is much quicker."""


@cache
def load_defects() -> Defects:
    """The file, read once."""
    file = resources.files("kriptik.catalogue").joinpath("defects.toml")
    known = tomllib.loads(file.read_text("utf-8"))

    def joined(name: str, flags: re.RegexFlag | int = re.IGNORECASE) -> re.Pattern[str]:
        return re.compile("|".join(f"(?:{one})" for one in known[name]["patterns"]), flags)

    return Defects(
        refusal=joined("refusal"),
        model_talk=joined("model_talk"),
        placeholder=joined("placeholder"),
        markup=joined("markup", 0),
        speakers=joined("speakers", re.IGNORECASE | re.MULTILINE),
        secret=joined("secret", 0),
        null=frozenset(known["null"]["words"]),
        open_end=frozenset(known["open_end"]["words"]),
        rare=re.compile("|".join(known["gibberish"]["pairs"].split())),
        refusal_marks=tuple(known["refusal"]["marks"]),
        model_talk_marks=tuple(known["model_talk"]["marks"]),
        placeholder_marks=tuple(known["placeholder"]["marks"]),
        secret_marks=tuple(known["secret"]["marks"]),
    )
