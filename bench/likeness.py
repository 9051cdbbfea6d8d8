"""What `kernel_vae` says of pictures whose difference is known, so that its numbers can be read.

`python bench/likeness.py --out build/likeness`. Pictures: scikit-learn's 1,797 handwritten digits at 32 pixels, through a VAE
that is taught on them here. Some are taken as held-out ones, others, changed in a known way, as made ones; 60 draws of each.
"""

import argparse
import json
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusion import _numbers, pictures, untaught
from PIL import Image, ImageFilter, ImageOps

DRAWS = 60
CHANGES: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda one: one,
    "mirrored": ImageOps.mirror,
    "blurred, radius 2": lambda one: one.filter(ImageFilter.GaussianBlur(2)),
    "4 pixels to the right": lambda one: one.transform(one.size, Image.Transform.AFFINE, (1, 0, -4, 0, 1, 0)),
    "half as bright": lambda one: one.point(lambda value: value // 2),
    "noise instead": lambda one: Image.effect_noise(one.size, 80).convert("RGB"),
    "negative": ImageOps.invert,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/likeness"))
    parser.add_argument("--vae-steps", type=int, default=400)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    import diffusers

    from kriptik.engine.media.likeness import kernel_vae

    out: Path = asked.out.resolve()
    pictures(out)
    untaught(out, out / "base", asked.vae_steps)
    vae = diffusers.AutoencoderKL.from_pretrained(out / "base" / "vae").eval()
    rows = [json.loads(line) for name in ("base", "base-held") for line in (out / f"{name}.jsonl").read_text().splitlines()]
    seen = [(Image.open(out / row["image"]).convert("RGB"), row["caption"].split()[-1]) for row in rows]

    def latents(several: list[Any]) -> list[torch.Tensor]:
        with torch.no_grad():
            return list(vae.encode(torch.stack([_numbers(one) for one in several])).latent_dist.mean * vae.config.scaling_factor)

    def drawn(held: int, made: int, change: Callable[[Any], Any], only: str | None = None) -> list[float]:
        found = []
        for number in range(DRAWS):
            order = random.Random(number).sample(seen, len(seen))
            rest = [one for one, name in order[held:] if only in (None, name)]
            found.append(kernel_vae(latents([one for one, _ in order[:held]]), latents([change(one) for one in rest[:made]])))
        return found

    for held, made in ((64, 4), (8, 4), (64, 16)):
        cases = {name: drawn(held, made, change) for name, change in CHANGES.items()}
        cases["of one digit alone"] = drawn(held, made, CHANGES["nothing"], "one")
        for name, found in cases.items():
            mean, spread = statistics.fmean(found), statistics.stdev(found)
            print(f"{held} held out, {made} made: {name}: {mean:.2f} ± {spread:.2f}", flush=True)


if __name__ == "__main__":
    main()
