"""Consent of the person whose voice is learnt or whom pictures show: recorded before anything is trained, and kept with the run."""

from datetime import datetime
from typing import Any, Literal

from pydantic import AliasChoices, Field, field_validator

from kriptik.spec.base import Noun

LEAST_WORDS = 5
Subject = Literal["voice", "likeness"]
"""What of the person is learnt: how they sound, or how they look."""
PERSON: dict[Subject, str] = {"voice": "the speaker", "likeness": "the person shown"}


class ConsentNeed(Noun):
    """That a plan is approved with the consent of a person alone."""

    subject: Subject
    who: str | None = None
    """The person, as the request names them; None where it does not."""


class Consent(Noun):
    """What a person said, and who says so. Until December 2026 there was consent to voices alone; it had the names `speaker` and
    `voiceConsent`, which are still read."""

    subject: Subject = "voice"
    """The server sets it, by what the plan needs."""
    person: str = Field(min_length=2, max_length=200, validation_alias=AliasChoices("person", "speaker"))
    """Whose voice or likeness it is."""
    statement: str = Field(max_length=4000)
    """The person's own words, at least `LEAST_WORDS` of them: what the voice or the pictures may be used for."""
    given_by: Literal["person", "someone_authorised"] = "person"
    """Whether the person approves themselves, or somebody who holds their written consent."""
    recorded_at: datetime | None = None
    """When it was recorded here; the server sets it."""

    @field_validator("person", "statement")
    @classmethod
    def _said(cls, text: str) -> str:
        return " ".join(text.split())

    @field_validator("statement")
    @classmethod
    def _enough(cls, text: str) -> str:
        if len(text.split()) < LEAST_WORDS:
            raise ValueError(f"the statement needs at least {LEAST_WORDS} words")
        return text

    @field_validator("given_by", mode="before")
    @classmethod
    def _renamed(cls, who: Any) -> Any:
        return "person" if who == "speaker" else who

    @property
    def sentence(self) -> str:
        """As a card says it."""
        person = PERSON[self.subject]
        who = person if self.given_by == "person" else f"somebody who holds {person}'s written consent"
        when = f" on {self.recorded_at:%Y-%m-%d}" if self.recorded_at else ""
        what = "The voice is that of" if self.subject == "voice" else "The pictures show"
        return f"{what} {self.person}. Consent was recorded{when}, given by {who}: “{self.statement}”"
