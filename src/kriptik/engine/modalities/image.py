"""Images: diffusion models as diffusers keeps them, taught by pictures with captions. Families are in `media/families`, what all
diffusion models share in `media/diffusion`.

Rows: {"image": a path beside the rows' own file, "caption": text}, or pairs of them: {"chosen_image", "rejected_image", "caption"}.
Settings (`settings.objective`): `resolution`, the square whose
number of pixels every picture gets (the model's own); `instance_prompt`, the caption of pictures without one.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from kriptik.engine.interfaces import Bundle, Encoded
from kriptik.engine.media.diffusion import Diffusion, pair_form
from kriptik.engine.media.families import FAMILIES, Family
from kriptik.engine.media.pictures import Bucket, beside, fitted, opened, png
from kriptik.spec.job import StageSettings

THUMBNAIL = 256


class Image(Diffusion):
    """Pictures from noise and a text."""

    sample_suffix: ClassVar[str] = ".png"
    families: ClassVar[Mapping[str, Family]] = FAMILIES

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

    def _step(self, bundle: Bundle) -> int:
        return bundle.pipeline.vae_scale_factor * self._family(bundle).patch

    def _resolution(self, bundle: Bundle, settings: StageSettings) -> int:
        pipe, step = bundle.pipeline, self._step(bundle)
        own = getattr(pipe, "default_sample_size", 64) * pipe.vae_scale_factor
        return max(step, int(settings.objective.get("resolution", own)) // step * step)  # type: ignore[arg-type]


def _digest(pixels: Tensor) -> str:
    from kriptik.engine.checkpoint import tensor_hash

    return tensor_hash(pixels)
