"""What a language model is to the rest of KripTik: it answers one question as JSON of a given shape, and says what it used."""

from dataclasses import dataclass
from typing import Any, Protocol

from kriptik.spec.errors import KriptikError


@dataclass(frozen=True)
class Usage:
    """Tokens of one call. `output` includes `thinking`."""

    input: int = 0
    output: int = 0
    thinking: int = 0


@dataclass(frozen=True)
class Answer:
    """The text of an answer, and what it used."""

    text: str
    usage: Usage


class NoAnswerError(KriptikError):
    """A model was not asked, or gave no answer: unreachable, too slow, refused, cut off, or not paid for."""

    status = 502

    def __init__(self, code: str, sentence: str, next_step: str = "", *, usage: Usage | None = None, billed: bool = True) -> None:
        super().__init__(code, sentence, next_step)
        self.usage = usage or Usage()
        """What the failed call used all the same."""
        self.billed = billed
        """Whether it may have cost something; False where it was never sent, or was turned away."""


class LanguageModel(Protocol):
    """Asks a model. Raises NoAnswerError; never anything else for what the other side does."""

    def ask(self, system: str, user: str, schema: dict[str, Any]) -> Answer: ...
