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
