"""The parser interface and the offline parser behind it: the same fields, read by rules, in milliseconds."""

from typing import Protocol

from kriptik.pipeline.intent import details, limits, mentions, names
from kriptik.pipeline.intent.capability import Evidence, weigh
from kriptik.pipeline.intent.questions import question
from kriptik.pipeline.intent.request import is_request
from kriptik.pipeline.intent.text import Reading, read_text
from kriptik.pipeline.intent.tier import contradicts, tier
from kriptik.spec.intent import TrainingIntent

_NOT_A_REQUEST = TrainingIntent.model_validate({"is_training_request": False})


class IntentParser(Protocol):
    """Reads one request. Never raises for what a person typed."""

    def parse(self, prompt: str) -> TrainingIntent: ...


class OfflineParser:
    """Deterministic, without network or model. Use it wherever no language model is configured."""

    def parse(self, prompt: str) -> TrainingIntent:
        """The fields that the text determines; `is_training_request` alone where it is no request to train."""
        reading = read_text(prompt)
        if not reading.text.strip(" ·\n"):
            return _NOT_A_REQUEST.model_copy()
        named = names.resolve(reading)
        methods, excluded = details.methods(reading)
        evidence = weigh(reading, named, methods)
        intent = self._means(reading, named, methods, excluded)
        specific = bool(methods or intent.budget_max_usd is not None or intent.data or intent.hardware)
        if not is_request(reading, named, evidence, specific):
            return _NOT_A_REQUEST.model_copy()
        return self._judged(reading, named, evidence, intent)

    def _means(self, reading: Reading, named: names.Named, methods: list[str], excluded: list[str]) -> TrainingIntent:
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
                "data": mentions.data(reading, named),
                "output": mentions.output(reading, named),
            }
        )

    def _judged(self, reading: Reading, named: names.Named, evidence: Evidence, intent: TrainingIntent) -> TrainingIntent:
        intent.capability = evidence.best()  # type: ignore[assignment]
        if intent.capability is None:
            intent.needs_clarification = True
            intent.question = question(reading, named, intent.data)
        intent.quality_tier = tier(reading, intent, named)  # type: ignore[assignment]
        intent.conflict = contradicts(reading, intent)
        return intent
