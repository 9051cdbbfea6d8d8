"""Tiny but structurally true pipelines of Stable Audio, ACE-Step and AudioLDM 2, made on the spot; recordings are those of
`tiny_sound`.

`tiny_pipeline(folder, family)` writes a folder as the makers' own are: that of Stable Audio with the sampler that needs a package
which may not be there, that of AudioLDM 2 with a language model without its head.
"""

import json
from pathlib import Path

import diffusers
import numpy as np
import soundfile
import tiny_sound
import torch
from diffusers.pipelines.ace_step import AceStepConditionEncoder
from diffusers.pipelines.audioldm2 import AudioLDM2ProjectionModel, AudioLDM2UNet2DConditionModel
from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioProjectionModel
from tiny_diffusion import LETTERS, ddim, flow, qwen3, qwen_tokenizer, t5
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen3Model,
    RobertaTokenizer,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
)

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
        parts = {"vae": vae(), **MAKERS[family]()} if family != "AudioLDM2Pipeline" else MAKERS[family]()
        for part in parts.values():
            if isinstance(part, torch.nn.Module):
                part.eval()
        getattr(diffusers, family)(**parts).save_pretrained(folder)
    if family in NAMED:
        _as_the_makers(folder, *NAMED[family])
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


def audioldm2():
    """12 frames of 4 bands, 0.48 seconds at 16 kHz; each layer attends to itself, to GPT-2's states and to T5's."""
    tokenizer, encoder = t5()
    language = GPT2Config(
        vocab_size=16, n_embd=24, n_layer=1, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0, max_new_tokens=4
    )
    unet = AudioLDM2UNet2DConditionModel(
        sample_size=FRAMES // 2, in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
        attention_head_dim=4, cross_attention_dim=([None, 24, 32], [None, 24, 32]),
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
    )
    vae = diffusers.AutoencoderKL(
        in_channels=1, out_channels=1, latent_channels=4, block_out_channels=(8, 8, 8), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, scaling_factor=6.0,
    )
    vocoder = SpeechT5HifiGan(SpeechT5HifiGanConfig(
        model_in_dim=16, sampling_rate=16_000, upsample_initial_channel=16, upsample_rates=[10, 16], upsample_kernel_sizes=[20, 32],
        resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]], normalize_before=False,
    ))  # fmt: skip
    with torch.no_grad():  # latents say what was heard, the denoiser hears its text, the vocoder can be heard
        vae.quant_conv.bias[4:] = -8.0
        for name, one in unet.named_parameters():
            if "attn2.to_v" in name or "attn2.to_out.0.weight" in name:
                one.mul_(6)
        unet.conv_out.weight.mul_(4)
        for name, one in vocoder.named_parameters():
            if name.endswith("weight"):
                one.mul_(12)
    return {
        "vae": vae, "text_encoder": clap(), "tokenizer": roberta(), "text_encoder_2": encoder, "tokenizer_2": tokenizer,
        "projection_model": AudioLDM2ProjectionModel(16, 32, 24), "language_model": GPT2LMHeadModel(language), "unet": unet,
        "feature_extractor": ClapFeatureExtractor(), "vocoder": vocoder, "scheduler": ddim(),
    }


def clap():
    shared = {"projection_dim": 16, "num_hidden_layers": 1}
    text = ClapTextConfig(
        vocab_size=len(roberta()), hidden_size=16, intermediate_size=32, num_attention_heads=2, max_position_embeddings=40, **shared
    )
    sound = ClapAudioConfig(
        spec_size=8, window_size=4, num_mel_bins=8, depths=[1, 1], num_attention_heads=[1, 1], patch_size=2, patch_stride=2,
        patch_embeds_hidden_size=8, hidden_size=16, patch_embed_input_channels=4, **shared,
    )
    return ClapModel(ClapConfig(text_config=text.to_dict(), audio_config=sound.to_dict(), projection_dim=16))


def roberta():
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *LETTERS]
    return RobertaTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=32)


MAKERS = {"AceStepPipeline": ace_step, "AudioLDM2Pipeline": audioldm2, "StableAudioPipeline": stable_audio}
NAMED = {
    "AudioLDM2Pipeline": ("language_model", ["transformers", "GPT2Model"]),
    "StableAudioPipeline": ("scheduler", ["diffusers", SAMPLER]),
}
"""What the makers' folders name otherwise than what is made here: (part, class)."""


def _as_the_makers(folder, part, named):
    """Names the makers' class; the sampler of Stable Audio cannot be made here."""
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), part: named}, indent=2))
    if part != "scheduler":
        return
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
    """By the library's own class; where the folder names a class that cannot be used here, with one that can."""
    index, given = json.loads((Path(folder) / "model_index.json").read_text()), {}
    stable = index["_class_name"] == "StableAudioPipeline"
    if stable:
        given["scheduler"] = None
    elif index.get("language_model") == NAMED["AudioLDM2Pipeline"][1]:
        given["language_model"] = GPT2LMHeadModel.from_pretrained(Path(folder) / "language_model")
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, **given)
    if stable:
        pipe.register_modules(scheduler=solver(Path(folder), SAMPLER))
    pipe.set_progress_bar_config(disable=True)
    return pipe
