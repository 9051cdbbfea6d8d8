"""A base held in 4 bits (NF4 with double quantisation) by bitsandbytes, and the plain weights that those bits stand for.

Source: Dettmers et al. 2023, "QLoRA: Efficient Finetuning of Quantized LLMs". Two traps of bitsandbytes 0.50 on processors with
AVX512-BF16 are shut here: a forward in eval mode packs the weights anew for a bf16 kernel and rounds their scales, after which
dequantising (DoRA's norms, a merge) gives noise, and training goes on through that kernel.
"""

import ctypes
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from kriptik.spec.errors import WorkerError

KIND, BLOCK = "nf4", 64


def options(dtype: torch.dtype, device: str) -> dict[str, Any]:
    """Keyword arguments of `from_pretrained`. Raises WorkerError where bitsandbytes is not installed."""
    from transformers import BitsAndBytesConfig
    from transformers.utils.import_utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise WorkerError("no_bitsandbytes", "A base in 4 bits needs bitsandbytes, which is not installed.", "Choose lora or dora.")
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=KIND, bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    return {"quantization_config": config, "device_map": {"": device}}


def settle(model: nn.Module) -> list[str]:
    """Keeps every quantised layer in the one layout that training, evaluation and merging agree on; returns their names.

    What is not quantised (embeddings, norms) leaves the file it was mapped from: one view would keep all of its pages in memory.
    What quantising freed goes back to the system, where the C library would keep it.
    """
    found = []
    for name, layer in layers(model):
        layer.support_avx512bf16_for_cpu = False
        found.append(name)
    for one in model.parameters():
        if one.is_floating_point() and one.device.type == "cpu":
            one.data = one.data.clone()
    with suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)
    return found


def layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The model's 4-bit layers by name."""
    from bitsandbytes.nn.modules import Linear4bit

    return ((name, one) for name, one in model.named_modules() if isinstance(one, Linear4bit))


@torch.no_grad()
def round_trip(model: nn.Module, names: list[str], device: str) -> None:
    """Every named weight of a plain model becomes what its 4 bits stand for: the very numbers a quantised base computes with."""
    from bitsandbytes import functional

    for name in names:
        weight: Any = model.get_submodule(name).weight
        bits, state = functional.quantize_4bit(
            weight.data.to(device).contiguous(), blocksize=BLOCK, compress_statistics=True, quant_type=KIND
        )
        weight.copy_(functional.dequantize_4bit(bits, state))
