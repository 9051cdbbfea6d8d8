"""The training texts of the offline parser's learned model: (class, text, writer), everything in the order of the files.

Free requests (`free_*.txt`), phrases (`phrases_*.txt`), sentences with gaps (`templates.toml`) and the development set. A writer is
who wrote a block, or one sentence with gaps: what is judged in cross-validation never shares a writer with what was learned.
"""

import random
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from kriptik.pipeline.intent.text import fold, guess_language

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "pipeline" / "intent"))
from intent_rows import rows  # noqa: E402

FREE = (
    "free_en_1.txt",
    "free_en_2.txt",
    "free_en_3.txt",
    "free_en_4.txt",
    "free_en_5.txt",
    "free_en_6.txt",
    "free_en_7.txt",
    "free_en_8.txt",
    "free_en_9.txt",
    "free_en_10.txt",
    "free_en_11.txt",
    "free_en_12.txt",
    "free_no.txt",
    "free_no_2.txt",
    "free_other_1.txt",
    "free_other_2.txt",
    "free_other_3.txt",
    "free_other_4.txt",
    "free_other_5.txt",
    "free_other_6.txt",
    "free_other_7.txt",
    "free_other_8.txt",
)
PHRASES = ("phrases_en.txt", "phrases_other.txt")
PER_TEMPLATE = 5
BLOCK = 12
"""Phrases without a named writer are taken as written by one in blocks of this many."""


@dataclass(frozen=True)
class Example:
    """A text with its class. `kind`: free, phrase, gaps or request (a whole request of the development set)."""

    label: str
    text: str
    writer: str
    kind: str


def free() -> list[Example]:
    """The free requests, several to a line between bars in the files of other languages."""
    found: list[Example] = []
    for name in FREE:
        label = writer = ""
        for line in (HERE / name).read_text(encoding="utf-8").splitlines():
            if line.startswith("["):
                label = line.strip("[]")
            elif line.startswith("@"):
                writer = f"{name}:{line[2:]}"
            elif line and not line.startswith("#"):
                found += [Example(label, text.strip(), writer, "free") for text in line.split(" | ")]
    return found


def phrases() -> list[Example]:
    """The phrase files."""
    found: list[Example] = []
    for name in PHRASES:
        label, at = "", 0
        for line in (HERE / name).read_text(encoding="utf-8").splitlines():
            if line.startswith("["):
                label, at = line.strip("[]"), 0
            elif line and not line.startswith("#"):
                found.append(Example(label, line, f"{name}:{label}:{at // BLOCK}", "phrase"))
                at += 1
    return found


def gaps(rng: random.Random) -> list[Example]:
    """Sentences with gaps, filled at random."""
    table = tomllib.loads((HERE / "templates.toml").read_text(encoding="utf-8"))
    slots = table.pop("slots")
    found: list[Example] = []
    for label, entry in table.items():
        for number, template in enumerate(entry["templates"]):
            for _ in range(PER_TEMPLATE):
                text = template
                while "{" in text:
                    name = text[text.index("{") + 1 : text.index("}")]
                    text = text.replace(f"{{{name}}}", rng.choice(slots[name]), 1)
                found.append(Example(label, text, f"gaps:{label}:{number}", "gaps"))
    return found


def requests(name: str = "development.txt") -> list[Example]:
    """Whole requests of a set, with what they are for."""
    found: list[Example] = []
    for at, (prompt, fields, _) in enumerate(rows(name)):
        label = "no" if "no" in fields else ("ask" if "ask" in fields else fields.get("cap"))
        if label and prompt:
            found.append(Example(label, prompt, f"{name}:{at // BLOCK}", "request"))
    return found


def wraps() -> dict[str, dict[str, list[str]]]:
    """Words before and behind a wish, by language."""
    return tomllib.loads((HERE / "wraps.toml").read_text(encoding="utf-8"))


def wrapped(example: Example, copies: int, rng: random.Random, table: dict[str, dict[str, list[str]]]) -> list[str]:
    """The text as written, and dressed the way people dress a wish. What is no request gets no word of asking."""
    out = [example.text]
    if example.label == "no" or example.kind == "request" or len(example.text) > 110:
        return out
    guess = guess_language(fold(example.text))
    words = table[guess if guess in table else "en"]
    for _ in range(copies):
        head = "" if example.label == "ask" else rng.choice(["", *words["before"], *words["before"]])
        tail = rng.choice(["", *words["after"]])
        out.append(f"{head} {example.text}{'' if tail.startswith((',', '.', '，', '、')) else ' '}{tail}".strip())
    return out
