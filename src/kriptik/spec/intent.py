"""What a request says: the flat fields a careful reader takes from it. What the text does not determine is left out."""

from typing import Any, Literal

from pydantic import Field

from kriptik.spec.base import Noun

Capability = Literal[
    "music_generation",
    "video_generation",
    "image_generation",
    "voice_cloning",
    "text_generation",
    "code_generation",
    "chat",
    "embeddings",
    "multimodal",
    "custom",
]
QualityTier = Literal["consumer", "professional", "flagship", "research"]
ProviderName = Literal["runpod", "modal", "lambda", "vast", "aws", "gcp", "azure", "colab", "kubernetes", "local"]
DataSource = Literal["user_upload", "huggingface", "web_search", "synthetic", "hybrid"]


class HardwareLimit(Noun):
    """Limits on where the model is trained (not where it must run afterwards)."""

    gpu: str | None = None
    count: int | None = Field(None, ge=1)
    vram_gb: float | None = Field(None, gt=0)
    cpu_only: bool | None = None


class DataMention(Noun):
    """The data a person says they have or want."""

    type: Literal["text", "audio", "video", "image", "code", "pairs", "preferences"] | None = None
    amount: float | None = Field(None, ge=0)
    unit: str | None = None
    source: DataSource | None = None
    format: str | None = None


class OutputMention(Noun):
    """What the result must be: file format, language (ISO 639-1), where it runs, how big, how fast, under what licence."""

    export: str | None = None
    language: str | None = None
    target_device: str | None = None
    max_params_b: float | None = Field(None, gt=0)
    max_size_gb: float | None = Field(None, gt=0)
    max_latency_ms: float | None = Field(None, gt=0)
    license: str | None = None


class TermsMention(Noun):
    """Which licences the base model may have, beside commercial use (`OutputMention.license`), and where the result is used."""

    territory: str | None = Field(None, pattern=r"^[A-Z]{2}$")
    """ISO 3166-1, or EU."""
    only: list[str] = []
    """Licence ids; where any are given, no other will do."""
    never: list[str] = []
    """Licence ids that are ruled out."""
    gated: bool | None = None
    """False: nothing that asks to accept terms first."""


class TrainingIntent(Noun):
    """A request, read. `methods` are ids the person named; `excluded_methods` those they ruled out."""

    is_training_request: bool
    needs_clarification: bool = False
    question: str | None = None
    """The one good question to ask, where `needs_clarification`."""
    capability: Capability | None = None
    quality_tier: QualityTier | None = None
    benchmark_model: str | None = None
    base_model: str | None = None
    methods: list[str] = []
    excluded_methods: list[str] = []
    budget_max_usd: float | None = Field(None, ge=0)
    budget_currency: str | None = Field(None, pattern=r"^[A-Z]{3}$")
    budget_amount: float | None = Field(None, ge=0)
    deadline_hours: float | None = Field(None, gt=0)
    hardware: HardwareLimit | None = None
    provider: ProviderName | None = None
    data: DataMention | None = None
    output: OutputMention | None = None
    terms: TermsMention | None = None
    guesses: list[Capability] = []
    """What it is likely about, likeliest first, where the text leaves a doubt: the first is planned, the others are asked after."""
    conflict: bool = False
    reader_note: str | None = None
    """How it was read, where that needs saying: "Read offline. The model gave no answer …"."""
    thinking_tokens: int = Field(0, ge=0)
    """What a language model thought over this request."""

    @property
    def meant(self) -> Capability | None:
        """The capability to plan for: what the text determines, else the likeliest guess."""
        return self.capability or (self.guesses[0] if self.guesses else None)

    def fields(self) -> dict[str, Any]:
        """The batch interface's view: snake_case, and nothing that the text did not determine."""
        own = {"question", "reader_note", "thinking_tokens", "terms", "guesses"}
        found = self.model_dump(mode="json", exclude_none=True, exclude=own)
        keep = {"is_training_request"}
        return {name: value for name, value in found.items() if name in keep or (value is not False and value not in ([], {}))}
