"""Taking a model away: which forms, what was written, what was checked, where it went."""

from datetime import datetime
from typing import Literal

from pydantic import Field, field_validator

from kriptik.spec.base import Noun

Form = Literal["adapter", "merged", "gguf", "ollama"]
"""adapter: a PEFT folder · merged: the whole model as safetensors · gguf: one file for llama.cpp · ollama: gguf and a Modelfile."""
GgufType = Literal["f32", "bf16", "f16", "q8_0"]
GGUF_BYTES: dict[GgufType, float] = {"f32": 4.0, "bf16": 2.0, "f16": 2.0, "q8_0": 34 / 32}
"""Bytes per weight; q8_0 keeps 32 weights in 32 bytes and a 2-byte scale."""
REPO_ID = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,38}/[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?$"
"""owner/name as the hub spells it; nothing that could leave its place in an address."""


class HubTarget(Noun):
    """A repository on the Hugging Face hub. The token comes by the environment (HF_TOKEN), never by a request."""

    repo_id: str = Field(pattern=REPO_ID)
    private: bool = True

    @field_validator("repo_id")
    @classmethod
    def _no_dots(cls, value: str) -> str:
        if ".." in value or "--" in value or value.endswith(".git"):
            raise ValueError("a repository is named owner/name, without '..', '--' or '.git'")
        return value


class ExportRequest(Noun):
    """What to export. `checkpoint_id` None: the finished model, else the newest checkpoint."""

    formats: list[Form] = Field(default=["merged"], min_length=1, max_length=4)
    gguf_type: GgufType = "f16"
    checkpoint_id: str | None = Field(default=None, max_length=200)
    hub: HubTarget | None = None


class ExportOrder(Noun):
    """What the exporting worker is told besides the job: the request, and what the model card says was measured."""

    id: str
    request: ExportRequest
    loss_before: float | None = None
    loss_after: float | None = None
    eval_rows: int = 0


class ExportFile(Noun):
    """A file that was written, its path relative to the run's folder."""

    path: str
    bytes: int
    sha256: str


class Parity(Noun):
    """One comparison of what was exported with what was trained."""

    name: Literal["template", "merged", "gguf_template", "gguf", "modelfile"]
    sentence: str
    measured: float
    limit: float
    passed: bool


class UseCommand(Noun):
    """How to run what was exported, on the machine that has it."""

    name: Literal["vllm", "transformers", "llama_cpp", "ollama"]
    command: str


class ExportResult(Noun):
    """What an export left behind. `folder` is relative to the run's folder."""

    folder: str
    files: list[ExportFile]
    bytes: int
    predicted_bytes: int
    parity: list[Parity]
    commands: list[UseCommand]
    hub_url: str | None = None
    seconds: float = 0


class ExportView(Noun):
    """An export as people see it."""

    id: str
    job_id: str
    state: Literal["waiting", "working", "done", "failed", "cancelled"]
    request: ExportRequest
    progress: float = Field(0, ge=0, le=1)
    message: str = ""
    result: ExportResult | None = None
    code: str | None = None
    error: str | None = None
    next_step: str | None = None
    created_at: datetime
    ended_at: datetime | None = None


class FormOffer(Noun):
    """Whether a form can be had of this run, and how large it will be (None: not known yet)."""

    form: Form
    why_not: str | None = None
    bytes: int | None = None
    by_type: dict[str, int] = {}
    """For GGUF: bytes by type."""


class ExportOffers(Noun):
    """What can be exported of a run; `hub_ready`: the server has a hub token."""

    forms: list[FormOffer]
    free_bytes: int
    hub_ready: bool


def gguf_bytes(parameters: int, kind: GgufType, vocabulary_bytes: int = 0) -> int:
    """Predicted size of a GGUF file: its weights, its vocabulary and a little for the header."""
    return int(parameters * GGUF_BYTES[kind]) + vocabulary_bytes + (1 << 16)
