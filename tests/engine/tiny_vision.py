"""A tiny LLaVA: CLIP's vision tower, LLaVA's projector, Llama, LLaVA's own processor; questions about pictures it can learn."""

import random
from pathlib import Path

import tiny
import tiny_diffusion
import torch
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

SIDE, PATCH = 32, 8
PLACES = (SIDE // PATCH) ** 2
IMAGE = "<image>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<image>\n' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{{ '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tiny_processor(template=TEMPLATE):
    """LLaVA's own, for pictures of 32 × 32 in patches of 8."""
    tokenizer = tiny.tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": [tiny.START, IMAGE]})
    tokenizer.chat_template = None
    size = {"height": SIDE, "width": SIDE}
    images = CLIPImageProcessorPil(size=size, crop_size=size, do_center_crop=False)
    return LlavaProcessor(
        images, tokenizer, patch_size=PATCH, vision_feature_select_strategy="default", chat_template=template,
        num_additional_image_tokens=1,
    )


def tiny_llava(folder, *, seed=0, template=TEMPLATE, hidden=64):
    """Writes model and processor: about 0.2 million weights, the same bytes for the same arguments."""
    folder, processor = Path(folder), tiny_processor(template)
    tokenizer = processor.tokenizer
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=hidden * 2, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, initializer_range=0.1, attention_dropout=0.0,
    )
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, image_size=SIDE, patch_size=PATCH,
        projection_dim=32, initializer_range=0.1,
    )
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids(IMAGE), image_seq_length=PLACES,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
        for name, one in model.named_parameters():  # as wide as the words are: a projector of usual width would whisper
            if "multi_modal_projector" in name and one.dim() == 2:
                torch.nn.init.normal_(one, std=0.3)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def question_rows(folder, count, seed=0):
    """Pictures under `folder`/media, and what shape in what colour each shows."""
    rows, dice = [], random.Random(seed)
    for number, row in enumerate(tiny_diffusion.shape_rows(folder, count, seed)):
        asked = dice.choice(["What is this?", "Say what you see."])
        messages = [{"role": "user", "content": f"<image>\n{asked}"}, {"role": "assistant", "content": row["caption"]}]
        if number % 3 == 0:
            messages.insert(0, {"role": "system", "content": "Be brief."})
        rows.append({"messages": messages, "images": [row["image"]]})
    return rows


def preference_rows(folder, count, seed=0):
    """Pairs about a picture: what it shows is better than the same spelt backwards."""
    rows = []
    for row in question_rows(folder, count, seed):
        *prompt, answer = row["messages"]
        worse = " ".join(word[::-1] for word in answer["content"].split())
        pair = {"chosen": [answer], "rejected": [{"role": "assistant", "content": worse}]}
        rows.append({"prompt": prompt, **pair, "images": row["images"]})
    return rows


def picture():
    """One that no row has."""
    return Image.linear_gradient("L").resize((40, 24)).convert("RGB")


def _text(tokenizer, **changes):
    return {
        "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024, "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "initializer_range": 0.1, **changes,
    }


def _saved(model_class, config, processor, folder):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model_class(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return Path(folder)


def tiny_llava_next(folder):
    """LLaVA-NeXT: a picture as a whole and in tiles, as its shape asks."""
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration, LlavaNextProcessor
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    tokenizer = tiny_processor().tokenizer
    grid = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, image_grid_pinpoints=grid
    )
    processor = LlavaNextProcessor(
        images, tokenizer, patch_size=PATCH, vision_feature_select_strategy="default", chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, image_size=SIDE, patch_size=PATCH,
        projection_dim=32,
    )
    config = LlavaNextConfig(
        vision_config=vision, text_config=LlamaConfig(**_text(tokenizer)), image_grid_pinpoints=grid, image_seq_length=PLACES,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
    )
    return _saved(LlavaNextForConditionalGeneration, config, processor, folder)


def _qwen_tokenizer():
    tokenizer = tiny.tiny_tokenizer()
    marks = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [tiny.START, *marks]})
    tokenizer.chat_template = None
    return tokenizer


def _tiny_qwen(folder, config_class, vision, model_class, processor_class, patch=14, mrope=(), **sizes):
    from transformers import Qwen2VLVideoProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tokenizer = _qwen_tokenizer()
    size = {"shortest_edge": (2 * patch) ** 2, "longest_edge": (4 * patch) ** 2}
    template = TEMPLATE.replace("<image>\n", "<|vision_start|><|image_pad|><|vision_end|>")
    processor = processor_class(
        Qwen2VLImageProcessorPil(patch_size=patch, size=size), tokenizer, Qwen2VLVideoProcessor(patch_size=patch),
        chat_template=template,
    )
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3], **dict(mrope)}
    config = config_class(
        text_config=_text(tokenizer, rope_parameters=rope, **sizes), vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    )
    return _saved(model_class, config, processor, folder)


def tiny_qwen2_vl(folder):
    """Qwen2-VL: as many tokens as a picture has patches, in a plane."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor

    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14}
    return _tiny_qwen(folder, Qwen2VLConfig, vision, Qwen2VLForConditionalGeneration, Qwen2VLProcessor)


def tiny_qwen2_5_vl(folder):
    """Qwen2.5-VL: with attention in windows."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

    vision = {"depth": 2, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 64, "num_heads": 2, "patch_size": 14,
              "fullatt_block_indexes": [1], "window_size": 28}  # fmt: skip
    return _tiny_qwen(folder, Qwen2_5_VLConfig, vision, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor)


def tiny_qwen3_vl(folder):
    """Qwen3-VL: what several layers of the encoder see goes into several layers of the language model."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

    vision = {"depth": 3, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 64, "num_heads": 2, "patch_size": 16,
              "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}  # fmt: skip
    return _tiny_qwen(
        folder, Qwen3VLConfig, vision, Qwen3VLForConditionalGeneration, Qwen3VLProcessor, patch=16,
        mrope={"mrope_interleaved": True}, head_dim=16,
    )


def tiny_internvl(folder):
    """InternVL: LLaVA's parts around an encoder of its own, a picture in tiles."""
    from transformers import (
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
        Qwen2Config,
    )
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    tokenizer = tiny.tiny_tokenizer()
    marks = {
        "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>", "video_token": "<video>",
    }
    tokenizer.add_special_tokens({"additional_special_tokens": [tiny.START, *marks.values()]})
    tokenizer._set_model_specific_special_tokens(marks)
    tokenizer.chat_template = None
    size = {"height": SIDE, "width": SIDE}
    processor = InternVLProcessor(
        GotOcr2ImageProcessorPil(size=size, min_patches=1, max_patches=3), tokenizer, InternVLVideoProcessor(size=size),
        image_seq_length=4, chat_template=TEMPLATE.replace("<image>", "<IMG_CONTEXT>"),
    )
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": [SIDE, SIDE],
        "patch_size": [PATCH, PATCH],
    }
    config = InternVLConfig(
        vision_config=vision, text_config=Qwen2Config(**_text(tokenizer)), image_seq_length=4,
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
    )
    return _saved(InternVLForConditionalGeneration, config, processor, folder)


def _tiny_idefics(folder, config_class, model_class, processor):
    tokenizer = processor.tokenizer
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32,
              "patch_size": 8}  # fmt: skip
    config = config_class(
        vision_config=vision, text_config=LlamaConfig(**_text(tokenizer)), scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE), pad_token_id=tokenizer.pad_token_id,
    )
    return _saved(model_class, config, processor, folder)


def _idefics_tokenizer():
    tokenizer = tiny.tiny_tokenizer()
    places = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    marks = [tiny.START, IMAGE, "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *places]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.chat_template = None
    return tokenizer


def tiny_idefics3(folder):
    """Idefics3: a picture in tiles with their places told in words."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    images = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    processor = Idefics3Processor(images, _idefics_tokenizer(), image_seq_len=4, chat_template=TEMPLATE.replace("<image>\n", IMAGE))
    return _tiny_idefics(folder, Idefics3Config, Idefics3ForConditionalGeneration, processor)


def tiny_smolvlm(folder):
    """SmolVLM: as Idefics3, with a processor that also takes videos."""
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMProcessor, SmolVLMVideoProcessor
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    images = SmolVLMImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    processor = SmolVLMProcessor(
        images, _idefics_tokenizer(), SmolVLMVideoProcessor(), image_seq_len=4, chat_template=TEMPLATE.replace("<image>\n", IMAGE)
    )
    return _tiny_idefics(folder, SmolVLMConfig, SmolVLMForConditionalGeneration, processor)


FAMILIES = {
    "llava": (tiny_llava, False), "llava_next": (tiny_llava_next, False), "idefics3": (tiny_idefics3, False),
    "qwen2_vl": (tiny_qwen2_vl, True), "qwen2_5_vl": (tiny_qwen2_5_vl, True), "qwen3_vl": (tiny_qwen3_vl, True),
    "internvl": (tiny_internvl, True), "smolvlm": (tiny_smolvlm, True),
}  # fmt: skip
"""By `model_type`: who writes a tiny one, and whether its processor needs torchvision."""


def tiny_llava_siglip(folder):
    """LLaVA around other parts: SigLIP, which has no class token and gives its last layer, and Qwen2."""
    from transformers import Qwen2Config, SiglipVisionConfig
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    tokenizer = tiny_processor().tokenizer
    processor = LlavaProcessor(
        SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}), tokenizer, patch_size=PATCH,
        vision_feature_select_strategy="full", chat_template=TEMPLATE, num_additional_image_tokens=0,
    )
    vision = SiglipVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=SIDE, patch_size=PATCH,
        vision_use_head=False,
    )
    config = LlavaConfig(
        vision_config=vision, text_config=Qwen2Config(**_text(tokenizer)), image_seq_length=PLACES, vision_feature_layer=-1,
        vision_feature_select_strategy="full", image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
    )
    return _saved(LlavaForConditionalGeneration, config, processor, folder)


OTHERS = {"llava with SigLIP and Qwen2": (tiny_llava_siglip, False)}
"""The same families around other encoders and language models."""
