"""Tiny but structurally true diffusion pipelines, made on the spot, and pictures of coloured shapes with captions.

`tiny_pipeline(folder, family)` writes a diffusers folder of under a million weights, `shape_rows(folder, n, seed)` n pictures,
`pair_rows` n pairs; `tiny_clip(folder)` a model that sees and reads.
"""

import random
from pathlib import Path

import diffusers
import torch
from PIL import Image, ImageDraw, ImageOps
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230), "gold": (230, 190, 30)}
SHAPES = ("square", "disc")
SIDE = 16
LETTERS = "abcdefghijklmnopqrstuvwxyz"
CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


def tiny_pipeline(folder, family="FluxPipeline"):
    """Writes the folder; the same bytes for the same family."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = MAKERS[family]()
        for part in parts.values():
            if isinstance(part, torch.nn.Module):
                part.eval()
        options = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        more = options if family == "StableDiffusionPipeline" else {}
        getattr(diffusers, family)(**parts, **more).save_pretrained(folder)
    return Path(folder)


def clip_tokenizer():
    words = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{one}</w>" for one in LETTERS)]
    return CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=24)


def clip(kind=CLIPTextModel, hidden=32, positions=24):
    config = CLIPTextConfig(
        vocab_size=len(clip_tokenizer()), hidden_size=hidden, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=positions, projection_dim=hidden, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )
    return kind(config)


def tiny_clip(folder):
    """Writes a whole CLIP with its tokenizer and its way of looking at pictures."""
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
        "patch_size": 8, "projection_dim": 16,
    }
    config = CLIPConfig(text_config=clip().config.to_dict(), vision_config=vision, projection_dim=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        CLIPModel(config).save_pretrained(folder)
    clip_tokenizer().save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return Path(folder)


def t5():
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((one, -3.0) for one in LETTERS)]
    tokenizer = T5Tokenizer(vocab=words, extra_ids=0, model_max_length=24)
    config = T5Config(vocab_size=len(tokenizer), d_model=32, d_ff=64, d_kv=8, num_heads=4, num_layers=1)
    return tokenizer, T5EncoderModel(config)


def qwen_tokenizer():
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    words = [*bytes_to_unicode().values(), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Qwen2Tokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=512)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    return tokenizer


def kl(channels=4, shift=None):
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1, latent_channels=channels, norm_num_groups=4, sample_size=SIDE, scaling_factor=2.0, shift_factor=shift,
    )


def sd():
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIDE // 2, block_out_channels=(16, 32), layers_per_block=1, cross_attention_dim=32, norm_num_groups=8,
        attention_head_dim=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    with torch.no_grad():  # else a random denoiser hardly hears its text, and there is nothing that a word could change
        for name, one in unet.named_parameters():
            if "attn2.to_v" in name or "attn2.to_out.0.weight" in name:
                one.mul_(6)
    return {
        "vae": kl(), "text_encoder": clip(), "tokenizer": clip_tokenizer(), "unet": unet, "scheduler": ddim(),
    }


def sdxl():
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIDE // 2, block_out_channels=(16, 32), layers_per_block=1, cross_attention_dim=64, norm_num_groups=8,
        attention_head_dim=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * 6 + 32, use_linear_projection=True,
    )
    return {
        "vae": kl(), "text_encoder": clip(), "tokenizer": clip_tokenizer(), "unet": unet, "scheduler": ddim(),
        "text_encoder_2": clip(CLIPTextModelWithProjection), "tokenizer_2": clip_tokenizer(),
    }


def ddim():
    return diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )


def flow(**options):
    return diffusers.FlowMatchEulerDiscreteScheduler(**options)


def flux():
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, guidance_embeds=True, axes_dims_rope=(4, 4, 8),
    )
    tokenizer, encoder = t5()
    return {
        "vae": kl(4, 0.1), "text_encoder": clip(), "tokenizer": clip_tokenizer(), "text_encoder_2": encoder,
        "tokenizer_2": tokenizer, "transformer": transformer, "scheduler": flow(use_dynamic_shifting=True),
    }


def sd3():
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=SIDE // 2, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=64, caption_projection_dim=32, pooled_projection_dim=64, pos_embed_max_size=16,
    )
    tokenizer, encoder = t5()
    encoder.config.d_model = 32
    encoder = T5EncoderModel(T5Config(**{**encoder.config.to_dict(), "d_model": 64}))
    return {
        "vae": kl(4, 0.1), "transformer": transformer, "scheduler": flow(shift=3.0),
        "text_encoder": clip(CLIPTextModelWithProjection), "tokenizer": clip_tokenizer(),
        "text_encoder_2": clip(CLIPTextModelWithProjection), "tokenizer_2": clip_tokenizer(),
        "text_encoder_3": encoder, "tokenizer_3": tokenizer,
    }


def qwen3(model, layers):
    config = Qwen3Config(
        vocab_size=len(qwen_tokenizer()), hidden_size=32, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=1024,
    )
    return model(config)


def flux2():
    transformer = diffusers.Flux2Transformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=96, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )
    vae = diffusers.AutoencoderKLFlux2(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=SIDE,
    )
    return {
        "vae": vae, "text_encoder": qwen3(Qwen3ForCausalLM, 30), "tokenizer": qwen_tokenizer(), "transformer": transformer,
        "scheduler": flow(use_dynamic_shifting=True),
    }


def z_image():
    transformer = diffusers.ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=4, dim=64, n_layers=2, n_refiner_layers=1, n_heads=4, n_kv_heads=4,
        cap_feat_dim=32, axes_dims=[8, 4, 4], axes_lens=[256, 32, 32],
    )
    with torch.no_grad():
        for name, one in transformer.named_parameters():
            if "pad_token" in name:
                one.zero_()
    return {
        "vae": kl(4, 0.1), "text_encoder": qwen3(Qwen3Model, 3), "tokenizer": qwen_tokenizer(), "transformer": transformer,
        "scheduler": flow(shift=3.0),
    }


def qwen_image():
    transformer = diffusers.QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, axes_dims_rope=(8, 4, 4),
    )
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 1], num_res_blocks=1, temperal_downsample=[False],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )
    text = {
        "vocab_size": len(qwen_tokenizer()), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
    }
    vision = {
        "depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32, "patch_size": 14,
        "fullatt_block_indexes": [0],
    }
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    return {
        "vae": vae, "text_encoder": Qwen2_5_VLForConditionalGeneration(config), "tokenizer": qwen_tokenizer(),
        "transformer": transformer, "scheduler": flow(use_dynamic_shifting=True),
    }


MAKERS = {
    "StableDiffusionPipeline": sd,
    "StableDiffusionXLPipeline": sdxl,
    "StableDiffusion3Pipeline": sd3,
    "FluxPipeline": flux,
    "Flux2KleinPipeline": flux2,
    "QwenImagePipeline": qwen_image,
    "ZImagePipeline": z_image,
}


def draw(colour, shape, size=(SIDE, SIDE), shift=0):
    """One shape on a light ground."""
    picture = Image.new("RGB", size, (235, 235, 225))
    pen = ImageDraw.Draw(picture)
    wide, high = size
    box = (wide // 4 + shift, high // 4, 3 * wide // 4 + shift, 3 * high // 4)
    (pen.rectangle if shape == "square" else pen.ellipse)(box, fill=COLOURS[colour])
    return picture


def shape_rows(folder, count, seed=0, captions=True, only=None):
    """Pictures under `folder`/media and their rows; three sizes, so that there are buckets. `only`: one (colour, shape)."""
    media = Path(folder) / "media"
    media.mkdir(parents=True, exist_ok=True)
    dice, rows = random.Random(seed), []
    for number in range(count):
        colour, shape = only or (dice.choice(list(COLOURS)), dice.choice(SHAPES))
        size = dice.choice([(SIDE, SIDE), (24, 24), (SIDE, 2 * SIDE)])
        name = f"media/{seed}-{number}.png"
        draw(colour, shape, size, dice.randint(-2, 2)).save(Path(folder) / name)
        rows.append({"image": name, **({"caption": f"a {colour} {shape}"} if captions else {})})
    return rows


def pair_rows(folder, count, seed=0):
    """Pairs: a picture, and the negative of another of its kind, at times in another size."""
    rows, dice = shape_rows(folder, count, seed), random.Random(seed)
    for number, row in enumerate(rows):
        colour, shape = row["caption"].split()[1:]
        name = f"media/{seed}-{number}-negative.png"
        size = dice.choice([(SIDE, SIDE), (24, 24)])
        ImageOps.invert(draw(colour, shape, size, dice.randint(-2, 2))).save(Path(folder) / name)
        rows[number] = {"chosen_image": row["image"], "rejected_image": name, "caption": row["caption"]}
    return rows
