"""Who judges a plan's answers, by which principles, and what samples them: what its stages are told, and what asking costs.

What a method has no use for may stay in the choices and counts for nothing, so that it is there again if the method comes back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import JsonValue

from kriptik.catalogue.constitution import Principle, constitution, named
from kriptik.pipeline.endpoint import host_of, is_near
from kriptik.pipeline.plan.known import TEXT_CAPABILITIES, StagePoint, model_of, stage_points
from kriptik.pipeline.plan.settings import Volume, steps_of
from kriptik.spec.job import StageSettings
from kriptik.spec.plan import Choices, Judge

MADE = frozenset({"revisions", "judged_pairs"})
"""Rows that a judge makes or labels (`engine/text/constitution.py`)."""
SAMPLED = frozenset({"grpo", "ppo"})
MILLION = Decimal(1_000_000)
FRAME_TOKENS, CHARACTERS_A_TOKEN = 60, 4
SHARES = (Decimal("0.1"), Decimal("0.5"), Decimal(1))
"""Of what a judge's answer may hold it uses at least, likely and at most so much; answers of the model are as uncertain."""


@dataclass(frozen=True)
class Asking:
    """What a judge is expected to be asked and paid: calls, and dollars at least, likely and at most."""

    calls: int = 0
    low: Decimal = Decimal(0)
    likely: Decimal = Decimal(0)
    most: Decimal = Decimal(0)


def takes(choices: Choices) -> list[str]:
    """Which of judge, principles and rollouts the method has a use for."""
    points = _points(choices)
    found = ["judge", "principles"] if any(_judged(one.settings) for one in points) else []
    return [*found, "rollouts"] if any(_samples(one, choices) for one in points) else found


def told(stage: StagePoint, settings: StageSettings, choices: Choices) -> StageSettings:
    """A stage's settings with what the plan says of judge, principles and rollouts, where it has a use for them."""
    update: dict[str, JsonValue] = {}
    if _judged(settings) and choices.judge is not None:
        update["judge"] = {"kind": "endpoint", **choices.judge.model_dump(mode="json")}
    if _judged(settings) and choices.principles:
        update["principles"] = _rules(choices.principles)
    if _samples(stage, choices) and choices.rollouts != "transformers":
        update["rollouts"] = choices.rollouts
    return settings.with_objective(**update) if update else settings


def judge_title(judge: Judge | None) -> str:
    """The judge in a few words."""
    return f"{judge.model} at {judge.url}" if judge else "the model itself"


def said(choices: Choices) -> str:
    """Judge, principles and rollouts as sentences; empty where the method has no use for any."""
    taken, found = takes(choices), []
    if "judge" in taken:
        found.append(f"The judge is {judge_title(choices.judge)} ({_price(choices.judge)}).")
        lines = [line.rstrip(".") for line in choices.principles] or [one.id for one in constitution()]
        found.append(f"It judges by {'your principles' if choices.principles else 'the catalogue'}: {'; '.join(lines)}.")
    if "rollouts" in taken and choices.rollouts == "vllm":
        found.append("Answers are sampled by vLLM.")
    return " ".join(found)


def why_not(choices: Choices) -> str | None:
    """Why judge or rollouts cannot be had where the plan runs; None where they can."""
    taken, judge = takes(choices), choices.judge
    if "judge" in taken and judge is not None and choices.provider != "local" and is_near(judge.url):
        where = f"The judge at {host_of(judge.url)} is in your own network, which a machine at {choices.provider} does not reach."
        return f"{where} Choose this machine, or a judge with a public address."
    if "rollouts" in taken and choices.rollouts == "vllm" and unfit_for_vllm(choices):
        return "Rollouts by vLLM take a LoRA on a base in plain weights, in one process. Let transformers sample the answers."
    return None


def unfit_for_vllm(choices: Choices) -> bool:
    """Whether a stage that samples answers is none that vLLM can show the weights of (`engine/text/vllm.py`)."""
    points = [one.point for one in _points(choices) if _samples(one, choices)]
    return choices.gpu_count > 1 or any(one.adaptation != "lora" or one.base_precision in ("nf4", "int8") for one in points)


def asking(choices: Choices, stages: Sequence[tuple[StagePoint, StageSettings]], volume: Volume, looks: int) -> Asking:
    """What the plan's judge is expected to cost. `looks`: times that the held-out rows are judged."""
    judge = choices.judge
    if judge is None:
        return Asking()
    calls, sums = 0, [Decimal(0)] * len(SHARES)
    for _stage, settings in stages:
        if _judged(settings):
            asked, read = _calls(settings, choices, volume, looks, judge.max_tokens)
            calls += asked
            for at, share in enumerate(SHARES):
                tokens_in, tokens_out = read * (1 + share) / 2, judge.max_tokens * share
                paid = tokens_in * judge.input_usd_per_million + tokens_out * judge.output_usd_per_million
                sums[at] += asked * paid / MILLION
    return Asking(calls, *sums)


def _calls(settings: StageSettings, choices: Choices, volume: Volume, looks: int, longest: int) -> tuple[int, Decimal]:
    """How often a stage asks its judge, and how many tokens that reads each time at most."""
    aim: dict[str, Any] = dict(settings.objective)
    texts = [len(one.comparison) for one in constitution(_rules(choices.principles))]
    if aim.get("reward") == "judge":
        updates = steps_of(settings, volume, choices.gpu_count) / (int(aim.get("iterations", 1)) * int(aim.get("minibatches", 1)))
        prompts = updates * settings.micro_batch * settings.accumulation * choices.gpu_count
        calls = prompts * int(aim.get("group_size", 8)) + looks * volume.held_out
        read = sum(texts) / CHARACTERS_A_TOKEN + int(aim.get("max_new_tokens", 64))
    else:
        turns = 2 * int(aim.get("rounds", 1)) if aim.get("rows") == "revisions" else 2
        calls = turns * (volume.rows + volume.held_out)
        read = max(texts) / CHARACTERS_A_TOKEN + 2 * int(aim.get("max_new_tokens", 256)) + longest
    return round(calls), Decimal(round(FRAME_TOKENS + volume.tokens_per_row + read))


def _price(judge: Judge | None) -> str:
    if judge is None:
        return "as it is before it learns; name another, stronger one to be surer"
    if not judge.paid:
        return "free"
    told = (f"{one.normalize():f}" for one in (judge.input_usd_per_million, judge.output_usd_per_million))
    return f"${' in and $'.join(told)} out for a million tokens; {judge.price_source}"


def _rules(lines: Sequence[str]) -> list[JsonValue]:
    """Principles as the engine takes them: those of the catalogue by their names, each once; other lines are sentences."""
    found: dict[str, JsonValue] = {}
    for line in lines:
        known: list[Principle] = named(line)
        found |= {one.id: one.model_dump() for one in known} if known else {line: line}
    return list(found.values())


def _points(choices: Choices) -> list[StagePoint]:
    return stage_points(choices.method, choices.capability, choices.gpu_count, model_of(choices.base_model))


def _judged(settings: StageSettings) -> bool:
    return settings.objective.get("reward") == "judge" or str(settings.objective.get("rows")) in MADE


def _samples(stage: StagePoint, choices: Choices) -> bool:
    return choices.capability in TEXT_CAPABILITIES and stage.point.objective in SAMPLED


def is_paid(settings: StageSettings) -> bool:
    """Whether the judge that a stage was told of costs anything."""
    judge = settings.objective.get("judge")
    prices = ("input_usd_per_million", "output_usd_per_million")
    return isinstance(judge, dict) and any(float(str(judge.get(name) or 0)) > 0 for name in prices)
