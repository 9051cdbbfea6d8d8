"""Families of diffusion models: how each is told what to make, how its numbers are laid out, what it predicts. One entry each.

What a family shares with the others is not here: loading, caches, noise, samples, export (`diffusion.py`). A new family is one
entry in `FAMILIES` (of video: `video_families.py`) and the two functions it cannot share. The calls are those of the library's own
pipelines (diffusers 0.42).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from typing import Any

import torch
from torch import Tensor

Text = dict[str, Tensor]
"""What the text encoders say of one caption (without a batch) or of several."""
Sizes = list[list[int]]
"""Per row: original height and width, top and left of the crop, height and width that is trained on; of a clip its frames, its
frames a second, height and width."""


@dataclass(frozen=True)
class Family:
    """One kind of diffusion model."""

    part: str
    """Where the pipeline keeps the denoiser."""
    flow: bool
    """Velocity on a straight line between picture and noise; else noise (or v) over discrete steps."""
    text: Callable[[Any, str, int], Text]
    """(pipeline, caption, most tokens) → states."""
    call: Callable[[Any, Tensor, Tensor, Text, Sizes], dict[str, Any]]
    """(pipeline, sample, noise level or step, states, sizes) → arguments of the denoiser."""
    targets: str
    """The layers that 'all-linear' means: attention and feed-forward, as the ecosystem's adapters have them."""
    pack: Callable[[Tensor], Tensor] = lambda sample: sample
    """A sample as the denoiser gives it."""
    standard: Callable[[Any, Tensor], Tensor] | None = None
    """(pipeline, latent) → latent of about unit size; None: by `units`."""
    units: Callable[[Any], tuple[Any, Any]] = lambda pipe: (
        getattr(pipe.vae.config, "shift_factor", None) or 0.0, pipe.vae.config.scaling_factor,
    )
    """(shift, scale) of the VAE's numbers, so that (number − shift) · scale is of about unit size; numbers or [channels, 1, …]."""
    sign: float = 1.0
    time_scale: float = 1.0
    """The denoiser's time at pure noise."""
    time_reversed: bool = False
    """Whether its time runs from noise (0) to picture (1)."""
    patch: int = 1
    """Latent pixels per token and side."""
    inverts: bool = False
    """Whether a new word can be taught to it alone: all text encoders are of CLIP's kind."""
    longest: int = 77
    """Tokens of a caption at most."""
    kohya: bool = False
    """Whether adapters are also written with the key names of kohya's scripts, which other programs expect of this family."""
    comfy: tuple[tuple[str, str], ...] = ()
    """How ComfyUI's names of layers follow from the denoiser's own: (pattern, replacement), in order; none: they are not known."""


def _pack2(sample: Tensor) -> Tensor:
    """[rows, channels, height, width] → [rows, tokens, channels × 4]: squares of two by two, as FLUX and Qwen-Image have them."""
    rows, channels, height, width = sample.shape
    squares = sample.view(rows, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(rows, (height // 2) * (width // 2), channels * 4)


def _flat(sample: Tensor) -> Tensor:
    """[rows, channels, height, width] → [rows, tokens, channels]."""
    return sample.flatten(2).transpose(1, 2)


def _sd_text(pipe: Any, caption: str, longest: int) -> Text:
    states, _ = pipe.encode_prompt(caption, pipe.text_encoder.device, 1, False)
    return {"states": states[0]}


def _sd_call(pipe: Any, sample: Tensor, steps: Tensor, text: Text, sizes: Sizes) -> dict[str, Any]:
    told = {"encoder_hidden_states": text["states"]} if text else {}
    return {"sample": sample, "timestep": steps, "return_dict": False, **told}


def _sdxl_text(pipe: Any, caption: str, longest: int) -> Text:
    states, _, pooled, _ = pipe.encode_prompt(caption, None, pipe.text_encoder.device, 1, False)
    return {"states": states[0], "pooled": pooled[0]}


def _sdxl_call(pipe: Any, sample: Tensor, steps: Tensor, text: Text, sizes: Sizes) -> dict[str, Any]:
    told = {"text_embeds": text["pooled"]} if text else {}
    added = {"time_ids": torch.tensor(sizes, device=sample.device, dtype=sample.dtype), **told}
    return {**_sd_call(pipe, sample, steps, text, sizes), "added_cond_kwargs": added}


def _sd3_text(pipe: Any, caption: str, longest: int) -> Text:
    states, _, pooled, _ = pipe.encode_prompt(
        caption, None, None, pipe.text_encoder.device, 1, do_classifier_free_guidance=False, max_sequence_length=min(256, longest)
    )
    return {"states": states[0], "pooled": pooled[0]}


def _sd3_call(pipe: Any, sample: Tensor, sigmas: Tensor, text: Text, sizes: Sizes) -> dict[str, Any]:
    return {
        "hidden_states": sample,
        "timestep": sigmas * 1000,
        "encoder_hidden_states": text["states"],
        "pooled_projections": text["pooled"],
        "return_dict": False,
    }


def _flux_text(pipe: Any, caption: str, longest: int) -> Text:
    states, pooled, _ = pipe.encode_prompt(caption, None, pipe.text_encoder.device, 1, max_sequence_length=longest)
    return {"states": states[0], "pooled": pooled[0]}


def _flux_call(pipe: Any, sample: Tensor, sigmas: Tensor, text: Text, sizes: Sizes) -> dict[str, Any]:
    height, width = sample.shape[2] // 2, sample.shape[3] // 2
    guided = pipe.transformer.config.guidance_embeds
    return {
        "hidden_states": _pack2(sample),
        "timestep": sigmas,
        "guidance": torch.full_like(sigmas, 1.0) if guided else None,
        "pooled_projections": text["pooled"],
        "encoder_hidden_states": text["states"],
        "txt_ids": torch.zeros(text["states"].shape[1], 3, device=sample.device, dtype=sample.dtype),
        "img_ids": pipe._prepare_latent_image_ids(len(sample), height, width, sample.device, sample.dtype),
        "return_dict": False,
    }


def _flux2_text(pipe: Any, caption: str, longest: int) -> Text:
    states, _ = pipe.encode_prompt(caption, pipe.text_encoder.device, 1, max_sequence_length=longest)
    return {"states": states[0]}


def _flux2_standard(pipe: Any, latent: Tensor) -> Tensor:
    folded = pipe._patchify_latents(latent[None])
    norm = pipe.vae.bn
    deviation = torch.sqrt(norm.running_var.view(1, -1, 1, 1) + pipe.vae.config.batch_norm_eps)
    return ((folded - norm.running_mean.view(1, -1, 1, 1)) / deviation)[0]


def _flux2_call(pipe: Any, sample: Tensor, sigmas: Tensor, text: Text, sizes: Sizes) -> dict[str, Any]:
    return {
        "hidden_states": _flat(sample),
        "timestep": sigmas,
        "guidance": None,
        "encoder_hidden_states": text["states"],
        "txt_ids": pipe._prepare_text_ids(text["states"]).to(sample.device),
        "img_ids": pipe._prepare_latent_ids(sample).to(sample.device),
        "return_dict": False,
    }


def _qwen_text(pipe: Any, caption: str, longest: int) -> Text:
    states, mask = pipe.encode_prompt(caption, pipe.text_encoder.device, 1, max_sequence_length=longest)
    return {"states": states[0], "mask": torch.ones(states.shape[1]) if mask is None else mask[0].float()}


def _qwen_standard(pipe: Any, latent: Tensor) -> Tensor:
    """The VAE is that of a video model: [channels, 1, height, width] → [channels, height, width]."""
    mean, deviation = (
        torch.tensor(getattr(pipe.vae.config, name), device=latent.device, dtype=latent.dtype).view(-1, 1, 1)
        for name in ("latents_mean", "latents_std")
    )
    return (latent[:, 0] - mean) / deviation


def _qwen_call(pipe: Any, sample: Tensor, sigmas: Tensor, text: Text, sizes: Sizes) -> dict[str, Any]:
    shape = (1, sample.shape[2] // 2, sample.shape[3] // 2)
    return {
        "hidden_states": _pack2(sample),
        "timestep": sigmas,
        "encoder_hidden_states": text["states"],
        "encoder_hidden_states_mask": text["mask"].bool(),
        "img_shapes": [[shape]] * len(sample),
        "return_dict": False,
    }


def _z_text(pipe: Any, caption: str, longest: int) -> Text:
    states, _ = pipe.encode_prompt([caption], pipe.text_encoder.device, False, max_sequence_length=longest)
    return {"states": states[0], "mask": torch.ones(len(states[0]))}


def _z_call(pipe: Any, sample: Tensor, sigmas: Tensor, text: Text, sizes: Sizes) -> dict[str, Any]:
    """Lists, a time that runs the other way, captions of their own lengths."""
    told = [states[mask.bool()] for states, mask in zip(text["states"], text["mask"], strict=True)]
    return {"x": list(sample.unsqueeze(2).unbind(0)), "t": 1 - sigmas, "cap_feats": told, "return_dict": False}


WITHIN = (("^", "transformer."),)
"""ComfyUI takes the names of diffusers, as its `model_lora_keys_unet` maps them."""
UNET = r".*attentions\.\d+\.transformer_blocks\.\d+\.(attn[12]\.(to_[qkv]|to_out\.0)|ff\.net\.(0\.proj|2))"
BLOCKS = r".*blocks\.\d+\.(attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)|ff(_context)?\.net\.(0\.proj|2)|proj_(mlp|out))"
FAMILIES: dict[str, Family] = {
    "StableDiffusionPipeline": Family("unet", False, _sd_text, _sd_call, UNET, time_scale=1000, inverts=True, kohya=True),
    "StableDiffusionXLPipeline": Family("unet", False, _sdxl_text, _sdxl_call, UNET, time_scale=1000, inverts=True, kohya=True),
    "StableDiffusion3Pipeline": Family(
        "transformer", True, _sd3_text, _sd3_call, BLOCKS, time_scale=1000, patch=2, longest=256, comfy=WITHIN,
    ),
    "FluxPipeline": Family("transformer", True, _flux_text, _flux_call, BLOCKS, _pack2, patch=2, longest=512, comfy=WITHIN),
    "Flux2KleinPipeline": Family(
        "transformer", True, _flux2_text, _flux2_call,
        r"transformer_blocks\.\d+\.(attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)|ff(_context)?\.linear_(in|out))"
        r"|single_transformer_blocks\.\d+\.attn\.(to_qkv_mlp_proj|to_out)",
        _flat, _flux2_standard, patch=2, longest=512, comfy=WITHIN,
    ),
    "QwenImagePipeline": Family(
        "transformer", True, _qwen_text, _qwen_call,
        r".*blocks\.\d+\.(attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)|(img|txt)_mlp\.net\.(0\.proj|2))",
        _pack2, _qwen_standard, patch=2, longest=512, comfy=WITHIN,
    ),
    "ZImagePipeline": Family(
        "transformer", True, _z_text, _z_call,
        r"(layers|noise_refiner|context_refiner)\.\d+\.(attention\.(to_[qkv]|to_out\.0)|feed_forward\.w[123])",
        sign=-1.0, time_reversed=True, patch=2, longest=512, comfy=WITHIN,
    ),
}
"""By the name of the library's pipeline class, as `model_index.json` has it."""


def shifted(config: Any, times: Tensor, tokens: int) -> Tensor:
    """Times as the family's sampler would have them: drawn towards noise by a fixed shift, or by one that grows with the picture.

    Source: Esser et al. 2024, "Scaling Rectified Flow Transformers", section 5.3.2; the scheduler's own numbers.
    """
    if config.get("use_flow_sigmas"):
        shift = float(config.get("flow_shift", 1.0))
    elif config.get("use_dynamic_shifting"):
        low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
        least, most = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
        shift = exp(least + (most - least) * (tokens - low) / (high - low))
    else:
        shift = float(config.get("shift", 1.0))
    return shift * times / (1 + (shift - 1) * times)
