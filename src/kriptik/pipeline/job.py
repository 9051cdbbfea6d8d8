"""A plan → what its run is made of: stages with every axis and setting fixed, modality, precision, a name."""

import math
import re
from collections.abc import Mapping
from typing import Any

from kriptik.data.turns import spoken
from kriptik.pipeline.plan.cost import LOOKS, card_of, checkpoint_every_s, checkpoint_s, gpu_of, looks, stage_seconds, stages_of
from kriptik.pipeline.plan.data import volume_of
from kriptik.pipeline.plan.judging import told
from kriptik.pipeline.plan.known import capability_of, method_title, model_of, other_way
from kriptik.pipeline.plan.memory import recomputes
from kriptik.pipeline.plan.settings import steps_of
from kriptik.pipeline.plan.site import Rows, Site
from kriptik.spec.job import Modality, Precision, SamplePrompt, Stage, StageSettings
from kriptik.spec.plan import TrainingImplementationPlan

LONGEST_NAME = 80
CAPTION_PROMPT = "<image>\nDescribe the picture."
"""What a vision-language model is asked where a row has a picture and its caption alone."""


def plan_stages(plan: TrainingImplementationPlan, rows: Rows | None = None) -> list[Stage]:
    """The stages in order. With `rows`, what is looked at on the way is spread over the steps that these rows make."""
    choices = plan.choices
    volume = volume_of(choices, rows)
    stages, found = stages_of(choices, volume), []
    halfway = looks(choices, stages, volume) == LOOKS
    model, gpu = model_of(choices.base_model), gpu_of(choices.gpu)
    for index, (stage, settings) in enumerate(stages):
        steps = steps_of(settings, volume, choices.gpu_count)
        if "checkpoint_every_s" not in choices.custom_settings:
            lasts = stage_seconds(choices, model, gpu, stage, settings, volume, Site())
            every = checkpoint_every_s(checkpoint_s(model, stage, settings), settings, lasts)
            settings = settings.model_copy(update={"checkpoint_every_s": every})
        again = recomputes(model, stage, settings, gpu)
        settings = told(stage, settings.model_copy(update={"recompute": settings.recompute or again}), choices)
        found.append(
            Stage(
                index=index,
                name=stage.name,
                method=stage.method,
                point=stage.point,
                settings=_watched(_sized(_with_options(settings, stage.point.options), plan), steps, halfway=halfway),
                requires_approval=stage.requires_approval,
            )
        )
    return found


def plan_modality(plan: TrainingImplementationPlan) -> Modality:
    """What the run is about: as the model is trained, where that is not the capability's own way."""
    way = other_way(plan.choices.base_model, plan.choices.capability)
    return way.id if way else capability_of(plan.choices.capability).modality


def plan_precision(plan: TrainingImplementationPlan, site: Site) -> Precision:
    """How the base weights are held: as the method says, else in 16 bits where the GPU (or this machine's CPU) can, else fp32."""
    stages = plan_stages(plan)
    for stage in stages:
        if stage.point.base_precision is not None:
            return stage.point.base_precision
    card = card_of(plan.choices, site)
    return "bf16" if card.bf16 else "fp16" if card.fp16 else "fp32"


def plan_name(plan: TrainingImplementationPlan) -> str:
    """A short name: what it is for, from the request, else model and method."""
    words = re.sub(r"\s+", " ", plan.prompt).strip().rstrip(".!")
    if words:
        return words if len(words) <= LONGEST_NAME else words[: LONGEST_NAME - 1].rsplit(" ", 1)[0] + "…"
    return f"{model_of(plan.choices.base_model).title} · {method_title(plan.choices.method)}"[:LONGEST_NAME]


def sample_prompts(rows: list[dict[str, object]], count: int = 3, modality: Modality = "text") -> list[SamplePrompt]:
    """Held-out prompts to answer along the way: the first rows with a question and an answer, spread evenly over the file."""
    usable = [sample for row in rows if (sample := sample_of(row, modality)) is not None]
    if not usable:
        return []
    step = max(1, len(usable) // count)
    return usable[::step][:count]


def sample_of(row: dict[str, object], modality: Modality = "text") -> SamplePrompt | None:
    """A prepared row as a prompt with its expected answer; None for rows that ask nothing.

    A caption is what is asked for where pictures are read, and what is asked where they are made.
    """
    prompt = row.get("prompt") if "prompt" in row else None
    messages = row.get("messages")
    if isinstance(messages, list) and len(messages) >= 2:
        last = messages[-1]
        if last.get("role") == "assistant":
            asked = [_turn(m) for m in messages[:-1]]
            return SamplePrompt(messages=asked, tools=_listed(row, "tools"), expected=spoken(last), images=_listed(row, "images"))
    if isinstance(prompt, list) and prompt:
        answer = row.get("chosen") or row.get("completion")
        expected = spoken(answer[-1]) if isinstance(answer, list) and answer else None
        asked = [_turn(m) for m in prompt]
        return SamplePrompt(messages=asked, tools=_listed(row, "tools"), expected=expected, images=_listed(row, "images"))
    query, caption = row.get("query"), row.get("caption")
    if isinstance(query, str):
        return SamplePrompt(messages=[{"role": "user", "content": query}], expected=str(row.get("positive", "")))
    if isinstance(caption, str) and caption and modality == "vision_language":
        asked = [{"role": "user", "content": CAPTION_PROMPT}]
        return SamplePrompt(messages=asked, expected=caption, images=[str(row.get("image"))])
    if isinstance(caption, str) and caption:
        return SamplePrompt(messages=[{"role": "user", "content": caption}])
    text = row.get("text")
    if "audio" in row or "chosen_audio" in row:
        return SamplePrompt(messages=[{"role": "user", "content": text}]) if isinstance(text, str) and text else None
    if isinstance(text, str) and len(text.split()) >= 8:
        words = text.split(" ")
        cut = min(len(words) // 2, 40)
        return SamplePrompt(messages=[{"role": "user", "content": " ".join(words[:cut])}], expected=" ".join(words[cut : cut + 80]))
    return None


def _listed(row: dict[str, object], name: str) -> list[Any]:
    found = row.get(name)
    return list(found) if isinstance(found, list) else []


def _turn(message: dict[str, Any]) -> dict[str, Any]:
    calls = {"tool_calls": message["tool_calls"]} if message.get("tool_calls") else {}
    return {"role": str(message.get("role", "user")), "content": str(message.get("content") or ""), **calls}


def _with_options(settings: StageSettings, options: Mapping[str, object]) -> StageSettings:
    """What tells a point apart (ZeRO stage, reward) reaches its piece through the settings; the engine reads it from the point."""
    if "stage" not in options or settings.strategy:
        return settings
    return settings.model_copy(update={"strategy": {name: options[name] for name in ("stage", "offload") if name in options}})


def _sized(settings: StageSettings, plan: TrainingImplementationPlan) -> StageSettings:
    """Pictures and clips are trained on at the resolution that the plan names, where it names one."""
    if plan_modality(plan) not in ("image", "video") or not plan.choices.resolution:
        return settings
    return settings.model_copy(update={"objective": {"resolution": plan.choices.resolution, **settings.objective}})


def _watched(settings: StageSettings, steps: int, *, halfway: bool) -> StageSettings:
    """A look at held-out rows and answers half way, where it is not too dear, unless set by hand."""
    update: dict[str, object] = {}
    if halfway and steps > 2:
        for name in ("eval_every", "sample_every"):
            if getattr(settings, name) is None:
                update[name] = math.ceil(steps / 2)
    return settings.model_copy(update=update)
