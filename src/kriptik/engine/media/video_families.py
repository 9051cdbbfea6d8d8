"""Families of video models, as `families.py` has those of images; a sample is [rows, channels, frames, height, width]."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kriptik.engine.media.families import Family, Sizes, Text


@dataclass(frozen=True)
class VideoFamily(Family):
    """One kind of video model."""

    temporal: str = ""
    """The layers in which frames meet, as a regular expression: attention over all tokens of a clip. All others see one token, or
    one token and the text."""
    frames: int = 81
    fps: float = 16
    """What the pipeline makes where nobody says otherwise."""
    side: int = 640
    """The square of as many pixels as its usual frame."""
    multiple: int = 8
    """What height and width must be a multiple of, whatever the VAE makes of it."""
    more: Callable[[float], dict[str, Any]] = field(default=lambda fps: {})
    """(frames a second) → what else the pipeline is told of a sample."""


def grid(pipe: Any) -> tuple[int, int]:
    """Frames and pixels a side that become one of the latent."""
    if hasattr(pipe, "vae_temporal_compression_ratio"):
        return int(pipe.vae_temporal_compression_ratio), int(pipe.vae_spatial_compression_ratio)
    return int(pipe.vae_scale_factor_temporal), int(pipe.vae_scale_factor_spatial)


def _flat(sample: Tensor) -> Tensor:
    """[rows, channels, frames, height, width] → [rows, tokens, channels], frame by frame."""
    return sample.flatten(2).transpose(1, 2)


def _frames_first(sample: Tensor) -> Tensor:
    return sample.transpose(1, 2)


def _per_channel(pipe: Any, mean: Any, deviation: Any, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    like = next(pipe.vae.parameters())
    shift, spread = (torch.as_tensor(one).to(like).view(-1, 1, 1, 1) for one in (mean, deviation))
    return shift, scale / spread


def _wan_text(pipe: Any, caption: str, longest: int) -> Text:
    states, _ = pipe.encode_prompt(
        caption, do_classifier_free_guidance=False, max_sequence_length=longest, device=pipe.text_encoder.device
    )
    return {"states": states[0]}


def _wan_call(pipe: Any, sample: Tensor, sigmas: Tensor, text: Text, sizes: Sizes) -> dict[str, Any]:
    """The model of 5 billion weights is told the time of each token, since a first frame may be given to it clean."""
    times = sigmas * 1000
    if pipe.config.expand_timesteps:
        patch = pipe.transformer.config.patch_size
        tokens = sample[0, 0].numel() // (patch[0] * patch[1] * patch[2])
        times = times[:, None].expand(-1, tokens)
    return {"hidden_states": sample, "timestep": times, "encoder_hidden_states": text["states"], "return_dict": False}


def _wan_units(pipe: Any) -> tuple[Tensor, Tensor]:
    return _per_channel(pipe, pipe.vae.config.latents_mean, pipe.vae.config.latents_std)


def _ltx_text(pipe: Any, caption: str, longest: int) -> Text:
    states, mask, _, _ = pipe.encode_prompt(
        caption, do_classifier_free_guidance=False, max_sequence_length=longest, device=pipe.text_encoder.device
    )
    return {"states": states[0], "mask": mask[0].float()}


def _ltx_call(pipe: Any, sample: Tensor, sigmas: Tensor, text: Text, sizes: Sizes) -> dict[str, Any]:
    temporal, spatial = grid(pipe)
    frames, height, width = sample.shape[2:]
    return {
        "hidden_states": _flat(sample),
        "encoder_hidden_states": text["states"],
        "timestep": sigmas * 1000,
        "encoder_attention_mask": text["mask"],
        "num_frames": frames,
        "height": height,
        "width": width,
        "rope_interpolation_scale": (temporal / sizes[0][1], spatial, spatial),
        "return_dict": False,
    }


def _ltx_units(pipe: Any) -> tuple[Tensor, Tensor]:
    return _per_channel(pipe, pipe.vae.latents_mean, pipe.vae.latents_std, pipe.vae.config.scaling_factor)


def _cog_text(pipe: Any, caption: str, longest: int) -> Text:
    states, _ = pipe.encode_prompt(
        caption, do_classifier_free_guidance=False, max_sequence_length=longest, device=pipe.text_encoder.device
    )
    return {"states": states[0]}


def _cog_call(pipe: Any, sample: Tensor, steps: Tensor, text: Text, sizes: Sizes) -> dict[str, Any]:
    _, spatial = grid(pipe)
    frames, height, width = sample.shape[2:]
    turned = None
    if pipe.transformer.config.use_rotary_positional_embeddings:
        turned = pipe._prepare_rotary_positional_embeddings(height * spatial, width * spatial, frames, sample.device)
    return {
        "hidden_states": _frames_first(sample),
        "encoder_hidden_states": text["states"],
        "timestep": steps,
        "image_rotary_emb": turned,
        "return_dict": False,
    }


def _hunyuan_text(pipe: Any, caption: str, longest: int) -> Text:
    states, pooled, mask = pipe.encode_prompt(caption, device=pipe.text_encoder.device, max_sequence_length=longest)
    return {"states": states[0], "pooled": pooled[0], "mask": mask[0].float()}


def _hunyuan_call(pipe: Any, sample: Tensor, sigmas: Tensor, text: Text, sizes: Sizes) -> dict[str, Any]:
    """Distilled from guidance: it is taught at the strength 1, at which there was none."""
    return {
        "hidden_states": sample,
        "timestep": sigmas * 1000,
        "encoder_hidden_states": text["states"],
        "encoder_attention_mask": text["mask"],
        "pooled_projections": text["pooled"],
        "guidance": torch.full_like(sigmas, 1000.0),
        "return_dict": False,
    }


SELF = r"attn1\.(to_[qkv]|to_out\.0)"
FEED = r"net\.(0\.proj|2)"
WAN = (
    ("^", "diffusion_model."), ("attn1", "self_attn"), ("attn2", "cross_attn"), (r"to_([qkv])", r"\1"), (r"to_out\.0", "o"),
    (r"net\.(0|2)(\.proj)?", r"\1"),
)  # fmt: skip
"""The names of Wan's makers, which are ComfyUI's."""
VIDEO_FAMILIES: dict[str, VideoFamily] = {
    "WanPipeline": VideoFamily(
        "transformer", True, _wan_text, _wan_call,
        rf"(transformer(_2)?\.)?blocks\.\d+\.(attn[12]\.(to_[qkv]|to_out\.0)|ffn\.{FEED})",
        units=_wan_units, time_scale=1000, patch=2, longest=512, temporal=rf"(transformer(_2)?\.)?blocks\.\d+\.{SELF}",
        comfy=WAN,
    ),
    "LTXPipeline": VideoFamily(
        "transformer", True, _ltx_text, _ltx_call,
        rf"transformer_blocks\.\d+\.(attn[12]\.(to_[qkv]|to_out\.0)|ff\.{FEED})",
        _flat, units=_ltx_units, time_scale=1000, longest=128, temporal=rf"transformer_blocks\.\d+\.{SELF}",
        frames=161, fps=25, side=608, multiple=32, more=lambda fps: {"frame_rate": fps}, comfy=(("^", "diffusion_model."),),
    ),
    "CogVideoXPipeline": VideoFamily(
        "transformer", False, _cog_text, _cog_call, rf"transformer_blocks\.\d+\.({SELF}|ff\.{FEED})",
        _frames_first, units=lambda pipe: (0.0, pipe.vae_scaling_factor_image), time_scale=1000, patch=2, longest=226,
        temporal=rf"transformer_blocks\.\d+\.{SELF}", frames=49, fps=8, side=592,
    ),
    "HunyuanVideoPipeline": VideoFamily(
        "transformer", True, _hunyuan_text, _hunyuan_call,
        rf"transformer_blocks\.\d+\.(attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)|ff(_context)?\.{FEED})"
        r"|single_transformer_blocks\.\d+\.(attn\.to_[qkv]|proj_(mlp|out))",
        time_scale=1000, patch=2, longest=256,
        temporal=r"transformer_blocks\.\d+\.attn\.(to_[qkv]|to_out\.0)|single_transformer_blocks\.\d+\.attn\.to_[qkv]",
        frames=129, fps=24, side=960, multiple=16,
    ),
}  # fmt: skip
"""By the name of the library's pipeline class. Wan 2.1, and Wan 2.2 with one denoiser or two, are one entry."""
