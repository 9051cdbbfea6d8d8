"""A small video model on real digits that move, then a new motion by temporal adaptation of that very checkpoint.

`python bench/video.py --out build/video`. Pictures: scikit-learn's 1,797 handwritten digits; a clip is one of them that walks
over the frame, captioned by name and direction. The base (Wan's transformer of about a third of a million weights, its VAE, a text
encoder that stays as it is made) is made here and taught left and right by the product's own loop in full; then
`temporal_adaptation` teaches down. This shows mechanism, not quality: 16 pixels, nine frames, ten digits, one object.

Measured on generated clips at fixed seeds, not by the loss: the way that the centre of what is bright goes from the first frame to
the last, per prompt: the share of clips that go the way that is asked for (more along it than across, and at least two pixels).
"""

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kriptik.data import reel

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIDE, FRAMES, FPS = 16, 9, 8
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
BASE, NEW = ("left", "right"), ("down",)
HELD = 24


def clip(pixels: np.ndarray, way: str, dice: random.Random) -> list[np.ndarray]:
    """[SIDE, SIDE, 3] per frame: the digit goes from one edge to the other, a pixel a frame."""
    (across, down), off = WAYS[way], dice.randint(2, 6)
    begins = [0 if one > 0 else FRAMES - 1 if one < 0 else off for one in (across, down)]
    made = []
    for number in range(FRAMES):
        frame = np.zeros((SIDE, SIDE), "uint8")
        left, top = begins[0] + across * number, begins[1] + down * number
        frame[top : top + 8, left : left + 8] = pixels * 15.9
        made.append(np.repeat(frame[..., None], 3, axis=2))
    return made


def clips(folder: Path, count: int, fresh: int) -> None:
    """Files, and rows with captions: base.jsonl of two directions, new.jsonl of a third, held-out ones of other digits."""
    from sklearn.datasets import load_digits

    found, dice = load_digits(), random.Random(0)
    (folder / "media").mkdir(parents=True, exist_ok=True)
    order = list(range(len(found.images)))
    dice.shuffle(order)
    for name, ways, many in (("base", BASE, count), ("base-held", BASE, HELD), ("new", NEW, fresh), ("new-held", NEW, HELD)):
        rows = []
        for number in range(many):
            which, way = order.pop(), ways[number % len(ways)]
            file = f"media/{name}-{number}.mp4"
            (folder / file).write_bytes(reel.written(clip(found.images[which], way, dice), FPS))
            rows.append({"video": file, "caption": f"{NAMES[found.target[which]]} moves {way}"})
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def untaught(folder: Path, out: Path, steps: int) -> None:
    """A pipeline whose VAE knows such clips and whose transformer knows nothing."""
    import diffusers
    from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{one}", -1.0) for one in (*NAMES, *WAYS, "moves"))]
    tokenizer = T5Tokenizer(vocab=words, extra_ids=0, model_max_length=24)
    encoder = UMT5EncoderModel(UMT5Config(vocab_size=len(tokenizer), d_model=64, d_ff=128, d_kv=16, num_heads=4, num_layers=2))
    vae = diffusers.AutoencoderKLWan(
        base_dim=12, z_dim=8, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[True], latents_mean=[0.0] * 8,
        latents_std=[1.0] * 8, scale_factor_temporal=2, scale_factor_spatial=2,
    )
    files = [json.loads(line)["video"] for line in (folder / "base.jsonl").read_text().splitlines()]
    files += [json.loads(line)["video"] for line in (folder / "new.jsonl").read_text().splitlines()]
    data = torch.stack([_numbers(list(reel.at_rate(folder / file, 0.0, FPS, FRAMES))) for file in files])
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    for step in range(steps):
        batch = data[torch.randint(len(data), (8,))]
        latent = vae.encode(batch).latent_dist
        loss = (vae.decode(latent.sample()).sample - batch).square().mean() + 1e-6 * latent.kl().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)  # without it, or faster, it settles on the mean picture
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"vae {step} {loss.item():.4f}", flush=True)
    with torch.no_grad():
        found = torch.cat([vae.encode(one[None]).latent_dist.sample() for one in data[:64]])
    vae.register_to_config(latents_mean=found.mean((0, 2, 3, 4)).tolist(), latents_std=found.std((0, 2, 3, 4)).tolist())
    transformer = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=4, attention_head_dim=16, in_channels=8, out_channels=8, text_dim=64, freq_dim=64,
        ffn_dim=256, num_layers=4,
    )
    diffusers.WanPipeline(
        vae=vae.eval(), text_encoder=encoder.eval(), tokenizer=tokenizer, transformer=transformer,
        scheduler=diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0),
    ).save_pretrained(out)


def job_in(folder: Path, run: Path, base: Path, rows: str, adaptation: str, **settings: Any) -> Any:
    """One stage by the product's own loop."""
    from kriptik.spec.catalogue import Point
    from kriptik.spec.job import DataRef, LoraSettings, ModelRef, Stage, StageSettings, TrainJob

    told = {"resolution": SIDE * 3 // 4, "frames": FRAMES, "fps": FPS, "sample_steps": 12, "sample_guidance": 3.0}
    told |= {"watched_clips": 2, "caption_dropout": 0.1}
    stage = Stage(
        index=0, name=rows, method=adaptation, point=Point(adaptation=adaptation, objective="denoise", strategy="single"),
        settings=StageSettings(
            packing=False, lora=LoraSettings(rank=16, alpha=16), objective=told, max_seq_len=24,
            checkpoint_every_s=1e6, schedule="constant", **settings,
        ),
    )
    paths = {"train_path": str(folder / f"{rows}.jsonl"), "eval_path": str(folder / f"{rows}-held.jsonl")}
    data = DataRef(**paths, train_rows=1, eval_rows=1, sha256="0" * 64)
    return TrainJob(
        job_id="bench", generation=1, run_dir=str(run), cache_dir=str(folder / "cache"), modality="video", seed=3, threads=1,
        capability="video_generation", base_model=ModelRef(id="digits", path=str(base)), stages=[stage], data=data, probe=False,
    )


def made(pipe: Any, way: str, count: int) -> np.ndarray:
    """[clips, frames, height, width] of brightness: digits in turn, at fixed seeds."""
    pipe.set_progress_bar_config(disable=True)
    seeds = [torch.Generator().manual_seed(number) for number in range(count)]
    asked = [f"{NAMES[number % 10]} moves {way}" for number in range(count)]
    found = pipe(
        asked, height=SIDE, width=SIDE, num_frames=FRAMES, num_inference_steps=12, guidance_scale=3.0, generator=seeds,
        max_sequence_length=24, output_type="np",
    )
    return np.asarray(found.frames).mean(-1)


def walks(clips_made: np.ndarray, way: str) -> tuple[float, list[float]]:
    """(share of clips that go this way, mean path in pixels to the right and down)."""
    weights = np.clip(clips_made - 0.3, 0, None) + 1e-9
    places = np.arange(SIDE)
    x = (weights.sum(2) * places).sum(-1) / weights.sum((2, 3))
    y = (weights.sum(3) * places).sum(-1) / weights.sum((2, 3))
    paths = np.stack([x[:, -1] - x[:, 0], y[:, -1] - y[:, 0]], axis=1)
    along = paths @ np.array(WAYS[way])
    across = np.abs(paths @ np.array(WAYS[way])[::-1])
    return float(((along > across) & (along >= 2)).mean()), [round(float(one), 2) for one in paths.mean(0)]


def _numbers(frames: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2).float() / 127.5 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/video"))
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--vae-steps", type=int, default=800)
    parser.add_argument("--base-steps", type=int, default=2500)
    parser.add_argument("--steps", type=int, default=300)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    import diffusers

    from kriptik.engine.train import train
    from kriptik.spec.events import Desired

    out: Path = asked.out.resolve()
    running = lambda: Desired(version=1)  # noqa: E731
    began, figures = time.process_time(), {}
    base = out / "base-run" / "result" / "model"
    said: list[Any] = []
    if not base.exists():
        if not (out / "untaught" / "model_index.json").exists():
            clips(out, asked.clips, asked.clips // 4)
            untaught(out, out / "untaught", asked.vae_steps)
        print(f"vae: {time.process_time() - began:.0f} s", flush=True)
        job = job_in(
            out, out / "base-run", out / "untaught", "base", "full", max_steps=asked.base_steps, micro_batch=16, learning_rate=2e-3,
            ema=0.995,
        )
        train(job, said.append, running)
        print(f"base: held-out loss {said[-1].eval_before.loss:.4f} -> {said[-1].eval_after.loss:.4f}", flush=True)
    figures["base_seconds"] = round(time.process_time() - began)
    plain = diffusers.DiffusionPipeline.from_pretrained(base)
    figures["base"] = {way: walks(made(plain, way, 20), way) for way in WAYS}
    print(json.dumps(figures), flush=True)
    began, said = time.process_time(), []
    job = job_in(out, out / "temporal", base, "new", "temporal", max_steps=asked.steps, micro_batch=16, learning_rate=3e-3)
    train(job, said.append, running)
    plain.load_lora_weights(str(out / "temporal" / "result" / "adapter"), weight_name="pytorch_lora_weights.safetensors")
    ends = (said[-1].eval_before, said[-1].eval_after)
    figures["temporal_adaptation"] = {
        "cpu_seconds": round(time.process_time() - began),
        "held_out_loss": [round(one.loss, 4) for one in ends],
        "temporal_consistency": [round(one.custom["temporal_consistency"], 3) for one in ends],
        **{way: walks(made(plain, way, 20), way) for way in WAYS},
    }
    print(json.dumps(figures["temporal_adaptation"]), flush=True)
    (out / "video.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
