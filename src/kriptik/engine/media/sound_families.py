"""Families of models that make sound out of noise, as `families.py` has those of images; a sample is [rows, channels, frames], or
[rows, channels, frames, bands] where spectrograms are made.

A row's sizes are the seconds at which its sound begins and ends.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import torch
from torch import Tensor

from kriptik.engine.media import mel
from kriptik.engine.media.families import UNET, Family, Sizes, Text


@dataclass(frozen=True)
class SoundFamily(Family):
    """One kind of sound model."""

    longest_s: Callable[[Any], float] = lambda pipe: 240.0
    """(pipeline) → seconds of the longest sound that is learnt."""
    filled: bool = False
    """Whether every latent is of the whole length, silence being what a sound leaves of it."""
    said: Callable[[str, dict[str, Any], float], str] = lambda caption, row, seconds: caption
    """(description, row, seconds) → what the model is told of a sound, as one text."""
    silent: Callable[[Any, Text], Text] = lambda pipe, told: told
    """(pipeline, states) → states of as many tokens that tell nothing, which guidance leads away from."""
    masked: bool = False
    """Whether it is told which states of a text are padding: texts of any lengths then meet in a micro-batch."""
    asks: str = "audio_duration"
    """The pipeline's name for the seconds of a sound."""
    dropout: float = 0.1
    """Share of the descriptions that the makers left out."""
    lean: float = 0.0
    """What the makers added to the logits of times drawn logit-normally: below 0, towards the clean sound."""
    sampler: str = ""
    """The library's class whose noise levels are those of cosine and sine of a quarter turn, over continuous times, at which v is
    predicted; empty: the folder's own."""
    rate: Callable[[Any], int] = lambda pipe: int(pipe.vae.config.sampling_rate)
    """(pipeline) → samples a second."""
    channels: Callable[[Any], int] = lambda pipe: int(pipe.vae.config.audio_channels)
    hop: Callable[[Any], int] = lambda pipe: int(pipe.vae.hop_length)
    """(pipeline) → samples per frame of the latent."""
    levelled: Callable[[Tensor], Tensor] = lambda samples: samples
    """A recording [channels, samples] as loud as the makers had it."""
    seen: Callable[[Any, Tensor], Tensor] = lambda pipe, samples: samples
    """(pipeline, [channels, samples]) → what its VAE takes of a sound."""
    parts: tuple[str, ...] = ()
    """Parts of the pipeline beside those that all families have: they work on a text, or on what was made."""
    mended: Callable[[Any], None] = lambda pipe: None
    """Makes a pipeline whole that the library loads but cannot use as its folder has it."""

    def samples_of(self, pipe: Any, seconds: float) -> int:
        """Samples of a sound, brought to whole frames of the latent."""
        hop = self.hop(pipe)
        return max(2, ceil(round(seconds * self.rate(pipe)) / hop)) * hop


def _stable_text(pipe: Any, caption: str, longest: int) -> Text:
    """Padding is zero already; an empty caption tells nothing."""
    states = pipe.encode_prompt(caption, pipe.text_encoder.device, False)[0]
    return {"states": states, "told": torch.ones(1)} if caption else _stable_silent(pipe, {"states": states})


def _stable_silent(pipe: Any, told: Text) -> Text:
    return {"states": torch.zeros_like(told["states"]), "told": torch.zeros(1)}


def _stable_call(pipe: Any, sample: Tensor, times: Tensor, text: Text, sizes: Sizes) -> dict[str, Any]:
    """Attended to are the caption, then begin and end; begin and end are also one token before the sound's.

    Where nothing is told, what is attended to is zero as a whole, begin and end with it, as the pipeline has it for guidance.
    """
    from diffusers.models.embeddings import get_1d_rotary_pos_embed

    begins, ends = ([one[place] for one in sizes] for place in (0, 1))
    where = next(pipe.projection_model.parameters()).device
    several = pipe.encode_duration(begins, ends, where, False, len(sizes))
    begin, end = (one.to(sample.device, sample.dtype) for one in several)
    attended = torch.cat([text["states"], begin, end], dim=1) * text["told"][:, :, None]
    turned = get_1d_rotary_pos_embed(pipe.rotary_embed_dim, sample.shape[2] + 1, use_real=True, repeat_interleave_real=False)
    return {
        "hidden_states": sample,
        "timestep": times,
        "encoder_hidden_states": attended,
        "global_hidden_states": torch.cat([begin, end], dim=2),
        "rotary_embedding": tuple(one.to(sample.device) for one in turned),
        "return_dict": False,
    }


def _stable_longest(pipe: Any) -> float:
    return float(pipe.transformer.config.sample_size * pipe.vae.hop_length / pipe.vae.config.sampling_rate)


def _ace_said(caption: str, row: dict[str, Any], seconds: float) -> str:
    """The seconds are among the words."""
    told = {"prompt": caption, "lyrics": str(row.get("lyrics") or ""), "audio_duration": round(seconds, 3)}
    return json.dumps(told, sort_keys=True)


def _ace_text(pipe: Any, said: str, longest: int) -> Text:
    """Lyrics, a voice to be like (of silence: none), then the description, one after another, as the denoiser sees them."""
    where, encoder = pipe.text_encoder.device, pipe.condition_encoder
    asked = pipe.encode_prompt(**json.loads(said), device=where, instruction=pipe._get_task_instruction("text2music"))
    like = encoder.silence_latent[:, : ceil(30 * pipe.latents_per_second)].to(where, asked[0].dtype)
    states, mask = encoder(*asked, like, torch.zeros(1, dtype=torch.long, device=where))
    return {"states": states[0][mask[0].bool()]}


def _ace_silent(pipe: Any, told: Text) -> Text:
    """A token of the model's own that stands for nothing, as often as there would be others."""
    nothing = pipe.condition_encoder.null_condition_emb[0].detach().to(told["states"])
    return {"states": nothing.expand_as(told["states"])}


def _ace_call(pipe: Any, sample: Tensor, sigmas: Tensor, text: Text, sizes: Sizes) -> dict[str, Any]:
    """What is to be made is told as silence under a mask that is 1 everywhere."""
    rows, _, frames = sample.shape
    like = {"device": sample.device, "dtype": sample.dtype, "batch_size": rows}
    silence, _ = pipe.prepare_src_latents(latent_length=frames, **like)
    mask = pipe._build_chunk_mask("text2music", frames, acoustic_dim=sample.shape[1], **like)
    return {
        "hidden_states": _frames_first(sample),
        "timestep": sigmas,
        "timestep_r": sigmas,
        "encoder_hidden_states": text["states"],
        "context_latents": torch.cat([silence, mask], dim=-1),
        "return_dict": False,
    }


def _ldm_text(pipe: Any, caption: str, longest: int) -> Text:
    """The second encoder's states with their mask, and those that the language model makes after what both encoders said."""
    states, mask, made = pipe.encode_prompt(caption, pipe.text_encoder.device, 1, False)
    return {"states": states[0], "mask": mask[0], "made": made[0]}


def _ldm_silent(pipe: Any, told: Text) -> Text:
    """An empty description, filled up to as many tokens, as the pipeline has it for guidance."""
    given = {"prompt_embeds": told["states"], "attention_mask": told["mask"], "generated_prompt_embeds": told["made"]}
    both = pipe.encode_prompt(None, pipe.text_encoder.device, 1, True, **{name: one[None] for name, one in given.items()})
    return {name: one[0] for name, one in zip(("states", "mask", "made"), both, strict=True)}


def _ldm_call(pipe: Any, sample: Tensor, steps: Tensor, text: Text, sizes: Sizes) -> dict[str, Any]:
    return {
        "sample": sample,
        "timestep": steps,
        "encoder_hidden_states": text["made"],
        "encoder_hidden_states_1": text["states"],
        "encoder_attention_mask_1": text["mask"],
        "return_dict": False,
    }


def _ldm_step(pipe: Any) -> int:
    """Samples per frame of the spectrogram."""
    return prod(pipe.vocoder.config.upsample_rates)


def _ldm_hop(pipe: Any) -> int:
    return _ldm_step(pipe) * int(pipe.vae_scale_factor)


def _ldm_seen(pipe: Any, samples: Tensor) -> Tensor:
    told = pipe.vocoder.config
    return mel.spectrogram(samples, told.sampling_rate, _ldm_step(pipe), told.model_in_dim)


def _ldm_longest(pipe: Any) -> float:
    return float(pipe.unet.config.sample_size * _ldm_hop(pipe) / pipe.vocoder.config.sampling_rate)


def _ldm_mended(pipe: Any) -> None:
    """Published folders name GPT-2 without its head, of which newer versions of transformers make no further states.

    Source: github.com/huggingface/diffusers/issues/12630.
    """
    from diffusers.models.transformers.transformer_2d import Transformer2DModel
    from transformers import GPT2LMHeadModel

    if not isinstance(pipe.language_model, GPT2LMHeadModel):
        whole = GPT2LMHeadModel(pipe.language_model.config)
        whole.transformer = pipe.language_model
        whole.tie_weights()
        pipe.register_modules(language_model=whole.eval())
    for one in pipe.unet.modules():
        if isinstance(one, Transformer2DModel):
            one.register_forward_pre_hook(_ldm_ordered, with_kwargs=True)


def _ldm_ordered(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Where activations are computed again, this UNet leaves out one argument of seven by position: masks then are others'."""
    if len(given) != 7:
        return None
    sample, states, _, _, options, mask, states_mask = given
    return (sample, states), {"cross_attention_kwargs": options, "attention_mask": mask, "encoder_attention_mask": states_mask}


def _frames_first(sample: Tensor) -> Tensor:
    return sample.transpose(1, 2)


SOUND_FAMILIES: dict[str, SoundFamily] = {
    "AceStepPipeline": SoundFamily(
        "transformer", True, _ace_text, _ace_call,
        r"layers\.\d+\.((self|cross)_attn\.(to_[qkv]|to_out\.0)|mlp\.(gate|up|down)_proj)", _frames_first,
        units=lambda pipe: (0.0, 1.0), said=_ace_said, silent=_ace_silent, dropout=0.15, lean=-0.4,
    ),
    "AudioLDM2Pipeline": SoundFamily(
        "unet", False, _ldm_text, _ldm_call, UNET, time_scale=1000, longest_s=_ldm_longest, filled=True, silent=_ldm_silent,
        masked=True, asks="audio_length_in_s", rate=lambda pipe: int(pipe.vocoder.config.sampling_rate), channels=lambda pipe: 1,
        hop=_ldm_hop, levelled=mel.levelled, seen=_ldm_seen, parts=("language_model", "vocoder"), mended=_ldm_mended,
    ),
    "StableAudioPipeline": SoundFamily(
        "transformer", False, _stable_text, _stable_call,
        r"transformer_blocks\.\d+\.(attn[12]\.(to_[qkv]|to_out\.0)|ff\.net\.(0\.proj|2))",
        units=lambda pipe: (0.0, 1.0), longest_s=_stable_longest, filled=True, silent=_stable_silent, asks="audio_end_in_s",
        sampler="CosineDPMSolverMultistepScheduler",
    ),
}  # fmt: skip
"""By the name of the library's pipeline class."""
