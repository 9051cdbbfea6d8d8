"""Whisper out of CTranslate2's file, as transformers reads it. Nothing is lost: the weights lie there in half precision.

The format (version 6, little-endian): u32 version, the name of the kind, u32 revision, u32 count; per variable its name, u8 rank,
u32 per dimension, u8 type, u32 bytes, data; then aliases. A name is u16 length and as many bytes, the last of them zero. Source:
CTranslate2, `python/ctranslate2/specs/model_spec.py`.
"""

import json
import struct
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from kriptik.spec.errors import WorkerError

VERSION, KIND, HALF = 6, "WhisperSpec", 4
INTEGERS = {1: torch.int8, 2: torch.int16, 3: torch.int32, HALF: torch.float16}
"""CTranslate2's numbers of the types that occur."""
BLOCKS = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
    "ffn/layer_norm": ("final_layer_norm",),
}
"""Parts of a layer: several of transformers' lie in one, one below the other."""
REST = {
    "encoder/conv1": "encoder.conv1", "encoder/conv2": "encoder.conv2", "encoder/layer_norm": "encoder.layer_norm",
    "decoder/layer_norm": "decoder.layer_norm", "decoder/embeddings": "decoder.embed_tokens",
    "encoder/position_encodings": "encoder.embed_positions", "decoder/position_encodings": "decoder.embed_positions",
}  # fmt: skip
LEAVES = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "encodings": "weight"}
FIRST_LANGUAGE, TASKS = 50258, {"translate": 50357, "transcribe": 50358}
START, END, NO_TIMES, NO_SPEECH = "<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>", "<|nocaptions|>"


def variables(file: Path) -> dict[str, Tensor]:
    """Names → numbers as they lie there. Raises WorkerError for another format or version, and for weights that are quantised."""
    with file.open("rb") as handle:
        version, kind = _number(handle, "I"), _name(handle)
        if (version, kind) != (VERSION, KIND):
            what = f"{file.name} holds {kind[:40]!r} of version {version}; {KIND} of version {VERSION} can be read."
            raise WorkerError("model_not_loadable", what, "Install another version of the package.")
        _number(handle, "I")
        found = dict(_variable(handle) for _ in range(_number(handle, "I")))
    if any(one.dim() > 1 and one.dtype != torch.float16 for one in found.values()):
        raise WorkerError("model_not_loadable", f"{file.name} holds quantised weights.", "Install another version of the package.")
    return found


def named(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under transformers' names."""
    state: dict[str, Tensor] = {}
    for name, one in found.items():
        place, _, leaf = name.rpartition("/")
        if leaf not in LEAVES or one.dtype != torch.float16:
            continue
        side, _, inner = place.partition("/")
        layer, _, block = inner.partition("/")
        if not layer.startswith("layer_") or layer == "layer_norm":
            state[f"model.{REST[place]}.{LEAVES[leaf]}"] = one
            continue
        parts = BLOCKS[block]
        home = f"model.{side}.layers.{layer.removeprefix('layer_')}"
        for part, piece in zip(parts, one.chunk(len(parts)), strict=True):
            if not (part.endswith("k_proj") and leaf == "bias"):  # the model has none there: it is zero
                state[f"{home}.{part}.{LEAVES[leaf]}"] = piece
    return state


def write_whisper(file: Path, part: Path) -> None:
    """A folder of Hugging Face's form from `file` and the config.json and tokenizer.json beside it; fp32."""
    from transformers import GenerationConfig, PreTrainedTokenizerFast, WhisperFeatureExtractor, WhisperForConditionalGeneration

    found = variables(file)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(file.parent / "tokenizer.json"), eos_token=END, pad_token=END)
    told = json.loads((file.parent / "config.json").read_text(encoding="utf-8"))
    model = WhisperForConditionalGeneration(_config(found, tokenizer))
    model.load_state_dict({**named(found), "proj_out.weight": found["decoder/embeddings/weight"]}, strict=True)
    start, end = (int(tokenizer.convert_tokens_to_ids(one)) for one in (START, END))  # type: ignore[arg-type]
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start, bos_token_id=end, eos_token_id=end, pad_token_id=end,
        max_length=model.config.max_target_positions,
        suppress_tokens=told["suppress_ids"], begin_suppress_tokens=told["suppress_ids_begin"],
        is_multilingual=False, no_timestamps_token_id=tokenizer.convert_tokens_to_ids(NO_TIMES), return_timestamps=False,
        alignment_heads=told["alignment_heads"],
    )  # fmt: skip
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    WhisperFeatureExtractor().save_pretrained(part)


def _config(found: dict[str, Tensor], tokenizer: Any) -> Any:
    """The sizes, out of the weights' shapes."""
    from transformers import WhisperConfig

    words, width = found["decoder/embeddings/weight"].shape
    start, end = (int(tokenizer.convert_tokens_to_ids(one)) for one in (START, END))
    sides: dict[str, int] = {}
    for side in ("encoder", "decoder"):
        layers = {name.split("/")[1] for name in found if name.startswith(f"{side}/layer_") and "layer_norm/" not in name[:20]}
        sides |= {f"{side}_layers": len(layers), f"{side}_attention_heads": int(found[f"{side}/num_heads"]),
                  f"{side}_ffn_dim": len(found[f"{side}/layer_0/ffn/linear_0/bias"])}
    return WhisperConfig(
        vocab_size=words, d_model=width, num_mel_bins=found["encoder/conv1/weight"].shape[1], **sides,
        max_source_positions=len(found["encoder/position_encodings/encodings"]),
        max_target_positions=len(found["decoder/position_encodings/encodings"]),
        decoder_start_token_id=start, bos_token_id=end, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip


def _variable(handle: IO[bytes]) -> tuple[str, Tensor]:
    name = _name(handle)
    shape = [_number(handle, "I") for _ in range(_number(handle, "B"))]
    kind, size = _number(handle, "B"), _number(handle, "I")
    data = handle.read(size)
    if kind not in INTEGERS or len(data) != size:
        raise WorkerError("model_not_loadable", f"{name} is of a type that is not read.", "Install another version of the package.")
    return name, torch.frombuffer(bytearray(data), dtype=INTEGERS[kind]).reshape(shape)


def _name(handle: IO[bytes]) -> str:
    return handle.read(_number(handle, "H")).rstrip(b"\0").decode()


def _number(handle: IO[bytes], code: str) -> int:
    return struct.unpack(f"<{code}", handle.read(struct.calcsize(f"<{code}")))[0]
