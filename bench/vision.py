"""A small vision-language model on real pictures: taught in full, then given a new projector and taught as LLaVA is, in two stages.

`python bench/vision.py --out build/vision`. Pictures: scikit-learn's 1,797 handwritten digits; a fifth is held out. The base
(CLIP's vision tower, LLaVA's projector, Llama) is made here, knows nothing, and is taught by the product's own loop in full to say
which digit it sees. Then its projector is made anew, as where an encoder and a language model meet that have never met: alignment
trains the projector alone, LoRA then the language model, on both questions, the second of which the base never heard. This shows
mechanism, not quality: 32 pixels, two questions.

Measured by the library's own class on the saved model: share of held-out answers that are right, with Wilson's interval of 95 %,
and beside it the same answers when every question is asked about another picture.
"""

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIDE, PATCH = 32, 8
WHICH, LARGER = "Which digit is this ?", "Is it larger than four ?"
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ' : ' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<image>\n' }}{% else %}{{ part['text'] + ' ' }}"
    "{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT :' }}{% endif %}"
)
"""In the manner of LLaVA-1.5's: it does not write the end of an answer."""
WAYS = {
    "alignment": [("projector", 5e-3)],
    "lora": [("lora", 5e-3)],
    "alignment, then lora": [("projector", 5e-3), ("lora", 5e-3)],
}


def answer_of(question: str, label: int) -> str:
    """What is right."""
    return NAMES[label] if question == WHICH else "yes" if label > 4 else "no"


def pictures(folder: Path) -> None:
    """Every digit as a picture; rows of one and of both questions, a fifth of the pictures held out."""
    from sklearn.datasets import load_digits

    found = load_digits()
    (folder / "media").mkdir(parents=True, exist_ok=True)
    order = list(range(len(found.images)))
    random.Random(0).shuffle(order)
    for number in order:
        picture = Image.fromarray((found.images[number] * 15.9).astype("uint8")).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        picture.convert("RGB").save(folder / "media" / f"{number}.png")
    cut = len(order) // 5
    for questions, name in (((WHICH,), "which"), ((WHICH, LARGER), "both")):
        for part, numbers in (("held", order[:cut]), ("train", order[cut:])):
            rows = [_row(number, int(found.target[number]), question) for number in numbers for question in questions]
            (folder / f"{name}-{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _row(number: int, label: int, question: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": f"<image>\n{question}"}, {"role": "assistant", "content": answer_of(question, label)}]
    return {"messages": turns, "images": [f"media/{number}.png"], "label": label}


def untaught(out: Path, seed: int) -> None:
    """A LLaVA that knows nothing."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    words = sorted({*NAMES, *WHICH.split(), *LARGER.split(), "yes", "no", "USER", "ASSISTANT", ":"})
    known = Tokenizer(models.WordLevel({word: place for place, word in enumerate((*SPECIAL, *words))}, unk_token="<unk>"))
    known.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    known.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=known, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )
    size = {"height": SIDE, "width": SIDE}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size=size, crop_size=size, do_center_crop=False), tokenizer, patch_size=PATCH,
        vision_feature_select_strategy="default", chat_template=TEMPLATE, num_additional_image_tokens=1,
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4, image_size=SIDE, patch_size=PATCH,
            projection_dim=64,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=4, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0,
            initializer_range=0.1,
        ),
        image_token_index=SPECIAL.index("<image>"), image_seq_length=(SIDE // PATCH) ** 2,
    )
    torch.manual_seed(seed)
    LlavaForConditionalGeneration(config).save_pretrained(out)
    processor.save_pretrained(out)


def parted(base: Path, out: Path, seed: int) -> None:
    """The base with a projector that knows nothing: encoder and language model have never met."""
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    model: Any = LlavaForConditionalGeneration.from_pretrained(base)
    torch.manual_seed(seed)
    with torch.no_grad():
        for one in model.model.multi_modal_projector.parameters():
            one.normal_(std=0.05) if one.dim() == 2 else one.zero_()
    model.save_pretrained(out)
    AutoProcessor.from_pretrained(base).save_pretrained(out)


def job_in(folder: Path, run: Path, base: Path, rows: str, ways: list[tuple[str, float]], epochs: float, threads: int) -> Any:
    """One or two stages by the product's own loop."""
    from kriptik.spec.catalogue import Point
    from kriptik.spec.job import DataRef, LoraSettings, ModelRef, Stage, StageSettings, TrainJob

    stages = [
        Stage(
            index=index, name=adaptation, method=adaptation,
            point=Point(adaptation=adaptation, objective="causal_lm", strategy="single"),
            settings=StageSettings(
                epochs=epochs, micro_batch=2, accumulation=1, learning_rate=rate, max_seq_len=480, checkpoint_every_s=1e6,
                lora=LoraSettings(rank=16, alpha=32),
            ),
        )
        for index, (adaptation, rate) in enumerate(ways)
    ]
    paths = {"train_path": str(folder / f"{rows}-train.jsonl"), "eval_path": str(folder / f"{rows}-held.jsonl")}
    return TrainJob(
        job_id="bench", generation=1, run_dir=str(run), cache_dir=str(folder / "cache"), modality="vision_language", seed=3,
        threads=threads, capability="multimodal", base_model=ModelRef(id="digits", path=str(base)), stages=stages,
        data=DataRef(**paths, train_rows=1, eval_rows=1, sha256="0" * 64), probe=False,
    )


def answers(model: Path, folder: Path, question: str, files: list[str]) -> list[str]:
    """What a saved model says, by the library alone."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(model)
    speaker: Any = AutoModelForImageTextToText.from_pretrained(model).eval()
    parts = [{"type": "image"}, {"type": "text", "text": question}]
    text = processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
    said = []
    for start in range(0, len(files), 60):
        several = [Image.open(folder / one) for one in files[start : start + 60]]
        inputs = processor(images=several, text=[text] * len(several), return_tensors="pt")
        made = speaker.generate(**inputs, max_new_tokens=3, do_sample=False, pad_token_id=0)
        said += processor.batch_decode(made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [one.strip() for one in said]


def interval(right: int, count: int, z: float = 1.96) -> list[float]:
    """Wilson's, of 95 %."""
    share, near = right / count, z * z / count
    middle, half = share + near / 2, z * (share * (1 - share) / count + near / 4 / count) ** 0.5
    return [round((middle - half) / (1 + near), 3), round((middle + half) / (1 + near), 3)]


def measured(model: Path, folder: Path) -> dict[str, Any]:
    """Of each question: right answers about the picture, and about another one in its place."""
    held = [json.loads(line) for line in (folder / "which-held.jsonl").read_text().splitlines()]
    files = [row["images"][0] for row in held]
    found: dict[str, Any] = {}
    for question in (WHICH, LARGER):
        wanted = [answer_of(question, row["label"]) for row in held]
        for name, shown in (("picture", files), ("another picture", [*files[1:], files[0]])):
            right = sum(one == other for one, other in zip(answers(model, folder, question, shown), wanted, strict=True))
            found.setdefault(question, {})[name] = {"right": round(right / len(held), 3), "interval": interval(right, len(held))}
        found[question]["commonest answer"] = round(max(wanted.count(one) for one in set(wanted)) / len(held), 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/vision"))
    parser.add_argument("--base-epochs", type=float, default=30)
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    from kriptik.engine.train import train
    from kriptik.spec.events import Desired

    folder, figures = asked.out / "data", {}
    pictures(folder)

    def run(name: str, base: Path, rows: str, ways: list[tuple[str, float]], epochs: float) -> Path:
        began, said = time.perf_counter(), []
        train(job_in(folder, asked.out / name, base, rows, ways, epochs, asked.threads), said.append, lambda: Desired(version=1))
        took = time.perf_counter() - began
        result = asked.out / name / "result" / "model"
        losses = [body.loss for body in said if body.type == "eval"]
        figures[name] = {"seconds": round(took), "heldOutLoss": losses, **measured(result, folder)}
        print(json.dumps({name: figures[name]}, indent=1), flush=True)
        return result

    untaught(asked.out / "untaught", 0)
    base = run("base", asked.out / "untaught", "which", [("full", 2e-3)], asked.base_epochs)
    parted(base, asked.out / "parted", 1)
    figures["parted"] = measured(asked.out / "parted", folder)
    print(json.dumps({"parted": figures["parted"]}, indent=1), flush=True)
    for name, ways in WAYS.items():
        run(name, asked.out / "parted", "both", ways, asked.epochs)
    (asked.out / "vision.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
