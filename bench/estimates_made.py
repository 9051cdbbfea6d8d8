"""What the runs of `estimates.py` train on: `python bench/estimates_made.py HOME MODEL ROWS` puts both there, each once.

Models lie in the server's own cache under HOME, where it looks for what a hub would give. SmolLM2-135M and MiniLM are real, out of
packages. The others have the architecture, the size and the precision of the models that they are named after, and random weights:
no hub can be reached where this was made, and neither time nor memory of an update hangs on what a weight is. Of random weights
no answer ends by itself, so that their samples take as long as they may. The cache must be of no further use: keep HOME apart.
Rows are real questions and answers of a package, in two languages, put together by the seeds below.
"""

import io
import json
import random
import shutil
import sys
import zipfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from estimates_grid import BGE, MINILM, QWEN2, QWEN3, ROWS, SD, SMOL, SMOL_360

Row = dict[str, Any]
FAQ = ("faq-en", "faq")
"""English and Swedish."""
TURNS = {"short-talks": 1, "talks": 4, "long-talks": 10}
TEXTS_OF = 3
"""Questions with their answers in a row of prose."""
SIDE = 128
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230), "gold": (230, 190, 30)}
SHAPES = ("square", "disc")


def model_in(home: Path, name: str) -> Path:
    """The model's folder in the cache of the server on `home`."""
    kept = home / "cache" / "models" / name.replace("/", "--")
    if (kept / "kriptik.json").is_file():
        return kept
    if name in (SMOL, MINILM):
        return _packaged(home, name)
    part = kept.with_name(f".{kept.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    MAKERS[name](home, name, part)
    from kriptik.engine.base import weights_sha256

    facts = {"id": name, "source": "random weights of this architecture", "sha256": weights_sha256(part)}
    (part / "kriptik.json").write_text(json.dumps(facts))
    part.rename(kept)
    return kept


def _packaged(home: Path, name: str) -> Path:
    """Real weights, by the product's own way."""
    from measure import job_of

    from kriptik.engine.base import find_base
    from kriptik.spec.job import ModelRef

    job = job_of(home, "lora", "causal_lm")
    return find_base(job.model_copy(update={"cache_dir": str(home / "cache"), "base_model": ModelRef(id=name)})).folder


def _language(home: Path, name: str, folder: Path) -> None:
    """A causal model as the catalogue describes it, with SmolLM2's tokenizer."""
    import torch
    import transformers

    from kriptik.catalogue.load import load_catalogue

    entry = load_catalogue().models[name]
    arch = entry.arch
    kind = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}[str(entry.trainable_family)]
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_in(home, SMOL))
    sizes = {
        "hidden_size": arch.hidden, "num_hidden_layers": arch.layers, "num_attention_heads": arch.heads,
        "num_key_value_heads": arch.kv_heads, "intermediate_size": arch.intermediate, "vocab_size": arch.vocab,
        "tie_word_embeddings": arch.tied, "max_position_embeddings": arch.context, "head_dim": arch.head_dim,
    }  # fmt: skip
    marks = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**sizes, **marks)
    getattr(transformers, f"{kind}ForCausalLM")(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _encoder(home: Path, _name: str, folder: Path) -> None:
    """BGE small: twice MiniLM's layers of the same width, its tokenizer, its pooling."""
    import torch
    from transformers import AutoModel, BertConfig, BertModel

    real = model_in(home, MINILM)
    shutil.copytree(real, folder, dirs_exist_ok=True)
    for file in ("model.safetensors", "config.json", "kriptik.json"):
        (folder / file).unlink(missing_ok=True)
    torch.manual_seed(0)
    config: Any = AutoModel.from_pretrained(real).config
    BertModel(BertConfig(**{**config.to_dict(), "num_hidden_layers": 12})).save_pretrained(folder)


def _diffusion(_home: Path, _name: str, folder: Path) -> None:
    """Stable Diffusion 1.5: its three networks as published; a tokenizer of letters."""
    import diffusers
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{one}</w>" for one in letters)]
    tokenizer = CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=77)
    text = CLIPTextConfig(
        vocab_size=49_408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        projection_dim=768, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    unet = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4, sample_size=512,
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )
    diffusers.StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    ).to(torch.bfloat16).save_pretrained(folder)  # fmt: skip


Maker = Callable[[Path, str, Path], None]
MAKERS: dict[str, Maker] = {SMOL_360: _language, QWEN2: _language, QWEN3: _language, BGE: _encoder, SD: _diffusion}


def rows_in(home: Path, kind: str) -> Path:
    """The file of rows of that kind under `home`."""
    file = home / "rows" / f"{kind}.{'zip' if kind == 'pictures' else 'jsonl'}"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}")
        part.write_bytes(_pictures(ROWS[kind]) if kind == "pictures" else _lines(WRITERS[kind](ROWS[kind], random.Random(7), kind)))
        part.rename(file)
    return file


def _lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _faq() -> list[tuple[str, str]]:
    """Questions and answers, a question asked twice once."""
    found: dict[str, str] = {}
    for name in FAQ:
        text = resources.files("zaragoza_construction_faq").joinpath(f"data/{name}.jsonl").read_text(encoding="utf-8")
        for row in map(json.loads, text.splitlines()):
            found.setdefault(str(row["q"]), str(row["a"]))
    return list(found.items())


def _shuffled(answer: str, dice: random.Random) -> str:
    """The same words in another order: what nobody would prefer."""
    words = answer.split()
    dice.shuffle(words)
    return " ".join(words)


def _talks(count: int, dice: random.Random, kind: str) -> list[Row]:
    turns, faq = TURNS[kind], _faq()
    dice.shuffle(faq)
    count = min(count, len(faq) // turns)
    parts = [faq[at * turns : (at + 1) * turns] for at in range(count)]
    return [{"messages": [_turn(side, text) for pair in part for side, text in enumerate(pair)]} for part in parts]


def _turn(side: int, text: str) -> dict[str, str]:
    return {"role": ("user", "assistant")[side], "content": text}


def _prose(count: int, dice: random.Random, _kind: str) -> list[Row]:
    faq = _faq()
    dice.shuffle(faq)
    parts = [faq[at * TEXTS_OF : (at + 1) * TEXTS_OF] for at in range(min(count, len(faq) // TEXTS_OF))]
    return [{"text": "\n\n".join(f"{question}\n{answer}" for question, answer in part)} for part in parts]


def _preferences(count: int, dice: random.Random, _kind: str) -> list[Row]:
    return [{"prompt": q, "chosen": a, "rejected": _shuffled(a, dice)} for q, a in _faq()[:count]]


def _feedback(count: int, dice: random.Random, _kind: str) -> list[Row]:
    found = enumerate(_faq()[:count])
    return [{"prompt": q, "completion": a if at % 2 else _shuffled(a, dice), "label": bool(at % 2)} for at, (q, a) in found]


def _checked(count: int, dice: random.Random, _kind: str) -> list[Row]:
    """Sums that a small model gets right now and then; right is an answer that holds the number."""
    sums = [(one, other) for one in range(1, 21) for other in range(1, 11)]
    dice.shuffle(sums)
    return [{"prompt": f"What is {a} + {b}?", "pattern": rf"(?<!\d){a + b}(?!\d)"} for a, b in sums[:count]]


def _pairs(count: int, _dice: random.Random, _kind: str) -> list[Row]:
    return [{"query": q, "positive": a} for q, a in _faq()[:count]]


WRITERS: dict[str, Callable[[int, random.Random, str], list[Row]]] = {
    "short-talks": _talks, "talks": _talks, "long-talks": _talks, "prose": _prose, "preferences": _preferences,
    "feedback": _feedback, "checked": _checked, "pairs": _pairs,
}  # fmt: skip


def _pictures(count: int) -> bytes:
    """Coloured shapes with captions, in a zip with a table."""
    from PIL import Image, ImageDraw

    dice, sink, table = random.Random(7), io.BytesIO(), []
    with zipfile.ZipFile(sink, "w") as archive:
        for number in range(count):
            colour, shape = dice.choice(list(COLOURS)), dice.choice(SHAPES)
            ground = tuple(dice.randrange(200, 256) for _ in range(3))
            picture = Image.new("RGB", (SIDE, SIDE), ground)
            left, top, wide = dice.randrange(4, 50), dice.randrange(4, 50), dice.randrange(30, 70)
            pen = ImageDraw.Draw(picture)
            (pen.rectangle if shape == "square" else pen.ellipse)((left, top, left + wide, top + wide), fill=COLOURS[colour])
            file = io.BytesIO()
            picture.save(file, "PNG")
            archive.writestr(f"{number}.png", file.getvalue())
            table.append({"file_name": f"{number}.png", "text": f"a {colour} {shape} {left} from the left and {top} from the top"})
        archive.writestr("metadata.jsonl", _lines(table).decode())
    return sink.getvalue()


def main() -> int:
    """Prints nothing; a failure is Python's own."""
    home, model, kind = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    model_in(home, model)
    rows_in(home, kind)
    return 0


if __name__ == "__main__":
    sys.exit(main())
