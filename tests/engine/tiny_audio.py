"""Tiny but structurally true pipelines of Stable Audio and ACE-Step, made on the spot; recordings are those of `tiny_sound`.

`tiny_pipeline(folder, family)` writes a folder; that of Stable Audio as the makers' own is, with the sampler that needs a package
which may not be there.
"""

import json
from pathlib import Path

import diffusers
import numpy as np
import soundfile
import tiny_sound
import torch
from diffusers.pipelines.ace_step import AceStepConditionEncoder
from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioProjectionModel
from tiny_diffusion import flow, qwen3, qwen_tokenizer, t5
from transformers import Qwen3Model

from kriptik.engine.media.cosine_solver import SHARED, USUAL, CosineSolver, solver

RATE = 4000
HOP = 80
FRAMES = 24
"""Of every latent of Stable Audio: 0.48 seconds."""
SAMPLER = "CosineDPMSolverMultistepScheduler"


def vae(channels=8):
    """Oobleck in stereo. Its latents say what was heard: of a random one the noise would be larger than the means."""
    model = diffusers.AutoencoderOobleck(
        encoder_hidden_size=2 * channels, downsampling_ratios=[2, 4, 10], channel_multiples=[1, 1, 2], decoder_channels=8,
        decoder_input_channels=channels, audio_channels=2, sampling_rate=RATE,
    )
    with torch.no_grad():
        model.encoder.conv2.bias[channels:] = -4.0
        model.encoder.conv2.weight_g[:channels] *= 4
    return model


def tiny_pipeline(folder, family="StableAudioPipeline"):
    """Writes the folder; the same bytes for the same family."""
    folder = Path(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = MAKERS[family]()
        for part in parts.values():
            if isinstance(part, torch.nn.Module):
                part.eval()
        getattr(diffusers, family)(vae=vae().eval(), **parts).save_pretrained(folder)
    if family == "StableAudioPipeline":
        _as_the_makers(folder)
    return folder


def stable_audio():
    tokenizer, encoder = t5()
    transformer = diffusers.StableAudioDiTModel(
        sample_size=FRAMES, in_channels=8, out_channels=8, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        num_key_value_attention_heads=1, cross_attention_dim=32, cross_attention_input_dim=32, time_proj_dim=16,
        global_states_input_dim=64,
    )
    with torch.no_grad():  # else a random denoiser hardly hears its text
        for name, one in transformer.named_parameters():
            if "attn2.to_v" in name or "attn2.to_out.0" in name or "cross_attention_proj" in name:
                one.mul_(3)
    return {
        "text_encoder": encoder, "tokenizer": tokenizer, "transformer": transformer, "scheduler": CosineSolver(**USUAL),
        "projection_model": StableAudioProjectionModel(text_encoder_dim=32, conditioning_dim=32, min_value=0, max_value=512),
    }


def ace_step():
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
    transformer = diffusers.AceStepTransformer1DModel(
        **sizes, num_hidden_layers=2, in_channels=24, audio_acoustic_hidden_dim=8, sliding_window=8, model_version="base",
    )
    encoder = AceStepConditionEncoder(
        **sizes, text_hidden_dim=32, timbre_hidden_dim=8, num_lyric_encoder_hidden_layers=1, num_timbre_encoder_hidden_layers=1,
        sliding_window=8,
    )
    encoder.silence_latent.normal_()
    return {
        "text_encoder": qwen3(Qwen3Model, 2), "tokenizer": qwen_tokenizer(), "transformer": transformer,
        "condition_encoder": encoder, "scheduler": flow(num_train_timesteps=1),
    }


MAKERS = {"AceStepPipeline": ace_step, "StableAudioPipeline": stable_audio}


def _as_the_makers(folder):
    """Names the library's own sampler, which cannot be made here."""
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "scheduler": ["diffusers", SAMPLER]}, indent=2))
    file = folder / "scheduler" / "scheduler_config.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({"_class_name": SAMPLER, **{name: told[name] for name in SHARED}}, indent=2))


def pair_rows(folder, count, seed=0):
    """Pairs: a tone, and hiss that is louder than it. Of less different ones a random encoder hears too little."""
    rows = tiny_sound.pair_rows(folder, count, seed)
    for number, row in enumerate(rows):
        hiss = np.random.default_rng(seed * 1000 + number).standard_normal(round(0.6 * RATE))
        soundfile.write(Path(folder) / row["rejected_audio"], (0.4 * hiss).clip(-1, 1), RATE)
    return rows


def library_pipeline(folder):
    """By the library's own class; that of Stable Audio is told of a sampler that needs no further package."""
    stable = json.loads((Path(folder) / "model_index.json").read_text())["_class_name"] == "StableAudioPipeline"
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, **({"scheduler": None} if stable else {}))
    if stable:
        pipe.register_modules(scheduler=solver(Path(folder), SAMPLER))
    pipe.set_progress_bar_config(disable=True)
    return pipe
