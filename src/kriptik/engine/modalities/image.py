"""Images: diffusion models as diffusers keeps them, taught by pictures with captions. Families are in `media/families`, what all
diffusion models share in `media/diffusion`.

Rows: {"image": a path beside the rows' own file, "caption": text}, or pairs of them: {"chosen_image", "rejected_image", "caption"}.
Settings (`settings.objective`): `resolution`, the square whose number of pixels every picture gets (the model's own);
`instance_prompt`, the caption of pictures without one; `watched_pictures`, for how many held-out captions a picture is made at each
evaluation (4; 0: none), to measure `kernel_vae` and `caption_similarity`; `judged` (true): whether a model that sees says how well
they fit their captions, where one is at hand (`media/viewing.py`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from kriptik.engine.interfaces import Adaptation, Bundle, Encoded, Exported
from kriptik.engine.media.diffusion import SAMPLE_SEED, Diffusion, pair_form
from kriptik.engine.media.families import FAMILIES, Family
from kriptik.engine.media.likeness import FEWEST, kernel_vae
from kriptik.engine.media.making import MADE, wanted
from kriptik.engine.media.pictures import Bucket, beside, fitted, opened, png
from kriptik.engine.media.result import say
from kriptik.engine.media.viewing import MEASURE, viewing
from kriptik.spec.job import StageSettings

THUMBNAIL = 256
COMPARED = 64
"""Held-out pictures that made ones are compared with at most."""


class Image(Diffusion):
    """Pictures from noise and a text."""

    sample_suffix: ClassVar[str] = ".png"
    families: ClassVar[Mapping[str, Family]] = FAMILIES

    def load(self) -> Bundle:
        """See Diffusion; `info` names the model that judges pictures."""
        bundle = super().load()
        bundle.info["judges"] = viewing(Path(self.job.cache_dir)).named() if self._judged() else {}
        return bundle

    def encode(self, bundle: Bundle, row: dict[str, Any], index: int, form: str, settings: StageSettings) -> Encoded:
        """See Modality: the picture's latent and the caption's states go into the cache; the row keeps their names.

        Of a pair, both pictures are brought to the size of the better one.
        """
        pictures = [opened(path, index) for path in self._files(row, "image", index, form)]
        bucket = self._bucket(bundle, pictures[0].size, self._resolution(bundle, settings), self._step(bundle))
        sides = [self._picture(bundle, picture, bucket) for picture in pictures]
        fields = {"bucket": list(bucket), "sides": sides, **self._caption(bundle, row, settings)}
        return Encoded(index, len(sides), 1.0, fields)

    def asked(self, bundle: Bundle, settings: StageSettings) -> dict[str, Any]:
        """See Diffusion: a square."""
        side = self._resolution(bundle, settings)
        return {"height": side, "width": side}

    def file(self, bundle: Bundle, made: Any, settings: StageSettings) -> bytes:
        """See Diffusion: PNG."""
        return png(made.images[0])

    def watched(self, bundle: Bundle, encoded: Sequence[Encoded], count: int, settings: StageSettings) -> dict[str, float]:
        """How near pictures made for the first captions, in their rows' sizes, are to the held-out ones and to those captions.

        kernel_vae: see `media/likeness.py`, against the first `COMPARED` held-out pictures (of pairs the better ones), if there are
        two or more of both; caption_similarity: see `media/viewing.py`, if a model that can tell is at hand. Seeds never change.
        """
        rows, cache = encoded[:count], self._cache(bundle)
        captions, pictures, latents = [str(row.fields["caption"]) for row in rows], [], []
        for row, caption in zip(rows, captions, strict=True):
            bucket = (int(row.fields["bucket"][0]), int(row.fields["bucket"][1]))
            made = self.drawn(bundle, caption, SAMPLE_SEED + row.row, settings, height=bucket[0], width=bucket[1])
            pictures.append(made.images[0])
            latents.append(self._latent(bundle, pictures[-1], bucket))
        found: dict[str, float] = {}
        if min(len(latents), len(encoded)) >= FEWEST:
            real = [cache.read(row.fields["sides"][0]["latent"])["mean"] for row in encoded[:COMPARED]]
            found["kernel_vae"] = kernel_vae(real, latents)
        return found | (viewing(Path(self.job.cache_dir)).judged(pictures, captions) if self._judged() else {})

    def export(self, bundle: Bundle, adaptation: Adaptation, run_dir: Path) -> Exported:
        """See Diffusion; the card says how pictures were measured."""
        exported = super().export(bundle, adaptation, run_dir)
        say(run_dir, exported, "The pictures", self._measures(bundle))
        return exported

    def preview(self, row: dict[str, Any]) -> str:
        """See Modality."""
        return str(row.get("caption") or row.get("image") or row.get("chosen_image"))[:2000]

    def thumbnail(self, row: dict[str, Any]) -> bytes | None:
        """See Modality: at most `THUMBNAIL` pixels a side. Of a pair both pictures, the better one on the left."""
        pictures = [opened(path, 0) for path in self._files(row, "image", 0, pair_form(row, "image"))]
        for picture in pictures:
            picture.thumbnail((THUMBNAIL, THUMBNAIL))
        return png(beside(pictures))

    def _picture(self, bundle: Bundle, picture: Any, bucket: Bucket) -> dict[str, Any]:
        pixels, sizes = fitted(picture, bucket)
        cache, sha = self._cache(bundle), bundle.info["base_sha256"]
        key = cache.key("latent", sha, self.job.precision, str(bucket), _digest(pixels))
        return {"latent": cache.keep(key, lambda: self._moments(bundle, lambda: pixels)), "sizes": sizes}

    def _latent(self, bundle: Bundle, picture: Any, bucket: Bucket) -> Tensor:
        """What the VAE makes of a picture that was made, as of one of the rows; nothing is kept."""
        return self._moments(bundle, lambda: fitted(picture, bucket)[0])["mean"].cpu()

    def _watches(self) -> bool:
        """Whether pictures are made at evaluations."""
        held = self.job.data is not None and bool(self.job.data.eval_path)
        return held and wanted(MADE["image"], self.job.stages[0].settings) > 0

    def _judged(self) -> bool:
        """Whether they are, and a model shall judge them."""
        return self._watches() and bool(self.job.stages[0].settings.objective.get("judged", True))

    def _measures(self, bundle: Bundle) -> list[str]:
        """How pictures were measured, and what was not."""
        if not self._watches():
            return ["No pictures were made at evaluations: nothing but the loss was measured."]
        judge = bundle.info["judges"].get(MEASURE)
        why = "no model that could was at hand" if self._judged() else "it was switched off"
        return [
            "At evaluations, pictures made for held-out captions were compared with held-out pictures in features of the model's "
            "own VAE (kernel_vae): a substitute for KID on few pictures, not to be compared with published numbers.",
            f"How well they fit their captions (caption_similarity) was measured by {judge}, as far as it reads the language."
            if judge else f"How well they fit their captions (caption_similarity) was not measured: {why}.",
        ]  # fmt: skip

    def _step(self, bundle: Bundle) -> int:
        return bundle.pipeline.vae_scale_factor * self._family(bundle).patch

    def _resolution(self, bundle: Bundle, settings: StageSettings) -> int:
        pipe, step = bundle.pipeline, self._step(bundle)
        own = getattr(pipe, "default_sample_size", 64) * pipe.vae_scale_factor
        return max(step, int(settings.objective.get("resolution", own)) // step * step)  # type: ignore[arg-type]


def _digest(pixels: Tensor) -> str:
    from kriptik.engine.checkpoint import tensor_hash

    return tensor_hash(pixels)
