"""Vision-language models: what each family calls its parts, and how a row with pictures becomes tokens and numbers.

A new family: one entry in `FAMILIES`. In a row's turns `MARK` stands where a picture does; `images` names the files in that order,
beside the rows' own file. The model's own processor makes numbers of a picture and says how many tokens stand for it; its own chat
template writes the turns.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from torch.nn import functional

from kriptik.engine.media.pictures import opened
from kriptik.spec.errors import DataError, WorkerError

MARK = "<image>"
CAPTION_PROMPT = "Describe the picture."
"""What is asked where a row has a picture and its caption alone."""
KEPT_BYTES = 256 << 20
"""Of pictures as numbers, held in memory so that the next epoch finds them; the others are made anew each time."""
TURNS = ("messages", "prompt", "chosen", "rejected", "completion")
PROBE = [{"role": "user", "content": MARK + "What is this?"}, {"role": "assistant", "content": "A thing"}]

Positions = Callable[[Any, Tensor, dict[str, Tensor]], Tensor]


def _planar(model: Any, ids: Tensor, seen: dict[str, Tensor]) -> Tensor:
    """[3, tokens]: a picture's tokens lie in a plane (Qwen2-VL's M-RoPE), by the library's own index."""
    kinds = (ids == model.config.image_token_id).int()[None]
    found, _ = model.model.get_rope_index(ids[None], mm_token_type_ids=kinds, image_grid_thw=seen.get("image_grid_thw"))
    return found[:, 0]


@dataclass(frozen=True)
class Family:
    """Names of modules inside the library's class: what looks, what lies between (the projector), what speaks."""

    encoder: str
    projector: tuple[str, ...]
    language: str = "model.language_model"
    positions: Positions | None = None
    """Positions of a document's tokens where they are not just counted."""

    @property
    def targets(self) -> str:
        """The language model's linear layers, as a regular expression: what 'all-linear' means to an adapter."""
        return rf"{self.language}\.layers\.\d+\.(self_attn\.(q_proj|k_proj|v_proj|o_proj)|mlp\.(gate_proj|up_proj|down_proj))"

    @property
    def whole(self) -> list[str]:
        """What is never held in few bits: it is small, and pictures suffer."""
        return [self.encoder, *self.projector, "lm_head"]


_LLAVA = Family("model.vision_tower", ("model.multi_modal_projector",))
_QWEN = Family("model.visual", ("model.visual.merger",), positions=_planar)
_QWEN3 = Family("model.visual", ("model.visual.merger", "model.visual.deepstack_merger_list"), positions=_planar)
_IDEFICS = Family("model.vision_model", ("model.connector",), "model.text_model")
FAMILIES = {
    "llava": _LLAVA, "llava_next": _LLAVA, "internvl": _LLAVA, "qwen2_vl": _QWEN, "qwen2_5_vl": _QWEN, "qwen3_vl": _QWEN3,
    "smolvlm": _IDEFICS, "idefics3": _IDEFICS,
}  # fmt: skip
"""By `model_type` of transformers."""


def family_of(config: Any, name: str) -> Family:
    """The entry of a model. Raises WorkerError for a family that is not known."""
    if config.model_type not in FAMILIES:
        what = f"{name} is a {config.model_type} model, which cannot be trained on pictures yet."
        raise WorkerError("model_not_loadable", what, f"Choose one of the families {', '.join(sorted(FAMILIES))}.")
    return FAMILIES[config.model_type]


@dataclass(frozen=True)
class Seen:
    """A picture as the model takes it: numbers by argument, the text that stands for it, how many tokens of it are places."""

    inputs: dict[str, Tensor]
    told: str
    places: int


class Kit:
    """What goes before the model: the library's processor, and how its chat template writes turns with pictures."""

    def __init__(self, processor: Any, family: Family, model: Any) -> None:
        self.processor, self.family, self.tokenizer = processor, family, processor.tokenizer
        self.token, self.token_id = processor.image_token, int(processor.image_token_id)
        self.template = processor.chat_template or self.tokenizer.chat_template
        if not self.template:
            raise WorkerError("no_chat_template", "The model has no chat template.", "Choose an instruct model.")
        self._takes = set(signature(type(model).forward).parameters)
        self._kept: dict[Path, Seen] = {}
        self._room = KEPT_BYTES
        self.begin, self.end = "", ""
        self.parts = self._writes(parts=True)
        if not self.parts and not self._writes(parts=False):
            raise WorkerError("template_refuses", "The chat template does not write pictures.", "Choose another model.")
        start, bos = self.tokenizer("a")["input_ids"][:1], self.tokenizer.bos_token
        if bos and start == [self.tokenizer.bos_token_id] and not self._probed().startswith(bos):
            self.begin = bos
        if self.tokenizer.eos_token and self.tokenizer.eos_token not in self._probed().rpartition("A thing")[2]:
            self.end = self.tokenizer.eos_token

    def see(self, path: Path, row: int) -> Seen:
        """A file as numbers. Raises DataError naming the row."""
        found = self._kept.get(path)
        if found is None:
            found = self.looked(opened(path, row))
            size = sum(one.nbytes for one in found.inputs.values())
            if size <= self._room:
                self._room -= size
                self._kept[path] = found
        return found

    def looked(self, picture: Any) -> Seen:
        """A picture as numbers, by the library's processor."""
        options = getattr(self.processor, "images_kwargs", None)
        made = self.processor.image_processor(
            [picture], return_tensors="pt", **(options if isinstance(options, dict) else {})
        )
        told = str(self.processor.replace_image_token(made, 0))
        inputs = {name: one for name, one in made.items() if isinstance(one, Tensor) and name in self._takes}
        return Seen(inputs, told, self.tokenizer(told, add_special_tokens=False)["input_ids"].count(self.token_id))

    def written(self, messages: Sequence[Mapping[str, Any]], *, ask: bool, tools: Any = None) -> str:
        """The template's text, a picture as one token each."""
        text = self.tokenizer.apply_chat_template(
            [self._turn(one) for one in messages], tools=tools, chat_template=self.template, tokenize=False,
            add_generation_prompt=ask,
        )
        return self.begin + text

    def _turn(self, message: Mapping[str, Any]) -> dict[str, Any]:
        said = str(message.get("content") or "")
        if message.get("role") == "assistant":
            said += self.end
        if not self.parts:
            return {**message, "content": said.replace(MARK, self.token)}
        parts: list[dict[str, str]] = []
        for number, piece in enumerate(said.split(MARK)):
            parts += [{"type": "image"}] if number else []
            parts += [{"type": "text", "text": piece.strip("\n")}] if piece.strip() else []
        return {**message, "content": parts}

    def _writes(self, *, parts: bool) -> bool:
        """Whether the template writes a picture once, of turns whose content is parts or one text."""
        self.parts = parts
        try:
            return self._probed().count(self.token) == 1
        except (TemplateError, TypeError):
            return False

    def _probed(self) -> str:
        return self.written(PROBE, ask=False)


class Reader:
    """What `text/chat.py` asks of a tokenizer, for one row: each of its pictures stands in the text as all its tokens."""

    def __init__(self, kit: Kit, seen: Sequence[Seen]) -> None:
        self._kit, self._seen = kit, seen
        self.chat_template = kit.template

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kit.tokenizer, name)

    def __call__(self, text: str, **options: Any) -> Any:
        """As the tokenizer."""
        return self._kit.tokenizer(text, **options)

    def apply_chat_template(
        self, messages: list[dict[str, Any]], tools: Any = None, *, tokenize: bool = False, add_generation_prompt: bool = False
    ) -> str:
        """As the tokenizer, text alone. Raises ValueError where the text has other pictures than the row."""
        pieces = self._kit.written(messages, ask=add_generation_prompt, tools=tools).split(self._kit.token)
        named = sum(str(one.get("content") or "").count(MARK) for one in messages)
        if len(pieces) - 1 != named or named > len(self._seen):
            raise ValueError(f"it shows {len(pieces) - 1} pictures, and the turns name {named} of {len(self._seen)}")
        told = [*(one.told for one in self._seen[:named]), ""]
        return "".join(piece + more for piece, more in zip(pieces, told, strict=True))


def pictured(row: Mapping[str, Any], index: int, caption_prompt: str = CAPTION_PROMPT) -> tuple[dict[str, Any], list[str]]:
    """(the row with a mark for each of its pictures, their files). A caption becomes the answer to `caption_prompt`.

    Pictures without a mark come before the first question. Raises DataError where marks and files do not agree.
    """
    made, files = dict(row), [str(one) for one in row.get("images") or []]
    if not files and isinstance(row.get("image"), str):
        files = [row["image"]]
    if isinstance(row.get("caption"), str) and "messages" not in row:
        made["messages"] = [{"role": "user", "content": caption_prompt}, {"role": "assistant", "content": row["caption"]}]
    turns = [one for name in TURNS for one in made.get(name) or [] if isinstance(one, dict)]
    marks = sum(str(one.get("content") or "").count(MARK) for one in turns)
    if not marks and files:
        name = "messages" if "messages" in made else "prompt"
        made[name] = _before_first(made.get(name) or [], MARK * len(files) + "\n")
    elif marks != len(files):
        what = f"Row {index + 1} names {marks} pictures in its turns and {len(files)} files."
        raise DataError("bad_row", what, f"Write {MARK} once for each of its images.", fields={"row": index + 1})
    return made, files


def _before_first(turns: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    at = next((place for place, one in enumerate(turns) if one.get("role") == "user"), None)
    return [{**one, "content": text + str(one.get("content") or "")} if place == at else one for place, one in enumerate(turns)]


def joined(seen: Sequence[Seen], like: Tensor) -> dict[str, Tensor]:
    """The numbers of several pictures in one batch, on `like`'s device; smaller ones (fewer tiles) are filled up with zeros."""
    found = {}
    for name in seen[0].inputs if seen else ():
        parts = [one.inputs[name] for one in seen]
        shape = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
        whole = torch.cat([_filled(part, shape) for part in parts])
        found[name] = whole.to(like.device, like.dtype if whole.is_floating_point() else None)
    return found


def _filled(part: Tensor, shape: Sequence[int]) -> Tensor:
    missing = [size - mine for size, mine in zip(shape, part.shape[1:], strict=True)]
    return functional.pad(part, [side for one in reversed(missing) for side in (0, one)]) if any(missing) else part
