"""What data a plan has and what it needs, in rows; and what one row weighs when nothing was attached yet."""

from functools import lru_cache

from kriptik.catalogue.load import load_catalogue
from kriptik.pipeline.plan.known import TEXT_CAPABILITIES, capability_of, entries, model_of
from kriptik.pipeline.plan.settings import Volume
from kriptik.pipeline.plan.site import Rows
from kriptik.spec.catalogue import DataRequirement, RowNeed
from kriptik.spec.data import Sufficiency
from kriptik.spec.plan import Choices

ROW_TOKENS = {
    "text_generation": 250,
    "chat": 500,
    "code_generation": 600,
    "custom": 300,
    "embeddings": 120,
    "multimodal": 1300,
    "image_generation": 4096,
    "video_generation": 32_000,
    "music_generation": 2000,
    "voice_cloning": 500,
}
"""Tokens, patches or codec frames of a usual row: an image of 1024 px has 4,096 patches of 16 px, a 5 s clip about 32,000."""
ASKED_TOKENS = 60
"""Of a question about a picture with its answer."""
RESOLUTION = {"image_generation": 1024, "video_generation": 480}
"""At which a usual row has as many tokens: a side in pixels, of a clip the lines of its frames."""
TRAIN_SHARE = 0.9
MOST_HELD_OUT = 500
SOURCES = {
    "user_upload": "your own upload",
    "huggingface": "a dataset from Hugging Face",
    "web_search": "a search on the web",
    "synthetic": "synthetic rows, filtered by a judge",
    "hybrid": "a mix of your rows, public sets and synthetic ones",
}
ROW_KINDS: dict[str, frozenset[str]] = {
    "supervised": frozenset({"messages", "text", "preferences"}),
    "preferences": frozenset({"preferences"}),
    "feedback": frozenset({"feedback", "preferences"}),
    "prompts": frozenset({"messages", "preferences", "prompts", "checked"}),
    "prompts_with_check": frozenset({"messages", "checked"}),
    "pairs": frozenset({"pairs", "messages"}),
    "captioned_media": frozenset({"images", "sounds", "videos"}),
    "subject_images": frozenset({"images"}),
    "transcribed_speech": frozenset({"sounds"}),
}
"""Which kinds of prepared rows serve a need: of a pair the better answer can be learnt, and a known answer is a check.
"""
PLAIN_NEEDS: dict[str, RowNeed] = {
    "embedding": "pairs", "image": "captioned_media", "music": "captioned_media", "video": "captioned_media",
    "voice": "transcribed_speech",
}  # fmt: skip
"""Modality → what a method that asks for plain supervised rows needs there."""
MEDIA_KINDS: dict[tuple[str, str], frozenset[str]] = {
    ("image", "captioned_media"): frozenset({"images", "image_pairs"}),
    ("image", "preferences"): frozenset({"image_pairs"}),
    ("music", "captioned_media"): frozenset({"sounds", "sound_pairs"}),
    ("video", "captioned_media"): frozenset({"videos", "video_pairs"}),
    ("video", "preferences"): frozenset({"video_pairs"}),
    ("music", "preferences"): frozenset({"sound_pairs"}),
    ("music", "prompts"): frozenset({"sounds", "sound_pairs", "prompts"}),
    ("vision_language", "supervised"): frozenset({"image_messages", "images"}),
    ("vision_language", "preferences"): frozenset({"image_preferences"}),
}
"""(modality, need) → the kinds of rows that serve it there, where they are other than for text."""


def requirements(capability: str, method: str) -> list[DataRequirement]:
    """What the capability needs, then what the method's later stages need besides; pairs first where it learns from those alone."""
    catalogue = load_catalogue()
    found = list(catalogue.data_requirements.get(capability_of(capability).id, []))
    if row_needs(method) == ["preferences"]:
        found.sort(key=lambda need: need.type != "preferences")
    for need in extra_needs(method):
        if need in catalogue.row_requirements:
            found.append(catalogue.row_requirements[need])
    return found


def row_needs(method: str) -> list[RowNeed]:
    """What rows the stages need, each once, in order."""
    return list(dict.fromkeys(need for entry in entries(method) for need in entry.data_types))


def extra_needs(method: str) -> list[RowNeed]:
    """Needs beside plain supervised rows or media."""
    plain = {"supervised", "captioned_media", "subject_images", "transcribed_speech", "pairs"}
    return [need for need in row_needs(method) if need not in plain]


def volume_of(choices: Choices, rows: Rows | None) -> Volume:
    """How much is trained on: the attached rows, else the amount that was named, else what the tier asks for."""
    weight = float(ROW_TOKENS.get(choices.capability, 300))
    if choices.capability in RESOLUTION and choices.resolution:
        weight *= (choices.resolution / RESOLUTION[choices.capability]) ** 2
    entry = model_of(choices.base_model).entry if choices.base_model and choices.capability == "multimodal" else None
    picture = (entry and entry.arch.picture_tokens) or 0
    if rows is not None and choices.dataset_id == rows.dataset_id:
        held_out = max(0, rows.rows - rows.train_rows)
        usual, longest = max(1.0, rows.tokens_per_row), max(8, rows.longest_tokens)
        if picture:
            usual, longest = max(usual, picture + ASKED_TOKENS), max(longest, picture + 2 * ASKED_TOKENS)
        return Volume(max(1, rows.train_rows), usual, longest, held_out=held_out)
    weight = max(weight, picture + ASKED_TOKENS) if picture else weight
    longest = 1024 if choices.capability in TEXT_CAPABILITIES else int(min(weight * 2, 4096))
    longest = int(weight) if choices.capability == "video_generation" else longest
    if choices.data_rows is not None:
        return Volume(max(1, int(choices.data_rows * TRAIN_SHARE)), weight, longest, held_out=held_out_of(choices.data_rows))
    assumed = assumed_rows(choices)
    return Volume(max(1, int(assumed * TRAIN_SHARE)), weight, longest, known=False, held_out=held_out_of(assumed))


def held_out_of(rows: int) -> int:
    """Rows that are held out of so many: a tenth, at most 500."""
    return min(round(rows * (1 - TRAIN_SHARE)), MOST_HELD_OUT)


def assumed_rows(choices: Choices) -> int:
    """Rows assumed while nothing is known: the requirement's step for the tier."""
    return _assumed(choices.capability, choices.method, choices.tier)


@lru_cache(maxsize=2048)
def _assumed(capability: str, method: str, tier: str) -> int:
    need = next(iter(requirements(capability, method)), None)
    if need is None:
        return 1000
    steps = {"consumer": need.min_samples, "professional": need.recommended_samples}
    return steps.get(tier, need.flagship_samples)


def sufficiency(choices: Choices, rows: Rows | None) -> Sufficiency:
    """How far the rows go for the tier."""
    need = next(iter(requirements(choices.capability, choices.method)), None)
    have = rows.rows if rows is not None and rows.dataset_id == choices.dataset_id else choices.data_rows or 0
    if need is None:
        return Sufficiency(have=have, sentence="There is no published requirement for this.")
    steps = {"consumer": need.min_samples, "professional": need.recommended_samples}
    wanted = steps.get(choices.tier, need.flagship_samples)
    reached = "too_few"
    for name, least in (
        ("enough", need.min_samples),
        ("recommended", need.recommended_samples),
        ("flagship", need.flagship_samples),
    ):
        if have >= least:
            reached = name
    if have == 0:
        sentence = (
            f"Nothing is attached yet; at least {need.min_samples:,} rows are needed, {need.recommended_samples:,} are better."
        )
    elif reached == "too_few":
        sentence = f"{have:,} rows are fewer than the {need.min_samples:,} this usually takes: expect style rather than facts."
    elif have < wanted:
        sentence = f"{have:,} rows are enough to start; the {choices.tier} tier usually takes {wanted:,}."
    else:
        sentence = f"{have:,} rows are enough for the {choices.tier} tier."
    return Sufficiency.model_validate(
        {
            "have": have,
            "need": need.min_samples,
            "recommended": need.recommended_samples,
            "flagship": need.flagship_samples,
            "tier": reached,
            "sentence": sentence,
        }
    )


def mismatch(choices: Choices, rows: Rows | None) -> str | None:
    """Why the attached rows do not serve the method; None where they do or nothing is attached."""
    if rows is None or rows.dataset_id != choices.dataset_id:
        return None
    modality = capability_of(choices.capability).modality
    for need in row_needs(choices.method):
        need = PLAIN_NEEDS.get(modality, need) if need == "supervised" else need
        kinds = ROW_KINDS.get(need)
        if kinds is None:
            return f"The method needs {need.replace('_', ' ')}, and {rows.name} holds rows of text."
        kinds = MEDIA_KINDS.get((modality, need), kinds)
        if rows.kind not in kinds:
            return f"The method needs {need.replace('_', ' ')}, and {rows.name} holds {rows.kind} rows."
    return None
