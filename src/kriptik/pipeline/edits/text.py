"""The text of an edit while it is read, and what it asks."""

import re
from dataclasses import dataclass, field

from kriptik.pipeline.edits import words

TAKEN = "·"
"""Stands where something was understood: neither a word nor a space, so that nothing is read across it."""
SPLIT = re.compile(r"[;\n]|[.!?](?=\s|$)|,(?!\d)|\s(?:and|but|then|also|plus|while|yet|und|aber|y|pero|et|mais|e)\s|\s[&+]\s")


@dataclass(frozen=True)
class Ask:
    """One thing that is asked: of which axis, which way (`op`), how much (`value`)."""

    axis: str
    op: str
    value: object = None
    words: str = ""


@dataclass
class Text:
    """The text as it is read; what was understood is blanked out so that no word counts twice."""

    text: str
    asks: list[Ask] = field(default_factory=list)

    def take(self, start: int, end: int, ask: Ask | None = None) -> None:
        """Blank a place; keep what it asked."""
        if ask is not None:
            self.asks.append(ask)
        self.text = self.text[:start] + TAKEN * (end - start) + self.text[end:]

    def negated(self, start: int) -> bool:
        """Whether the words right before a place rule it out."""
        return bool(words.NEGATION.search(clause_before(self.text, start)))


def clause_before(text: str, start: int) -> str:
    """The text from the start of the clause to a place."""
    head = text[:start]
    cut = 0
    for found in SPLIT.finditer(head):
        cut = found.end()
    return head[cut:]
