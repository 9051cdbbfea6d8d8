"""Tiny but structurally true video pipelines, made on the spot, and clips of shapes that move, with captions.

`tiny_pipeline(folder, kind)` writes a diffusers folder, `motion_rows(folder, n, seed)` n clips,
`pair_rows` n pairs.
"""

import random
from pathlib import Path

import diffusers
import numpy as np
import tiny_diffusion
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from kriptik.data import reel

SIDE, FRAMES, FPS = 32, 9, 8
WAYS = {"left": (-2, 0), "right": (2, 0), "up": (0, -2), "down": (0, 2)}


def tiny_pipeline(folder, kind="WanPipeline"):
    """Writes the folder; the same bytes for the same kind."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = MAKERS[kind]()
        for part in parts.values():
            if isinstance(part, torch.nn.Module):
                part.eval()
        getattr(diffusers, kind.partition("-")[0])(**parts).save_pretrained(folder)
    return Path(folder)


def wan_denoiser(**more):
    return diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, text_dim=32,
        freq_dim=32, ffn_dim=64, num_layers=2, **more,
    )


def wan_parts():
    vae = diffusers.AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.1] * 4, latents_std=[0.5] * 4,
    )
    tokenizer, _ = tiny_diffusion.t5()
    encoder = UMT5EncoderModel(UMT5Config(vocab_size=len(tokenizer), d_model=32, d_ff=64, d_kv=8, num_heads=4, num_layers=1))
    scheduler = diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    return {"vae": vae, "tokenizer": tokenizer, "text_encoder": encoder, "scheduler": scheduler}


def wan():
    return {**wan_parts(), "transformer": wan_denoiser()}


def wan_two():
    """Wan 2.2: two experts, of which the second takes over below the boundary."""
    return {**wan_parts(), "transformer": wan_denoiser(), "transformer_2": wan_denoiser(), "boundary_ratio": 0.7}


def wan_tokens():
    """Wan 2.2 of 5 billion weights: it is told the time of each token."""
    return {**wan_parts(), "transformer": wan_denoiser(), "expand_timesteps": True}


def ltx():
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=16, cross_attention_dim=32, num_layers=2,
        caption_channels=32,
    )
    vae = diffusers.AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1), spatio_temporal_scaling=(True, True), decoder_spatio_temporal_scaling=(True, True),
        decoder_inject_noise=(False,) * 3, upsample_residual=(False,) * 2, upsample_factor=(1, 1),
        down_block_types=("LTXVideoDownBlock3D",) * 2, downsample_type=("conv",) * 2, patch_size=4,
    )
    tokenizer, encoder = tiny_diffusion.t5()
    scheduler = tiny_diffusion.flow(
        use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024, max_image_seq_len=4096,
    )
    return {"vae": vae, "tokenizer": tokenizer, "text_encoder": encoder, "transformer": transformer, "scheduler": scheduler}


def cogvideox(rotary=True):
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, time_embed_dim=16, text_embed_dim=32,
        num_layers=2, sample_width=4, sample_height=4, sample_frames=FRAMES, max_text_seq_length=16,
        use_rotary_positional_embeddings=rotary,
    )
    vae = diffusers.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=4, sample_height=SIDE,
        sample_width=SIDE,
    )
    tokenizer, encoder = tiny_diffusion.t5()
    scheduler = diffusers.CogVideoXDDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, snr_shift_scale=1.0, timestep_spacing="trailing",
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", set_alpha_to_one=True, clip_sample=False,
    )
    return {"vae": vae, "tokenizer": tokenizer, "text_encoder": encoder, "transformer": transformer, "scheduler": scheduler}


def words():
    """A tokenizer in which the words of the pipeline's own template, and of captions here, are tokens, about as in a real one."""
    from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE

    pieces = Regex(r"<\|\w+\|>| ?\w+|[^\w\s]|\s")
    split = pre_tokenizers.Split(pieces, "isolated")
    known = [one for one, _ in split.pre_tokenize_str(DEFAULT_PROMPT_TEMPLATE["template"])]
    known += ["a", *(f" {one}" for one in (*tiny_diffusion.COLOURS, *tiny_diffusion.SHAPES, *WAYS, "moves"))]
    tokenizer = Tokenizer(models.WordLevel({one: n for n, one in enumerate(dict.fromkeys(["<pad>", "<unk>", *known]))}, "<unk>"))
    tokenizer.pre_tokenizer = split
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", model_max_length=512)


def hunyuan():
    transformer = diffusers.HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=1, num_single_layers=1,
        num_refiner_layers=1, mlp_ratio=2.0, patch_size=2, patch_size_t=1, text_embed_dim=32, pooled_projection_dim=32,
        rope_axes_dim=(4, 6, 6),
    )
    vae = diffusers.AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, mid_block_add_attention=False,
    )
    tokenizer = words()
    encoder = LlamaModel(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512,
    ))  # fmt: skip
    clip = tiny_diffusion.clip(positions=77)
    return {
        "vae": vae, "text_encoder": encoder, "tokenizer": tokenizer, "text_encoder_2": clip,
        "tokenizer_2": tiny_diffusion.clip_tokenizer(), "transformer": transformer, "scheduler": tiny_diffusion.flow(shift=7.0),
    }


MAKERS = {
    "WanPipeline": wan,
    "WanPipeline-two": wan_two,
    "WanPipeline-tokens": wan_tokens,
    "LTXPipeline": ltx,
    "CogVideoXPipeline": cogvideox,
    "CogVideoXPipeline-plain": lambda: cogvideox(rotary=False),
    "HunyuanVideoPipeline": hunyuan,
}


def moving(colour, shape, way, frames=FRAMES, side=SIDE, begin=(0, 0)):
    """[side, side, 3] per frame: a shape that goes its way and comes in again on the other side."""
    still = np.asarray(tiny_diffusion.draw(colour, shape, (side, side)))
    across, down = WAYS[way]
    return [np.roll(still, (begin[1] + down * n, begin[0] + across * n), axis=(0, 1)) for n in range(frames)]


def motion_rows(folder, count, seed=0, side=SIDE):
    """Clips under `folder`/media and their rows."""
    (Path(folder) / "media").mkdir(parents=True, exist_ok=True)
    dice, rows = random.Random(seed), []
    for number in range(count):
        colour, shape, way = dice.choice(list(tiny_diffusion.COLOURS)), dice.choice(tiny_diffusion.SHAPES), dice.choice(list(WAYS))
        name = f"media/{seed}-{number}.mp4"
        begin = (dice.randint(-4, 4), dice.randint(-4, 4))
        (Path(folder) / name).write_bytes(reel.written(moving(colour, shape, way, side=side, begin=begin), FPS))
        rows.append({"video": name, "caption": f"a {colour} {shape} moves {way}"})
    return rows


def pair_rows(folder, count, seed=0):
    """Pairs: a clip, and the negative of one of its kind that is a little longer."""
    rows, dice = motion_rows(folder, count, seed), random.Random(seed)
    for number, row in enumerate(rows):
        colour, shape, _, way = row["caption"].split()[1:]
        begin = (dice.randint(-4, 4), dice.randint(-4, 4))
        frames = [255 - one for one in moving(colour, shape, way, FRAMES + 4, begin=begin)]
        name = f"media/{seed}-{number}-negative.mp4"
        (Path(folder) / name).write_bytes(reel.written(frames, FPS))
        rows[number] = {"chosen_video": row["video"], "rejected_video": name, "caption": row["caption"]}
    return rows
