"""Edits of figures: data, resolution, settings, the marks of the budget, each with its bounds; and of what DreamBooth is told of
its subject."""

import re

from kriptik.pipeline.edits.text import Ask
from kriptik.pipeline.edits.work import FIELD, Work, amount, differing_settings
from kriptik.pipeline.plan.data import volume_of
from kriptik.pipeline.plan.place import recommended
from kriptik.spec.errors import BadInputError
from kriptik.spec.job import StageSettings

SUBJECT = "sks"
"""Stands for the one thing that is learnt: a word that means hardly anything to a text encoder (Ruiz et al. 2022, section 3.2)."""
MOST_PROMPT = 200
_SUBJECT = re.compile(rf"\b{SUBJECT}\b\s*")
_ARTICLE = re.compile(r"^(?:an?|the)\s+")

def edit_source(work: Work, ask: Ask, asks: list[Ask]) -> None:
    if ask.op == "use":
        work.set(ask.words, data_source=str(ask.value))
    elif work.choices.data_source in (ask.value, "hybrid") and not any(a.axis == "data_source" and a.op == "use" for a in asks):
        work.set(ask.words, data_source="user_upload")


def edit_data_amount(work: Work, ask: Ask, _asks: list[Ask]) -> None:
    now = work.choices.data_rows or round(volume_of(work.choices, work.case.rows).rows / 0.9)
    value = max(1, round(amount(ask, now, "data_amount")))
    if work.case.rows is not None and work.choices.dataset_id == work.case.rows.dataset_id and value > work.case.rows.rows:
        raise BadInputError(
            "too_few_rows",
            f"{work.case.rows.name} has {work.case.rows.rows:,} rows, not {value:,}.",
            "Upload more rows first.",
        )
    work.set(ask.words, data_rows=value)


def edit_resolution(work: Work, ask: Ask, _asks: list[Ask]) -> None:
    if work.choices.capability not in ("image_generation", "video_generation", "multimodal"):
        raise BadInputError("no_resolution", "This model has no resolution.", "Resolution can be set for images and video.")
    now = work.choices.resolution or (1024 if work.choices.capability != "video_generation" else 720)
    work.set(ask.words, resolution=round(amount(ask, now, "resolution")))


def edit_reset(work: Work, ask: Ask, _asks: list[Ask]) -> None:
    work.reset = True
    kept = [name for name in work.choices.custom_settings if name not in StageSettings.model_fields]
    best = recommended(work.choices, work.case.rows)
    for name in differing_settings(work.choices.settings, best):
        work.asked[name] = ask.words
    work.choices = work.choices.model_copy(update={"settings": best, "custom_settings": kept})


def edit_setting(work: Work, ask: Ask, _asks: list[Ask]) -> None:
    settings = work.choices.settings
    update: dict[str, object]
    if ask.axis == "batch_size":
        count = work.choices.gpu_count
        now = settings.micro_batch * settings.accumulation * count
        value = max(1, round(amount(ask, now, "batch_size") / count))
        micro = max(d for d in range(1, min(value, max(settings.micro_batch, 1)) + 1) if value % d == 0)
        update = {"micro_batch": micro, "accumulation": value // micro}
    elif ask.axis in ("rank", "alpha", "dropout"):
        now = float(getattr(settings.lora, ask.axis))
        value = amount(ask, now, ask.axis)
        lora = {ask.axis: round(value) if ask.axis == "rank" else value}
        if ask.axis == "rank" and settings.lora.rank:
            lora["alpha"] = settings.lora.alpha / settings.lora.rank * round(value)
        update = {"lora": settings.lora.model_copy(update=lora)}
    else:
        name = FIELD.get(ask.axis, ask.axis)
        now = getattr(settings, name)
        value = amount(ask, float(now) if now is not None else 100.0, ask.axis)
        whole = name in ("max_steps", "max_seq_len")
        update = {name: round(value) if whole else float(f"{value:.6g}")}
        if name == "epochs" and settings.max_steps is not None:
            update["max_steps"] = None
    after = work.choices.model_copy(update={"settings": settings.model_copy(update=update)})
    work.to(after, ask.words, *update)


def edit_prompt(work: Work, ask: Ask, asks: list[Ask]) -> None:
    """The subject's prompt, or that of its class: where only one of them is said, the other follows ("a photo of sks dog" is one of
    "a photo of dog"). Not pinned: another method has no use for it."""
    objective, text = work.choices.settings.objective, " ".join(str(ask.value).split())
    if ask.axis not in objective:
        what = f"{work.choices.method} has no {ask.axis.replace('_', ' ')}."
        raise BadInputError("no_such_prompt", what, "DreamBooth has both prompts, textual inversion that of the instance.")
    if not 0 < len(text) <= MOST_PROMPT:
        what = f"A prompt has 1 to {MOST_PROMPT} characters."
        raise BadInputError("bad_value", what, 'Say it in a few words: "a photo of a dog".')
    update = {ask.axis: text}
    other = "instance_prompt" if ask.axis == "class_prompt" else "class_prompt"
    best = recommended(work.choices, work.case.rows).objective
    if not any(one.axis == other for one in asks) and other in objective and objective[other] == best.get(other):
        update[other] = _of_subject(text) if other == "instance_prompt" else _SUBJECT.sub("", text).strip()
    update = {name: one for name, one in update.items() if one}
    settings = work.choices.settings.model_copy(update={"objective": {**objective, **update}})
    work.to(work.choices.model_copy(update={"settings": settings}), ask.words, "objective")
    work.picked.add("objective")


def _of_subject(of_class: str) -> str:
    """The prompt of one thing of a class: "a photo of a dog" becomes "a photo of sks dog"."""
    before, of, kind = of_class.rpartition(" of ")
    return f"{before}{of}{SUBJECT} {_ARTICLE.sub('', kind)}"


def edit_percent(work: Work, ask: Ask, asks: list[Ask]) -> None:
    value = amount(ask, getattr(work.choices, ask.axis), ask.axis)
    notify = next((float(str(a.value)) for a in asks if a.axis == "notify_at_percent"), work.choices.notify_at_percent)
    freeze = next((float(str(a.value)) for a in asks if a.axis == "freeze_at_percent"), work.choices.freeze_at_percent)
    if notify >= freeze:
        raise BadInputError(
            "alert_above_freeze", f"The alert at {notify:g} % must come before the freeze at {freeze:g} %.", "Lower the alert."
        )
    work.set(ask.words, **{ask.axis: value})
