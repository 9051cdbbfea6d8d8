"""The parser interface and the offline parser behind it: the same fields, read by rules, in milliseconds."""

import re
from typing import Protocol

import numpy as np

from kriptik.pipeline.intent import details, heads, languages, limits, mentions, names
from kriptik.pipeline.intent.capability import plainly, weigh
from kriptik.pipeline.intent.decide import best, chances, either, guesses
from kriptik.pipeline.intent.errands import is_errand
from kriptik.pipeline.intent.learned import Pieces, judged
from kriptik.pipeline.intent.questions import question
from kriptik.pipeline.intent.request import readable, signs
from kriptik.pipeline.intent.terms import terms
from kriptik.pipeline.intent.text import Reading, read_text
from kriptik.pipeline.intent.tier import contradicts, tier
from kriptik.spec.intent import DataMention, TrainingIntent

KIND = {
    "music_generation": "audio",
    "voice_cloning": "audio",
    "video_generation": "video",
    "image_generation": "image",
    "multimodal": "image",
    "code_generation": "code",
    "text_generation": "text",
    "chat": "text",
    "embeddings": "text",
}
"""The kind of data that a count without one is taken to be of."""
_NOT_A_REQUEST = TrainingIntent.model_validate({"is_training_request": False})


def is_specific(intent: TrainingIntent) -> bool:
    """Whether there is a method, a sum, data or hardware: things that only a request has."""
    return bool(intent.methods or intent.budget_max_usd is not None or intent.data or intent.hardware)


_HEARS = re.compile(r"wav2vec|whisper|hubert|wavlm|demucs|parakeet|conformer|yamnet|clap\b", re.I)
"""Models to start from that take sound."""


def _kind(capability: str | None, data: DataMention, reading: Reading, base: str | None = None) -> str | None:
    """The kind of data, where what the model is for settles it: songs to write words from, episodes to learn a voice from."""
    if data.amount and data.type is None and capability == "custom":
        return "audio" if (data.unit or "") in ("minutes", "hours") else mentions.sensed(reading)
    if capability == "code_generation" and data.type == "text" and re.match(r"line|zeile|row|行", data.unit or ""):
        return "code"
    if data.type == "video" and (capability in ("voice_cloning", "music_generation") or _HEARS.search(base or "")):
        return "audio"
    if capability == "multimodal" and data.type == "text" and "page" in (data.unit or "") and re.search(r"\bscann", reading.text):
        return "image"
    if capability == "text_generation" and data.type == "audio" and re.search(r"song|首", data.unit or ""):
        return "text"
    if capability == "text_generation" and data.type == "code" and "script" in (data.unit or "script"):
        return "text"
    if capability == "voice_cloning" and data.type == "text" and data.amount:
        return "audio"
    if capability == "code_generation" and data.type == "text" and re.match(r"example|sample|snippet", data.unit or ""):
        return "code"
    if (
        data.type == "video"
        and re.match(r"clip", data.unit or "")
        and _SOUNDS.search(reading.text)
        and not _SEEN.search(reading.text)
    ):
        return "audio"
    if data.type == "audio" and re.match(r"aufnahme", data.unit or "") and re.search(r"foto|bild|kamera", reading.text):
        return "image"
    return data.type or (KIND.get(capability or "") if data.amount else None)


_SOUNDS = re.compile(r"\b(?:songs?|audio|sounds?|music|tracks?|voices?)\b")
_SEEN = re.compile(r"\b(?:videos?|films?|filmed|footage|camera|cam|mp4|mov|frames?)\b")


class IntentParser(Protocol):
    """Reads one request. Never raises for what a person typed."""

    def parse(self, prompt: str) -> TrainingIntent: ...


class OfflineParser:
    """Deterministic, without network or model. Use it wherever no language model is configured."""

    def parse(self, prompt: str) -> TrainingIntent:
        """The fields that the text determines; `is_training_request` alone where it is no request to train."""
        reading = read_text(prompt)
        if not readable(reading):
            return _NOT_A_REQUEST.model_copy()
        named = names.resolve(reading)
        methods, excluded = details.methods(reading)
        evidence = weigh(reading, named, methods, judged(reading.text, reading.clean))
        intent = self.means(reading, named, methods, excluded, evidence.judgement.pieces)
        marks = signs(reading, named, evidence, is_specific(intent))
        found = chances(evidence, marks)
        if self.asks_nothing(found["no"], is_errand(reading, named, intent, evidence.known), marks, evidence.judgement.seen):
            return _NOT_A_REQUEST.model_copy()
        verdict = best(found)
        if verdict == "ask":
            verdict = plainly(reading) or verdict
        specific = is_specific(intent) or named.base is not None
        intent.guesses = guesses(found, verdict, specific, either(reading.text, evidence))  # type: ignore[assignment]
        return self._judged(reading, named, verdict, intent, evidence.judgement.seen)

    def asks_nothing(self, no: float, errand: bool, marks: dict[str, float], seen: np.ndarray | None) -> bool:
        """Whether the text is no request to train. `no`: how likely that is by the decision (the ten count together against it)."""
        return errand or no > 0.5 if seen is None else heads.is_none(heads.doubts(no, errand, marks), seen)

    def means(
        self, reading: Reading, named: names.Named, methods: list[str], excluded: list[str], pieces: Pieces | None = None
    ) -> TrainingIntent:
        """Every field that does not hang on what the model is for. `pieces`: what the encoder saw of the text."""
        money = limits.budget(reading)
        provider = details.provider(reading)
        return TrainingIntent.model_validate(
            {
                "is_training_request": True,
                "base_model": named.base,
                "benchmark_model": named.benchmark,
                "methods": methods,
                "excluded_methods": excluded,
                "budget_max_usd": money.usd if money else None,
                "budget_currency": money.currency if money else None,
                "budget_amount": money.amount if money else None,
                "deadline_hours": limits.deadline(reading),
                "hardware": details.hardware(reading, named, provider not in (None, "local")),
                "provider": provider,
                "data": mentions.data(reading, named, pieces),
                "output": mentions.output(reading, named),
                "terms": terms(reading),
            }
        )

    def _judged(
        self, reading: Reading, named: names.Named, verdict: str, intent: TrainingIntent, seen: np.ndarray | None
    ) -> TrainingIntent:
        intent.capability = verdict if verdict != "ask" else None  # type: ignore[assignment]
        if intent.capability is None:
            intent.needs_clarification = True
            intent.question = question(reading, named, intent.data)
        if intent.data:
            intent.data.type = _kind(intent.capability, intent.data, reading, intent.base_model)  # type: ignore[assignment]
        if seen is not None:
            intent.data = heads.weighed(intent.data, intent.capability, seen)
        if intent.output and intent.output.language and not languages.suits(reading, named, intent.capability):
            intent.output = intent.output.model_copy(update={"language": None})
        intent.quality_tier = tier(reading, intent, named)  # type: ignore[assignment]
        intent.conflict = contradicts(reading, intent)
        return intent
