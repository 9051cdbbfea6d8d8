"""A merged model's folder → one GGUF file, by gguf-py's writer, tensor names and quantisers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors import safe_open

from kriptik.catalogue.gguf import GgufFamily, PreTokenizer, gguf_facts
from kriptik.spec.errors import WorkerError
from kriptik.spec.export import GgufType

QUANTS = {
    "f32": gguf.GGMLQuantizationType.F32, "bf16": gguf.GGMLQuantizationType.BF16,
    "f16": gguf.GGMLQuantizationType.F16, "q8_0": gguf.GGMLQuantizationType.Q8_0,
}  # fmt: skip
FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32, "bf16": gguf.LlamaFileType.MOSTLY_BF16,
    "f16": gguf.LlamaFileType.MOSTLY_F16, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}  # fmt: skip
Numbers = np.ndarray[Any, Any]


def family_of(config: Any) -> GgufFamily:
    """The family of a model's configuration. Raises WorkerError for one that this export does not know."""
    found = gguf_facts().families.get(config.model_type)
    if found is None:
        known = ", ".join(gguf_facts().families)
        raise WorkerError(
            "gguf_not_known", f"A {config.model_type} model cannot be written as GGUF yet (known: {known}).", "Export it merged."
        )
    return found


def pre_tokenizer_of(tokenizer: Any) -> str:
    """GGUF's name for how this tokenizer splits text. Raises WorkerError where there is none."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    whole = json.loads(backend.to_str()) if backend is not None else {}
    step = whole.get("pre_tokenizer") or {}
    steps = step.get("pretokenizers", []) if step.get("type") == "Sequence" else [step]
    split, digits, byte_level = None, False, None
    for one in steps:
        match one.get("type"):
            case "Digits":
                digits = bool(one.get("individual_digits"))
            case "Split":
                split = one["pattern"].get("Regex") if one.get("behavior") == "Isolated" and not one.get("invert") else ""
            case "ByteLevel":
                byte_level = one
            case _:
                byte_level = None
                break
    own = byte_level is not None and byte_level.get("use_regex", True)
    plain = byte_level is not None and not byte_level.get("add_prefix_space")
    if plain and own == (split is None) and whole.get("model", {}).get("type") == "BPE":
        for name, known in gguf_facts().pre_tokenizers.items():
            if (known.split, known.digits) == (split, digits) and known.whole == bool(whole["model"].get("ignore_merges")):
                return name
    raise WorkerError(
        "gguf_not_known", "GGUF has no name for the way this model's tokenizer splits text.", "Export it merged."
    )


def write_gguf(folder: Path, tokenizer: Any, config: Any, path: Path, kind: GgufType, name: str, *, begins: bool) -> None:
    """Writes the model in `folder` (safetensors) to `path`. `begins`: its template begins with the BOS token.

    Matrices are of `kind` (a row that q8_0's blocks of 32 do not divide stays f16), vectors f32. Raises WorkerError.
    """
    family = family_of(config)
    writer = gguf.GGUFWriter(path, family.arch, use_temp_file=False)
    try:
        _describe(writer, config, kind, name)
        _vocabulary(writer, folder, tokenizer, config, begins=begins)
        map_ = gguf.get_tensor_name_map(_arch(family.arch), config.num_hidden_layers)
        for tensor_name, tensor in _tensors(folder):
            if tensor_name == "lm_head.weight" and config.tie_word_embeddings:
                continue
            known = map_.get_name(tensor_name, try_suffixes=(".weight", ".bias"))
            if known is None:
                raise WorkerError("gguf_not_known", f"GGUF has no place for the tensor {tensor_name}.", "Export it merged.")
            numbers = tensor.float().numpy()
            if family.interleaved:
                numbers = _interleaved(tensor_name, numbers, config)
            _add(writer, known, numbers, kind)
        if (factors := _rope_factors(config)) is not None:
            writer.add_tensor("rope_freqs.weight", factors)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _describe(writer: gguf.GGUFWriter, config: Any, kind: GgufType, name: str) -> None:
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    rope = dict(getattr(config, "rope_parameters", None) or {})
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(FILE_TYPES[kind])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10_000.0)))
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))


def _rope_factors(config: Any) -> Numbers | None:
    """llama3's scaled positions: by what each frequency is divided. Raises WorkerError for a scaling GGUF is not given here.

    Source: the `llama3` rope function of transformers; the factor of a frequency is its plain value over its scaled one.
    """
    rope = dict(getattr(config, "rope_parameters", None) or {})
    kind = rope.get("rope_type", "default")
    if kind in ("default", "linear"):
        return None
    if kind != "llama3":
        raise WorkerError("gguf_not_known", f"Positions scaled by '{kind}' cannot be written as GGUF yet.", "Export it merged.")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 1.0 / (float(rope["rope_theta"]) ** (torch.arange(0, head_dim, 2).float() / head_dim))
    return (plain / scaled).numpy().astype(np.float32)


def _vocabulary(writer: gguf.GGUFWriter, folder: Path, tokenizer: Any, config: Any, *, begins: bool) -> None:
    pre = pre_tokenizer_of(tokenizer)
    added = tokenizer.added_tokens_decoder
    tokens: list[str] = []
    types: list[gguf.TokenType] = []
    for number, text in enumerate(tokenizer.convert_ids_to_tokens(list(range(min(len(tokenizer), config.vocab_size))))):
        kind = gguf.TokenType.NORMAL
        if number in added:
            kind = gguf.TokenType.CONTROL if added[number].special else gguf.TokenType.USER_DEFINED
        elif text is None:
            kind = gguf.TokenType.UNUSED
        tokens.append(text if text is not None else f"[PAD{number}]")
        types.append(kind)
    for number in range(len(tokens), config.vocab_size):
        tokens.append(f"[PAD{number}]")
        types.append(gguf.TokenType.UNUSED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    special = gguf.SpecialVocab(folder, load_merges=True, n_vocab=config.vocab_size)
    # What training saw decides, not the folder's defaults: nothing is put before or behind a text but what its template writes.
    special.add_special_token = {"bos": begins, "eos": False}
    special.chat_template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None
    if tokenizer.eos_token_id is not None:  # the mark that training taught to end with
        special.special_token_ids["eos"] = tokenizer.eos_token_id
    special.add_to_gguf(writer, quiet=True)


def _tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (not a dict)
                yield name, opened.get_tensor(name)


def _add(writer: gguf.GGUFWriter, name: str, numbers: Numbers, kind: GgufType) -> None:
    quant = QUANTS[kind] if numbers.ndim > 1 else QUANTS["f32"]
    if quant == QUANTS["q8_0"] and numbers.shape[-1] % 32:
        quant = QUANTS["f16"]
    writer.add_tensor(name, gguf.quants.quantize(numbers, quant), raw_dtype=quant)


def _interleaved(name: str, numbers: Numbers, config: Any) -> Numbers:
    """q and k with the halves of each head's rows interleaved, as GGUF's llama family turns them; others as they are."""
    if ".q_proj." in name:
        heads = config.num_attention_heads
    elif ".k_proj." in name:
        heads = config.num_key_value_heads
    else:
        return numbers
    shape = (heads, 2, numbers.shape[0] // heads // 2, *numbers.shape[1:])
    return numbers.reshape(shape).swapaxes(1, 2).reshape(numbers.shape)


def _arch(name: str) -> gguf.MODEL_ARCH:
    return next(arch for arch, known in gguf.MODEL_ARCH_NAMES.items() if known == name)


def splits(pre: str) -> PreTokenizer:
    """What a pre-tokenizer's name stands for."""
    return gguf_facts().pre_tokenizers[pre]
