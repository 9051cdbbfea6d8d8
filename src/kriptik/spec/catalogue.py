"""Nouns of the catalogue: methods as points, base models with licences, GPUs, dated prices, data needs, pipelines."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from kriptik.spec.base import Money, Noun

BasePrecision = Literal["fp32", "bf16", "int8", "nf4"]
MethodCategory = Literal["peft", "full", "alignment", "distributed", "specialised", "hybrid", "beyond"]
MethodTier = Literal["consumer", "professional", "flagship", "research"]
ModalityName = Literal["text", "image", "video", "music", "voice", "embedding", "vision_language"]
ImageName = Literal["train-peft", "train-peft-quantized", "train-deepspeed", "train-alignment", "train-rlhf", "train-diffusion-moe"]
RowNeed = Literal[
    "supervised",
    "preferences",
    "feedback",
    "prompts",
    "prompts_with_check",
    "pairs",
    "captioned_media",
    "subject_images",
    "transcribed_speech",
]
"""What one row must hold. feedback: one answer with a thumb up or down; prompts_with_check: a prompt and how to verify it."""
DataType = Literal["text", "audio", "video", "image", "code", "pairs", "preferences"]
Commercial = Literal["yes", "no", "conditional"]
PriceKind = Literal["secure", "community", "on_demand", "marketplace", "local"]


class Point(Noun):
    """One point on the three axes; an axis that the method leaves open is None and the capability supplies it.

    `options` tells apart points whose axes agree (ZeRO stage, GRPO's reward); the engine reads them as settings.
    """

    adaptation: str | None = None
    objective: str | None = None
    strategy: str | None = None
    base_precision: BasePrecision | None = None
    options: dict[str, JsonValue] = {}


class MethodEntry(Noun):
    """A method id: which points it trains, in order, and when to choose it. Its status is computed, never written here."""

    id: str
    title: str
    summary: str
    category: MethodCategory
    alias_of: str | None = None
    alias_note: str | None = None
    stages: list[Point] = Field(min_length=1)
    capabilities: list[str] = Field(min_length=1)
    """Where the method makes sense; where it is proved to train is `catalogue.proof`'s to say."""
    families: list[str] = []
    """The only families of models that it trains, by their `trainable_family`; empty: all of its capabilities."""
    families_why: str | None = None
    """Why it trains no others, as the end of a sentence."""
    tier: MethodTier
    image: ImageName
    data_types: list[RowNeed] = Field(min_length=1)
    """What rows each stage needs, in order of the stages; one entry serves all."""
    defaults: dict[str, JsonValue] = {}
    """The recipe, in the words of `spec.job.StageSettings`."""
    min_gpus: int = Field(1, ge=1)
    source: str
    why_not: str | None = None
    """A standing limit worth telling, beyond the computed status."""

    @model_validator(mode="after")
    def _says_which(self) -> "MethodEntry":
        if bool(self.families) != bool(self.families_why):
            raise ValueError("familiesWhy must be given exactly where families are")
        return self


class Licence(Noun):
    """What a licence allows, as read on a date; the model card at download time is what binds."""

    id: str
    name: str
    commercial: Commercial
    gated: bool = False
    """The hub asks to accept terms first."""
    excluded_territories: list[str] = []
    """ISO 3166 codes ("EU" for the union) where the licence does not apply."""
    revenue_limit_usd: Money | None = Field(None, gt=Decimal(0))
    """Dollars a year from which a licence of its own is needed."""
    users_limit: int | None = Field(None, gt=0)
    """Users a month from which a licence of its own is needed."""
    must_name: str | None = None
    """What a derived model has to carry in its name or documents."""
    use_restricted: bool = False
    """Limits on use pass on to derived models."""
    notes: str = ""
    source: str
    read_on: date


class Architecture(Noun):
    """Numbers the estimator needs; what is not known is None. Counts, no units."""

    layers: int | None = None
    hidden: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    intermediate: int | None = None
    head_dim: int | None = None
    vocab: int | None = None
    tied: bool | None = None
    experts: int | None = None
    experts_per_token: int | None = None
    context: int | None = None
    picture_tokens: int | None = None
    """Most that one picture takes, where its size decides little; None: as many as its size gives, or no pictures."""


def _to_range(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"low": value, "high": value}
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        return {"low": value[0], "high": value[1]}
    return value


class GbRange(Noun):
    """Gigabytes, low to high: sources disagree and the range is shown."""

    low: float = Field(gt=0)
    high: float = Field(gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> "GbRange":
        if self.low > self.high:
            raise ValueError("low must not exceed high")
        return self


Gb = Annotated[GbRange, BeforeValidator(_to_range)]


class VramNeed(Noun):
    """Smallest practical training memory per kind of training, in GB over all GPUs. None: not sensible or not known."""

    qlora: Gb | None = None
    lora: Gb | None = None
    full: Gb | None = None
    source: Literal["stated", "computed", "mixed"] = "computed"
    """stated: a trainer's documentation says so; computed: by formula at short context, ± 30 %."""


class Replacement(Noun):
    """A name people use that this model stands in for, and why."""

    name: str
    because: str


class ModelEntry(Noun):
    """A base model."""

    id: str
    title: str
    capabilities: list[str] = Field(min_length=1)
    params_b: float = Field(gt=0)
    active_params_b: float | None = Field(None, gt=0)
    family: str
    """Architecture family: models of one family load and train alike."""
    trainable_family: str | None = None
    """Set only where the engine has a loader for the family; else None, with `why_not`."""
    why_not: str | None = None
    weights: str | None = None
    """The hub's repository that holds the weights as the engine reads them, where it is another than `id`."""
    licence: Licence
    arch: Architecture = Architecture()
    vram_gb: VramNeed = VramNeed()
    objective: str | None = None
    """Objective of plain fine-tuning where it is not the capability's default (a codec language model, say)."""
    strengths: list[str] = []
    weaknesses: list[str] = []
    notes: str = ""
    instruct: bool = False
    recommended: bool = False
    successor_of: str | None = None
    replaces: list[Replacement] = []
    aliases: list[str] = []
    released: str | None = None

    @model_validator(mode="after")
    def _says_why(self) -> "ModelEntry":
        if (self.trainable_family is None) == (self.why_not is None):
            raise ValueError("whyNot must be given exactly where trainableFamily is not")
        return self


class GpuEntry(Noun):
    """A GPU (or the CPU): memory in GB, dense bf16, fp32 and fp16 peak in TFLOP/s, memory bandwidth in GB/s.

    `tflops_fp16` is said of cards without bf16 alone; `fp16` is a plan's: whether its stages train in it there.
    """

    id: str
    title: str
    vram_gb: float = Field(ge=0)
    tflops_bf16: float = Field(ge=0)
    tflops_fp32: float = Field(ge=0)
    tflops_fp16: float = Field(default=0.0, ge=0)
    bandwidth_gb_s: float = Field(gt=0)
    arch: str
    grade: Literal["cpu", "consumer", "workstation", "datacentre"]
    bf16: bool = True
    fp16: bool = False
    aliases: list[str] = []
    notes: str = ""
    source: str


class PriceEntry(Noun):
    """What one GPU-hour cost at a provider on a day."""

    provider: str
    gpu: str
    usd_per_hour: Money = Field(ge=Decimal(0))
    observed_on: date
    source: str
    kind: PriceKind = "on_demand"
    notes: str = ""


class ChargeEntry(Noun):
    """What a provider bills beside the GPU (processor cores, memory, storage)."""

    provider: str
    what: str
    usd: Decimal = Field(ge=Decimal(0))
    unit: Literal["core_hour", "gib_hour", "gb_month"]
    observed_on: date
    source: str


class DataRequirement(Noun):
    """How much data of what kind a capability needs."""

    type: DataType
    format: list[str]
    min_samples: int = Field(gt=0)
    recommended_samples: int = Field(gt=0)
    flagship_samples: int = Field(gt=0)
    quality_requirements: list[str]
    example_schema: dict[str, JsonValue] | None = None

    @model_validator(mode="after")
    def _rising(self) -> "DataRequirement":
        if not self.min_samples <= self.recommended_samples <= self.flagship_samples:
            raise ValueError("minSamples ≤ recommendedSamples ≤ flagshipSamples must hold")
        return self


class CapabilityEntry(Noun):
    """One of the ten things a person can ask for: starting models and methods, and what fills the open axes."""

    id: str
    title: str
    answer: str
    """What a person says who means this one: "It makes music"."""
    description: str
    modality: ModalityName
    adaptation: str
    objective: str
    swaps: dict[str, str] = {}
    """Objectives that have another name here (dpo is diffusion_dpo for images)."""
    models: list[str]
    """The starting points people know, each a name that `find_model` resolves."""
    methods: list[str]
    gpu: str
    gpu_count: int = Field(1, ge=1)
    picks: dict[MethodTier, str]
    """The model to propose per tier when the person names none."""
    small_pick: str
    """The smallest model worth training, for a laptop or a tiny budget."""
    metric: str
    metric_unit: str
    defaults: dict[str, JsonValue] = {}
    """What of the recipe is particular to the capability, in the words of `StageSettings`; a method's own defaults win."""


class Way(Noun):
    """A second way to make what a capability makes: another modality, for the models of some families."""

    id: Literal["sound"]
    """The modality."""
    capability: str
    families: list[str] = Field(min_length=1)
    objective: str
    swaps: dict[str, str] = {}
    """Objectives that have another name here, as `CapabilityEntry.swaps`."""
    unclaimed: dict[str, str] = {}
    """Methods of the capability that are not claimed here → why: nobody need prove them, and none can be approved."""
    metric: str
    metric_unit: str


class FamilyNeeds(Noun):
    """Packages that models of a family need beside those every worker holds. Whether they are there is a fact of the machine."""

    id: str
    packages: list[Literal["num2words", "torchvision"]] = Field(min_length=1)


class SpokenLanguages(Noun):
    """Languages that the makers of some models name, ISO 639-1; "*" for about a hundred or more."""

    id: str
    models: list[str] = Field(min_length=1)
    languages: list[str] = Field(min_length=1)
    source: str
    read_on: date


class Bar(Noun):
    """A product that people hold up as the bar: what to adapt instead of building it, and how near that comes."""

    id: str
    capability: str
    adapt: str
    reach: str
    source: str
    read_on: date


class Scratch(Noun):
    """How the compute of training from nothing is reckoned: 6·N·D FLOP, D tokens per parameter times N."""

    tokens_per_param: float = Field(gt=0)
    like: str
    """The model that was given so many."""
    utilisation: float = Field(gt=0, le=1)
    gpu: str
    source: str
    read_on: date


class TokenPrice(Noun):
    """What a language model's tokens cost, dollars for a million, as listed on a day."""

    id: str
    provider: str
    input_usd: Money = Field(ge=Decimal(0))
    output_usd: Money = Field(ge=Decimal(0))
    source: str
    observed_on: date


class ModelEndpoint(Noun):
    """Where a provider's language models answer as OpenAI's do (`id`: the provider of their prices), and whose key that takes."""

    id: str
    url: str
    """Ends before "/chat/completions"."""
    key_env: str
    """The environment variable whose key goes to this host, and to no other."""
    max_tokens: int = Field(default=256, ge=1)
    """Of a judge's answer, unless something else is said."""
    source: str
    observed_on: date


class PipelineStage(Noun):
    """One stage of a pipeline."""

    name: str
    method: str
    config: dict[str, JsonValue] = {}
    estimated_hours: float = Field(gt=0)
    requires_approval: bool = False


class PipelineCost(Noun):
    """Cost range of a pipeline."""

    min: Money
    max: Money
    currency: Literal["USD"] = "USD"


class TrainingPipeline(Noun):
    """Stages in order, each from the checkpoint of the one before."""

    stages: list[PipelineStage] = Field(min_length=1)
    total_estimated_hours: float
    required_gpu: str = Field(alias="requiredGPU")
    estimated_cost: PipelineCost


class ReferencePipeline(Noun):
    """A pipeline kept in the catalogue; its cost is computed from the dated price table at load time."""

    id: str
    title: str
    summary: str
    capability: str
    tier: MethodTier
    base_model: str
    gpu: str
    gpu_count: int = Field(ge=1)
    pipeline: TrainingPipeline
    priced_by: list[str] = []
    """The prices behind min and max: "provider gpu kind date"."""


class CurrencyRate(Noun):
    """Dollars per unit of a currency on a day, and how people write the currency."""

    code: str = Field(pattern=r"^[A-Z]{3}$")
    usd_per_unit: Decimal = Field(gt=Decimal(0))
    as_of: date
    source: str
    symbols: list[str] = []
    words: list[str] = []


class ProofEntry(Noun):
    """The conformance suite's finding for one method on one capability with one strategy."""

    method: str
    capability: str
    strategy: str
    pieces_hash: str
    checks: dict[str, bool] = Field(min_length=1)
    proved_on: date
    stack: dict[str, str] = {}
    way: str | None = None
    """The modality, where it is not the capability's own."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (self.method, self.capability, self.strategy, self.way or "")

    def document(self) -> dict[str, Any]:
        """As it is kept: without the way where it is the capability's own."""
        body = super().document()
        if self.way is None:
            del body["way"]
        return body


class PairStatus(Noun):
    """One method for one capability, in one of its ways: whether it trains, and why not."""

    method: str
    capability: str
    way: str | None = None
    """The modality, where it is not the capability's own."""
    status: Literal["trainable", "planned"]
    reason: str | None = None

    @property
    def place(self) -> str:
        """The capability, or the way: they are named apart."""
        return self.way or self.capability


class MethodStatus(Noun):
    """Whether a method trains, as computed from the proofs."""

    id: str
    alias_of: str | None = None
    stages: list[Point]
    status: Literal["trainable", "planned"]
    reason: str | None = None
    capabilities: list[str]

    def wire(self) -> dict[str, Any]:
        """As the API sends it: an axis that the method leaves open is written as null."""
        axes = ("adaptation", "objective", "strategy")
        body = super().wire()
        body["stages"] = [
            {axis: getattr(point, axis) for axis in axes}
            | ({"basePrecision": point.base_precision} if point.base_precision else {})
            | ({"options": point.options} if point.options else {})
            for point in self.stages
        ]
        return body
