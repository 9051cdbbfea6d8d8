"""Consent of the person whose voice is learnt: recorded before anything is trained, kept with the run and in the model's card."""

from datetime import datetime
from typing import Literal

from pydantic import Field, field_validator

from kriptik.spec.base import Noun

LEAST_WORDS = 5


class VoiceConsent(Noun):
    """What a person said, and who says so."""

    speaker: str = Field(min_length=2, max_length=200)
    """Whose voice it is."""
    statement: str = Field(max_length=4000)
    """The speaker's own words, at least `LEAST_WORDS` of them: what the voice may be used for."""
    given_by: Literal["speaker", "someone_authorised"] = "speaker"
    """Whether the speaker approves in person, or somebody who holds the speaker's written consent."""
    recorded_at: datetime | None = None
    """When it was recorded here; the server sets it."""

    @field_validator("speaker", "statement")
    @classmethod
    def _said(cls, text: str) -> str:
        return " ".join(text.split())

    @field_validator("statement")
    @classmethod
    def _enough(cls, text: str) -> str:
        if len(text.split()) < LEAST_WORDS:
            raise ValueError(f"the statement needs at least {LEAST_WORDS} words")
        return text

    @property
    def sentence(self) -> str:
        """As a card says it."""
        who = "the speaker" if self.given_by == "speaker" else "somebody who holds the speaker's written consent"
        when = f" on {self.recorded_at:%Y-%m-%d}" if self.recorded_at else ""
        return f"The voice is that of {self.speaker}. Consent was recorded{when}, given by {who}: “{self.statement}”"
