"""Trying a model: requests, answers, sessions and the side-by-side comparison."""

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from kriptik.spec.base import Money, Noun

Target = Literal["base", "tuned"]


class TestRequest(Noun):
    """One input for a model under test (spec §9). Only the fields of the job's modality are used."""

    __test__: ClassVar[bool] = False
    """Its name is no invitation to pytest."""

    target: Target = "tuned"
    system_prompt: str | None = Field(None, max_length=20_000)
    text_prompt: str | None = Field(None, max_length=100_000)
    code_input: str | None = Field(None, max_length=100_000)
    image_input: str | None = Field(None, max_length=12_000_000)
    """A picture that the text asks about: a PNG, JPEG or WebP in base64, bare or as a data URL."""
    max_tokens: int = Field(128, ge=1, le=4096)
    temperature: float = Field(0.0, ge=0, le=5)
    seed: int = 0
    mode: Literal["context", "completion"] | None = None
    language: str | None = None


class TestResult(Noun):
    """What the model answered, what it took, and which weights answered."""

    __test__: ClassVar[bool] = False

    output: str
    output_url: str | None = None
    latency: float
    """Seconds."""
    tokens_used: int | None = None
    cost: Money
    metadata: dict[str, JsonValue] = {}
    """Holds `weights`: a hash over the tensors that answered."""


class TestSession(Noun):
    """A temporary deployment that ends by itself."""

    __test__: ClassVar[bool] = False

    id: str
    job_id: str
    checkpoint_id: str | None = None
    pretrained_model: str
    finetuned_model: str
    modality: str
    state: Literal["starting", "ready", "ended", "failed"]
    expires_at: datetime
    expiry_minutes: int = Field(10, ge=1, le=240)
    error: str | None = None


class Comparison(Noun):
    """The same input through base and tuned."""

    id: str
    session_id: str
    prompt: str
    base: TestResult
    tuned: TestResult
    preferred: Target | Literal["tie"] | None = None
