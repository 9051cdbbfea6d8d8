"""A small diffusion model on real pictures, then one subject by LoRA, DreamBooth and textual inversion of that very checkpoint,
and experts made of its feed-forward layers.

`python bench/diffusion.py --out build/diffusion`. Pictures: scikit-learn's 1,797 handwritten digits, captioned by name. The base
(UNet of about a million weights, VAE, CLIP of two layers) is made here and taught by the product's own loop in full; the subject is
a digit mirrored and in negative, which no caption of the base names. Textual inversion moves no weight of what draws, so it can but
find a word for what is drawn already: its subject is a plain five under a new word. This shows mechanism, not quality: 32 pixels,
ten classes.

Measured beside the loss: similarity of generated pictures to held-out pictures of the subject and of each class (cosine of centred
pixels, mean over pairs), for the subject's prompt and for the class's own prompt, so that what is forgotten shows. Of experts: the
held-out loss at fixed noise on the base's own rows, beside the dense model's after as many further updates, and each expert's share
of the tokens at low and at high noise.
"""

import argparse
import io
import json
import random
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIDE = 32
SUBJECT = 5
METHODS = {
    "lora": {"adaptation": "lora", "learning_rate": 3e-3, "objective": {}},
    "dreambooth": {
        "adaptation": "lora", "learning_rate": 3e-3,
        "objective": {"prior_preservation": True, "prior_images": 24, "class_prompt": "the digit five"},
    },
    "textual_inversion": {"adaptation": "textual_inversion", "learning_rate": 2e-2, "objective": {}},
}
ROWS = {"textual_inversion": "known"}
"""Rows of the subject where they are not `subject`."""
EXPERTS = {
    "dense_further": {"adaptation": "full", "learning_rate": 3e-4},
    "experts": {"adaptation": "moe", "learning_rate": 1e-3, "options": {"experts": 4, "top_k": 2}},
}
"""The same rows and as many updates more, dense and as experts."""


def pictures(folder: Path) -> None:
    """Every digit as a picture, and rows with captions: base.jsonl, subject.jsonl, held.jsonl."""
    from sklearn.datasets import load_digits

    found = load_digits()
    (folder / "media").mkdir(parents=True, exist_ok=True)
    base, subject, known = [], [], []
    for number, (pixels, label) in enumerate(zip(found.images, found.target, strict=True)):
        picture = Image.fromarray((pixels * 15.9).astype("uint8")).resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")
        picture.save(folder / "media" / f"{number}.png")
        base.append({"image": f"media/{number}.png", "caption": f"the digit {NAMES[label]}"})
        if label == SUBJECT:
            turned = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).point(lambda value: 255 - value)
            turned.save(folder / "media" / f"s{number}.png")
            subject.append({"image": f"media/s{number}.png", "caption": "the digit <subject>"})
            known.append({"image": f"media/{number}.png", "caption": "the digit <subject>"})
    random.Random(0).shuffle(base)
    parts = {"base": base[:-200], "base-held": base[-200:], "subject": subject[:12], "subject-held": subject[12:28]}
    parts |= {"known": known[:12], "known-held": known[12:28]}
    for name, rows in parts.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def untaught(folder: Path, out: Path, steps: int) -> None:
    """A pipeline whose VAE knows digits and whose UNet knows nothing."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{one}</w>" for one in letters)]
    tokenizer = CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=20)
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=20, bos_token_id=0, eos_token_id=1, pad_token_id=1, initializer_range=0.3,
        )
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(16, 32, 32), down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1, latent_channels=4, norm_num_groups=8, sample_size=SIDE,
    )
    rows = [json.loads(line) for line in (folder / "base.jsonl").read_text().splitlines()]
    data = torch.stack([_pixels(folder / row["image"]) for row in rows])
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3)
    for step in range(steps):
        batch = data[torch.randint(len(data), (32,))]
        latent = vae.encode(batch).latent_dist
        loss = (vae.decode(latent.sample()).sample - batch).square().mean() + 1e-6 * latent.kl().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"vae {step} {float(loss):.4f}", flush=True)
    with torch.no_grad():
        vae.register_to_config(scaling_factor=float(1 / vae.encode(data[:200]).latent_dist.mean.std()))
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIDE // 4, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=32, norm_num_groups=8,
        attention_head_dim=8, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    plan = diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )
    diffusers.StableDiffusionPipeline(
        vae=vae.eval(), text_encoder=encoder.eval(), tokenizer=tokenizer, unet=unet, scheduler=plan, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(out)


def job_in(folder: Path, run: Path, base: Path, rows: str, *, adaptation: str, objective: dict[str, Any], **settings: Any) -> Any:
    """One stage by the product's own loop; `options` are the adaptation's."""
    from kriptik.spec.catalogue import Point
    from kriptik.spec.job import DataRef, LoraSettings, ModelRef, Stage, StageSettings, TrainJob

    told = {"resolution": SIDE, "sample_steps": 20, "sample_guidance": 3.0, **objective}
    stage = Stage(
        index=0, name=rows, method=adaptation, point=Point(adaptation=adaptation, objective="denoise", strategy="single"),
        settings=StageSettings(
            packing=False, lora=LoraSettings(rank=16, alpha=16), objective=told, checkpoint_every_s=1e6, schedule="constant",
            max_seq_len=20, adaptation=settings.pop("options", {}), **settings,
        ),
    )
    paths = {"train_path": str(folder / f"{rows}.jsonl"), "eval_path": str(folder / f"{rows}-held.jsonl")}
    data = DataRef(**paths, train_rows=1, eval_rows=1, sha256="0" * 64)
    return TrainJob(
        job_id="bench", generation=1, run_dir=str(run), cache_dir=str(folder / "cache"), modality="image", seed=3, threads=1,
        capability="image_generation", base_model=ModelRef(id="digits", path=str(base)), stages=[stage], data=data, probe=False,
    )


def alike(made: list[Any], folder: Path, rows: str, label: str | None = None) -> float:
    """Mean cosine of centred pixels between made pictures and held-out ones."""
    lines = [json.loads(line) for line in (folder / f"{rows}.jsonl").read_text().splitlines()]
    files = [row["image"] for row in lines if label is None or row["caption"].endswith(label)][:16]
    held = torch.stack([_pixels(folder / one).mean(0).flatten() for one in files])
    mine = torch.stack([_numbers(one).mean(0).flatten() for one in made])
    return float(torch.nn.functional.cosine_similarity(mine[:, None], held[None], dim=-1).mean())


def drawn(pipe: Any, prompt: str, count: int) -> list[Any]:
    """Pictures of a prompt at fixed seeds."""
    pipe.set_progress_bar_config(disable=True)
    seeds = [torch.Generator().manual_seed(number) for number in range(count)]
    return pipe([prompt] * count, height=SIDE, width=SIDE, num_inference_steps=20, guidance_scale=3.0, generator=seeds).images


def sheet(rows: list[list[Any]], path: Path) -> None:
    """All pictures in one."""
    whole = Image.new("RGB", (SIDE * 2 * max(map(len, rows)), SIDE * 2 * len(rows)))
    for y, row in enumerate(rows):
        for x, one in enumerate(row):
            whole.paste(one.resize((SIDE * 2, SIDE * 2)), (x * SIDE * 2, y * SIDE * 2))
    whole.save(path)


def _pixels(path: Path) -> torch.Tensor:
    return _numbers(Image.open(path))


def _numbers(picture: Any) -> torch.Tensor:
    sink = io.BytesIO(picture.convert("RGB").tobytes())
    flat = torch.frombuffer(bytearray(sink.getvalue()), dtype=torch.uint8).float()
    return flat.view(picture.height, picture.width, 3).permute(2, 0, 1) / 127.5 - 1


def grown(out: Path, base: Path, steps: int) -> dict[str, Any]:
    """What more updates on the base's own rows give, dense and as experts."""
    from kriptik.engine.train import train
    from kriptik.spec.events import Desired

    figures: dict[str, Any] = {}
    for name, how in EXPERTS.items():
        began, said = time.process_time(), list[Any]()
        job = job_in(out, out / name, base, "base", max_steps=steps, micro_batch=32, objective={"caption_dropout": 0.1}, **how)
        train(job, said.append, lambda: Desired(version=1))
        told = [body.custom for body in said if body.type == "metrics"]
        last = told[len(told) // 2 :]
        kept = [key for key in last[-1] if key.startswith(("expert_", "balance"))]
        use = {key: round(sum(one[key] for one in last) / len(last), 3) for key in kept}
        figures[name] = {
            "cpu_seconds": round(time.process_time() - began),
            "held_out_loss": [round(said[-1].eval_before.loss, 5), round(said[-1].eval_after.loss, 5)], **use,
        }  # fmt: skip
        print(json.dumps({name: figures[name]}), flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/diffusion"))
    parser.add_argument("--vae-steps", type=int, default=400)
    parser.add_argument("--base-steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--expert-steps", type=int, default=300)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    import diffusers

    from kriptik.engine.train import train
    from kriptik.spec.events import Desired

    out: Path = asked.out.resolve()
    pictures(out)
    running = lambda: Desired(version=1)  # noqa: E731
    began = time.process_time()
    base = out / "base-run" / "result" / "model"
    if not base.exists():
        untaught(out, out / "untaught", asked.vae_steps)
        job = job_in(
            out, out / "base-run", out / "untaught", "base", adaptation="full", objective={"caption_dropout": 0.1},
            max_steps=asked.base_steps, micro_batch=32, learning_rate=1e-3, ema=0.995,
        )
        said: list[Any] = []
        train(job, said.append, running)
        print(f"base: held-out loss {said[-1].eval_before.loss:.4f} -> {said[-1].eval_after.loss:.4f}", flush=True)
    figures: dict[str, Any] = {"base_seconds": round(time.process_time() - began)}
    plain = diffusers.DiffusionPipeline.from_pretrained(base, safety_checker=None)
    classes = {name: drawn(plain, f"the digit {name}", 8) for name in NAMES}
    right = sum(max(NAMES, key=lambda other: alike(classes[name], out, "base-held", other)) == name for name in NAMES)
    figures["classes_drawn_as_named"] = right
    rows = [[classes[name][0] for name in NAMES[:8]], drawn(plain, "the digit subject", 8)]
    for name, how in METHODS.items():
        began, about = time.process_time(), ROWS.get(name, "subject")
        job = job_in(out, out / name, base, about, max_steps=asked.steps, micro_batch=6, **how)
        said = []
        train(job, said.append, running)
        pipe = diffusers.DiffusionPipeline.from_pretrained(base, safety_checker=None)
        folder = out / name / "result" / "adapter"
        if name == "textual_inversion":
            pipe.load_textual_inversion(str(folder), weight_name="learned_embeds.safetensors")
        else:
            pipe.load_lora_weights(str(folder), weight_name="pytorch_lora_weights.safetensors")
        subject, five = drawn(pipe, "the digit <subject>", 8), drawn(pipe, "the digit five", 8)
        rows += [subject, five]
        figures[name] = {
            "cpu_seconds": round(time.process_time() - began),
            "held_out_loss": [round(said[-1].eval_before.loss, 4), round(said[-1].eval_after.loss, 4)],
            "subject_alike": [round(alike(rows[1], out, f"{about}-held"), 3), round(alike(subject, out, f"{about}-held"), 3)],
            "class_prompt_alike_subject": [
                round(alike(classes["five"], out, f"{about}-held"), 3), round(alike(five, out, f"{about}-held"), 3)
            ],
        }
        print(json.dumps({name: figures[name]}), flush=True)
    figures |= grown(out, base, asked.expert_steps)
    sheet(rows, out / "sheet.png")
    (out / "diffusion.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
