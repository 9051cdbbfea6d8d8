"""Nouns of rows that are made: what is asked for, what it may cost, and pairs of answers that people compare."""

from typing import Annotated, Any, Literal

from pydantic import Field

from kriptik.spec.base import Money, Noun

GenerationMethod = Literal["model_comparison", "human_annotation", "synthetic_ai"]
Better = Literal["a", "b", "tie", "skip"]


class MakingForecast(Noun):
    """What making rows is expected to take; nothing is asked before it was shown. `most_usd`: what cannot be passed."""

    model: str | None
    """The language model that is set up; None where there is none."""
    calls: int
    input_tokens: int
    output_tokens: int
    expected_usd: Money
    left_usd: Money
    """What may still be spent on asking before a plan is approved."""


class PreferencePairConfig(Noun):
    """Which pairs are wanted. `source_data`: a data set's id; `quality_criteria`: what makes an answer better."""

    source_data: Annotated[str, Field(min_length=1, max_length=26)]
    generation_method: GenerationMethod
    pairs_needed: Annotated[int, Field(ge=1, le=2_000)]
    quality_criteria: Annotated[str, Field(max_length=500)] = "correct, complete, helpful and clear"
    confirmed: bool = False
    """Whether the forecast was seen and asking models is agreed to."""


class Annotation(Noun):
    """A pair to compare. Which answer came from where is not shown: the sides are shuffled by pair."""

    index: int
    prompt: str
    a: str
    b: str
    better: Better | None = None


class Annotations(Noun):
    """A stretch of a set's pairs, and how far the set is."""

    id: str
    pairs: list[Annotation]
    labelled: int
    total: int


class Label(Noun):
    """One judgement; a later one of the same pair replaces it."""

    index: Annotated[int, Field(ge=0)]
    better: Better


class PairSet(Noun):
    """A set of pairs. With `human_annotation` it waits for labels; otherwise `dataset_id` names the rows that were made."""

    id: str
    generation_method: GenerationMethod
    total: int
    labelled: int = 0
    forecast: MakingForecast | None = None
    dataset_id: str | None = None
    rejected: dict[str, int] = {}
    """Why pairs were not taken."""


class MadeRows(Noun):
    """Rows made out of a document: the forecast alone until it is confirmed."""

    document_id: str
    passages: int
    forecast: MakingForecast
    dataset_id: str | None = None
    rows: int = 0
    rejected: dict[str, int] = {}
    preview: list[dict[str, Any]] = []
