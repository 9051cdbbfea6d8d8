"""The quality tier by the ordered rules, and whether the request contradicts itself."""

import re

from kriptik.pipeline.intent.names import Named
from kriptik.pipeline.intent.text import Reading
from kriptik.spec.intent import TrainingIntent

CONSUMER_CARDS = re.compile(r"rtx|gtx|\d0\d0|titan|7900|m\d ", re.I)
PEFT_ONLY_CHEAP = 100.0
FLAGSHIP_FLOOR, PRODUCTION_FLOOR = 200.0, 20.0
"""Dollars under which flagship quality, or production quality of a large model, is a contradiction."""


def _said(reading: Reading, key: str) -> bool:
    """Whether a word of the list stands unnegated."""
    return any(
        not re.search(
            r"(?:not|no|n't|nothing|without|isn't|needn't be|ain't|kein\w*|nicht|nada de|sin|pas)(?: \w+)? ?$",
            reading.text[max(0, m.start() - 18) : m.start()],
        )
        for m in reading.words.rx(key).finditer(reading.text)
    )


def tier(reading: Reading, intent: TrainingIntent, named: Named) -> str | None:
    """The first rule that speaks; None where none does."""
    if intent.capability == "music_generation" and _said(reading, "tier.professional_music"):
        return "flagship"
    if _said(reading, "tier.production"):
        return "professional"
    if _said(reading, "tier.quick"):
        return "consumer"
    for key, value in (("flagship", "flagship"), ("research", "research")):
        if _said(reading, f"tier.{key}") and not (key == "research" and named.benchmark):
            return value
    if _said(reading, "tier.professional"):
        return "professional"
    if _said(reading, "tier.consumer"):
        return "consumer"
    if named.benchmark:
        return "flagship"
    return _by_means(reading, intent)


def _by_means(reading: Reading, intent: TrainingIntent) -> str | None:
    """Hardware, method and money where no word speaks of quality."""
    count = (intent.hardware.count or 0) if intent.hardware else 0
    gpu = (intent.hardware.gpu or "") if intent.hardware else ""
    many = count > 1 or _said(reading, "tier.multi_gpu")
    usd = intent.budget_max_usd
    if _said(reading, "tier.nodes") or count >= 32:
        return "research"
    if many and usd is not None and 100 <= usd <= 1000:
        return "professional"
    if CONSUMER_CARDS.match(gpu) and not many:
        return "consumer"
    if set(intent.methods) & {"lora", "qlora"} or _said(reading, "tier.cheap"):
        return "consumer"
    return "consumer" if usd is not None and usd < PEFT_ONLY_CHEAP else None


def contradicts(reading: Reading, intent: TrainingIntent) -> bool:
    """Requests that cannot be met as they stand: quality against money, place against place, method against method."""
    return _money_conflict(reading, intent) or _hardware_conflict(reading, intent) or _rule_conflict(reading, intent)


def _money_conflict(reading: Reading, intent: TrainingIntent) -> bool:
    usd = intent.budget_max_usd
    if usd is None:
        return False
    big = _billions(intent.base_model)
    local = intent.provider in ("local", "colab") and bool(intent.hardware or usd == 0)
    if intent.quality_tier in ("flagship", "research") and usd < FLAGSHIP_FLOOR and not (intent.benchmark_model and local):
        return True
    if _said(reading, "tier.scratch") and usd < 500 and big >= 1:
        return True
    if "full_finetune" in intent.methods and big >= 30 and usd < 200:
        return True
    count = (intent.hardware.count or 1) if intent.hardware else 0
    gpu = (intent.hardware.gpu or "") if intent.hardware else ""
    return count >= 8 and bool(re.match(r"[ABH]\d", gpu)) and usd < 50 and intent.provider != "local"


def _hardware_conflict(reading: Reading, intent: TrainingIntent) -> bool:
    hardware = intent.hardware
    big = _billions(intent.base_model)
    if hardware and hardware.cpu_only and (hardware.gpu or intent.quality_tier == "flagship" or big >= 30):
        return True
    full = any(m.startswith("full_finetune") for m in intent.methods)
    small = (
        hardware is not None
        and (hardware.count or 1) == 1
        and (bool(CONSUMER_CARDS.match(hardware.gpu or "")) or 0 < (hardware.vram_gb or 0) <= 24)
    )
    if full and small and big >= 13:
        return True
    out = intent.output
    if out and big:
        if out.max_params_b and big > out.max_params_b * 1.05 and "distil" not in reading.text:
            return True
        if out.max_size_gb and big * 0.4 > out.max_size_gb:
            return True
        if (
            out.target_device in ("phone", "iphone", "android", "raspberry pi", "microcontroller", "browser", "smartwatch")
            and big >= 30
            and "distil" not in reading.text
        ):
            return True
    if intent.deadline_hours and intent.deadline_hours <= 2:
        return _said(reading, "tier.scratch") or (big >= 65 and full) or (intent.quality_tier == "research")
    return bool(full and big >= 13 and hardware is None and re.search(r"laptop|notebook|macbook|my pc|gaming pc", reading.text))


def _rule_conflict(reading: Reading, intent: TrainingIntent) -> bool:
    if set(intent.methods) & set(intent.excluded_methods):
        return True
    clouds = {
        k
        for k in ("runpod", "modal", "lambda", "vast", "aws", "gcp", "azure", "colab")
        for m in reading.words.rx(f"provider.{k}").finditer(reading.text)
        if k == intent.provider and m
    }
    barred = re.search(
        r"\bno cloud|without (?:any |the )?cloud|on[- ]?prem|air[- ]?gapped|never leaves?"
        r"|(?:must|may|can|should)(?: not|not|n't) leave|keine cloud|ohne cloud|sin (?:la )?nube"
        r"|sans cloud|sem nuvem|不(?:用|上)云|クラウドなし",
        reading.text,
    )
    hedge = re.search(r"\bor\b|\bor else\b|instead|if (?:not|need)|\boder\b", reading.text)
    return bool(clouds and barred and not hedge)


def _billions(name: str | None) -> float:
    match = re.search(r"(?:(\d+)x)?(\d+(?:\.\d+)?)\s?b(?![a-z])", (name or "").lower())
    return float(match[2]) * float(match[1] or 1) if match else 0.0
