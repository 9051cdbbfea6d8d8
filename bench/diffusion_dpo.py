"""What Diffusion DPO teaches a small diffusion model: of two digits of one name, the one with more ink was preferred.

`python bench/diffusion_dpo.py --out build/diffusion`. Base and pictures are those of `bench/diffusion.py`, by default taught for
fewer steps; a base that lies there is used. Pairs are real pictures of one name; the preference is a rule (mean brightness), so
that what is learnt can be counted. Held-out pairs are of pictures that neither the base nor a training pair has seen.

Measured: implicit accuracy, margin and gain on held-out pairs at fixed noise; ink of samples at fixed seeds, before and after, and
how many names are still drawn as such. This shows mechanism, not quality, and not what people prefer.
"""

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusion import NAMES, _numbers, _pixels, alike, drawn, job_in, pictures, sheet, untaught

from kriptik.engine.train import train
from kriptik.spec.catalogue import Point
from kriptik.spec.events import Desired

PAIRS, HELD_OUT, SEEDS = 320, 64, 8
GAP = 0.05
"""Least difference of mean brightness, of 2, between the sides of a pair."""


def pairs(folder: Path) -> None:
    """pairs.jsonl of pictures that the base knows, pairs-held.jsonl of others."""
    dice = random.Random(1)
    for source, name, count in (("base", "pairs", PAIRS), ("base-held", "pairs-held", HELD_OUT)):
        by_name: dict[str, list[str]] = {}
        for line in (folder / f"{source}.jsonl").read_text().splitlines():
            by_name.setdefault(json.loads(line)["caption"], []).append(json.loads(line)["image"])
        ink = {file: float(_pixels(folder / file).mean()) for files in by_name.values() for file in files}
        rows: list[dict[str, str]] = []
        while len(rows) < count:
            caption = dice.choice(sorted(by_name))
            less, more = sorted(dice.sample(by_name[caption], 2), key=ink.__getitem__)
            if ink[more] - ink[less] >= GAP:
                rows.append({"chosen_image": more, "rejected_image": less, "caption": caption})
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def base_in(out: Path, vae_steps: int, steps: int) -> Path:
    """The base's folder, taught where it is not there."""
    base = out / "base-run" / "result" / "model"
    if not base.exists():
        untaught(out, out / "untaught", vae_steps)
        how: dict[str, Any] = {"max_steps": steps, "micro_batch": 32, "learning_rate": 1e-3, "ema": 0.99}
        options = {"caption_dropout": 0.1}
        job = job_in(out, out / "base-run", out / "untaught", "base", adaptation="full", objective=options, **how)
        train(job, lambda body: None, lambda: Desired(version=1))
    return base


def seen(pipe: Any, folder: Path) -> dict[str, Any]:
    """Ink of samples, how many names are drawn as such, and some of the samples."""
    made = {name: drawn(pipe, f"the digit {name}", SEEDS) for name in NAMES}
    ink = float(torch.stack([_numbers(one).mean() for several in made.values() for one in several]).mean())
    right = sum(max(NAMES, key=lambda other: alike(made[name], folder, "base-held", other)) == name for name in NAMES)
    return {"ink": round(ink, 3), "named_right": right, "pictures": [made[name][0] for name in NAMES]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/diffusion"))
    parser.add_argument("--vae-steps", type=int, default=200)
    parser.add_argument("--base-steps", type=int, default=1200)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--beta", type=float, default=2000.0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    out: Path = asked.out.resolve()
    began = time.process_time()
    pictures(out)
    pairs(out)
    base = base_in(out, asked.vae_steps, asked.base_steps)
    figures: dict[str, Any] = {"base_seconds": round(time.process_time() - began)}
    before = seen(diffusers.DiffusionPipeline.from_pretrained(base, safety_checker=None), out)
    began, said = time.process_time(), []
    objective = {"beta": asked.beta}
    settings: dict[str, Any] = {"max_steps": asked.steps, "micro_batch": 8, "learning_rate": asked.learning_rate}
    job = job_in(out, out / "diffusion-dpo", base, "pairs", adaptation="lora", objective=objective, **settings)
    point = Point(adaptation="lora", objective="diffusion_dpo", strategy="single")
    job = job.model_copy(update={"stages": [job.stages[0].model_copy(update={"point": point})]})
    train(job, said.append, lambda: Desired(version=1))
    figures["training_seconds"] = round(time.process_time() - began)
    pipe = diffusers.DiffusionPipeline.from_pretrained(base, safety_checker=None)
    pipe.load_lora_weights(str(out / "diffusion-dpo" / "result" / "adapter"), weight_name="pytorch_lora_weights.safetensors")
    after = seen(pipe, out)
    for name, told in (("before", said[-1].eval_before), ("after", said[-1].eval_after)):
        figures[name] = {"loss": round(told.loss, 4), **{key: round(value, 5) for key, value in told.custom.items()}}
    figures["ink_of_samples"] = [before["ink"], after["ink"]]
    figures["named_right"] = [before["named_right"], after["named_right"]]
    held = [json.loads(line) for line in (out / "pairs-held.jsonl").read_text().splitlines()]
    real = [[_pixels(out / row[f"{side}_image"]).mean() for row in held] for side in ("rejected", "chosen")]
    figures["ink_of_held_out_sides"] = [round(float(torch.stack(one).mean()), 3) for one in real]
    sheet([before["pictures"], after["pictures"]], out / "dpo-sheet.png")
    (out / "diffusion-dpo.json").write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
