"""Images: diffusion models as diffusers keeps them, taught by pictures with captions. Families are in `media/families`.

Rows: {"image": a path beside the rows' own file, "caption": text}. Settings (`settings.objective`): `resolution`, the square whose
number of pixels every picture gets (the model's own); `instance_prompt`, the caption of pictures without one; `caption_dropout`,
the share of captions left out (0); `sample_steps` (20), `sample_guidance` (the pipeline's own) for samples on the way.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kriptik.engine import noise as ways
from kriptik.engine.base import find_base
from kriptik.engine.interfaces import Adaptation, Bundle, Encoded, Exported, MicroBatch, Modality, UpdatePlan
from kriptik.engine.media import diffusers_result
from kriptik.engine.media.cache import Cache
from kriptik.engine.media.families import FAMILIES, Family, shifted
from kriptik.engine.media.library import library, versions
from kriptik.engine.media.pictures import fitted, opened, png
from kriptik.engine.media.states import TextStates, awake, bare, rest, states_of
from kriptik.engine.rng import permutation, row_generator
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.job import SamplePrompt, StageSettings

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
ENCODERS = ("vae", "text_encoder", "text_encoder_2", "text_encoder_3")
SAMPLE_SEED = 20
THUMBNAIL = 256


class Image(Modality):
    """Pictures from noise and a text."""

    provides: ClassVar[frozenset[str]] = frozenset({"noise"})
    sample_suffix: ClassVar[str] = ".png"
    recuts: ClassVar[bool] = False

    def load(self) -> Bundle:
        """See Modality. Raises WorkerError for a precision or a family that cannot be trained."""
        if self.job.precision not in DTYPES:
            what = f"An image model in {self.job.precision} cannot be trained yet."
            raise WorkerError("precision_not_available", what, "Choose fp32 or bf16.")
        base = find_base(self.job)
        name, pipe = self._pipeline(base.folder)
        family = FAMILIES[name]
        pipe.set_progress_bar_config(disable=True)
        trainee = getattr(pipe, family.part)
        trainee.requires_grad_(False)
        trainee.to("cuda" if torch.cuda.is_available() else "cpu")
        parts = {part: getattr(pipe, part).requires_grad_(False).eval() for part in ENCODERS if getattr(pipe, part, None)}
        if family.inverts:
            parts["text_encoder"] = TextStates(parts["text_encoder"])
        info = {"attention": "sdpa", "base_sha256": base.sha256, "base_source": base.source, "family": name}
        info |= {"library": versions("diffusers", "pillow"), "time_scale": family.time_scale, "time_reversed": family.time_reversed}
        return Bundle(trainee, pipe.tokenizer, parts, info, pipeline=pipe, targets=family.targets)

    def encode(self, bundle: Bundle, row: dict[str, Any], index: int, form: str, settings: StageSettings) -> Encoded:
        """See Modality: the picture's latent and the caption's states go into the cache; the row keeps their names."""
        file = row.get("image")
        if not isinstance(file, str) or not file:
            raise DataError("bad_row", f"Row {index + 1} names no picture.", "Give every row an image.", fields={"row": index})
        path = self._root() / file
        picture = opened(path, index)
        bucket = self._bucket(bundle, picture.size, settings)
        pixels, sizes = fitted(picture, bucket)
        cache, sha = self._cache(bundle), bundle.info["base_sha256"]
        said = str(row.get("caption") or settings.objective.get("instance_prompt") or "").strip()
        if bundle.words and not any(word in said for word in bundle.words):
            said = f"{said} {next(iter(bundle.words))}".strip()
        fields: dict[str, Any] = {"bucket": list(bucket), "sizes": sizes, "caption": said}
        image_key = cache.key("latent", sha, self.job.precision, str(bucket), _digest(pixels))
        fields["latent"] = cache.keep(image_key, lambda: self._moments(bundle, pixels))
        if "text_encoder" in bundle.parts:
            fields["text"] = self._told(bundle, said)
            if settings.objective.get("caption_dropout"):
                fields["silence"] = self._told(bundle, "")
        return Encoded(index, 1, 1.0, fields)

    def plan_epoch(
        self, encoded: Sequence[Encoded], seed: int, epoch: int, settings: StageSettings, ranks: int
    ) -> list[UpdatePlan]:
        """See Modality: pictures of one micro-batch are of one size."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for row in permutation(len(encoded), seed, "order", epoch):
            by_size.setdefault(tuple(encoded[row].fields["bucket"]), []).append(row)
        size, count = settings.micro_batch, settings.accumulation * ranks
        groups = [rows[at : at + size] for rows in by_size.values() for at in range(0, len(rows), size)]
        micros = [[[row] for row in groups[place]] for place in permutation(len(groups), seed, "micros", epoch)]
        return [micros[at : at + count] for at in range(0, len(micros), count)]

    def collate(self, bundle: Bundle, bins: Sequence[Sequence[Encoded]], seed: int, epoch: int) -> MicroBatch:
        """See Modality: clean latents and what the text encoders said, from the cache."""
        rows = [row for one in bins for row in one]
        cache, device = self._cache(bundle), next(bundle.trainee.parameters()).device
        clean = torch.stack([self._latent(bundle, cache, row, seed, epoch) for row in rows]).to(device)
        extra: dict[str, Any] = {"clean": clean, "sizes": [row.fields["sizes"] for row in rows]}
        if "text_encoder" in bundle.parts:
            share = float(self._options().get("caption_dropout", 0.0))
            extra["text"] = states_of([cache.read(_said(row, share, seed, epoch)) for row in rows], device)
        else:
            extra["token_ids"] = torch.tensor([self._tokens(bundle, row.fields["caption"]) for row in rows], device=device)
        return MicroBatch({}, extra, sum(row.weight for row in rows), [row.row for row in rows], len(rows))

    def add_noise(self, bundle: Bundle, micro: MicroBatch, noise: Tensor, times: Tensor) -> MicroBatch:
        """See Modality."""
        family, pipe = self._family(bundle), bundle.pipeline
        rest(bundle)
        clean = micro.extra["clean"]
        extra: dict[str, Any] = {"family": bundle.info["family"]}
        if family.flow:
            tokens = clean.shape[2] * clean.shape[3] // (family.patch**2 if family.standard is None else 1)
            where = shifted(pipe.scheduler.config, times, tokens)
            sample, target = ways.flow(clean, noise, where)
        else:
            where, level, kind = self._steps(bundle, times)
            sample, target = (ways.v_prediction if kind == "v_prediction" else ways.epsilon)(clean, noise, level)
            extra |= {"snr": level / (1 - level), "predicts": kind}
        dtype = next(bundle.trainee.parameters()).dtype
        text = {name: one.to(dtype) if one.is_floating_point() else one for name, one in micro.extra.get("text", {}).items()}
        told = where.to(dtype) if family.flow else where
        inputs = family.call(pipe, sample.to(dtype), told, text, micro.extra["sizes"])
        if "token_ids" in micro.extra:
            inputs["token_ids"] = micro.extra["token_ids"]
        extra |= {"target": family.pack(target), "times": times}
        return MicroBatch(inputs, extra, micro.weight, micro.rows, micro.tokens)

    def forward(self, module: nn.Module, micro: MicroBatch) -> Tensor:
        """See Modality: the prediction, laid out as the target."""
        family = FAMILIES[micro.extra["family"]]
        found = module(**micro.inputs)[0]
        if isinstance(found, list | tuple):
            found = torch.stack(list(found)).squeeze(2)
        return family.sign * found

    def noise_times(self, bundle: Bundle) -> str:
        """See Modality: flows favour the middle."""
        return "logit_normal" if self._family(bundle).flow else "uniform"

    def sample(self, bundle: Bundle, prompt: SamplePrompt, settings: StageSettings) -> bytes:
        """See Modality."""
        return self.imagine(bundle, "\n".join(one.get("content", "") for one in prompt.messages), SAMPLE_SEED, settings)

    def imagine(self, bundle: Bundle, prompt: str, seed: int, settings: StageSettings) -> bytes:
        """See Modality: by the library's own pipeline around the model as it is."""
        family, pipe = self._family(bundle), bundle.pipeline
        for word, text in bundle.words.items():
            prompt = prompt.replace(word, text)
        side = self._resolution(bundle, settings)
        options: dict[str, Any] = {"num_inference_steps": int(settings.objective.get("sample_steps", 20))}  # type: ignore[arg-type]
        if "sample_guidance" in settings.objective:
            options["guidance_scale"] = float(settings.objective["sample_guidance"])  # type: ignore[arg-type]
        if family.longest > 77:
            options["max_sequence_length"] = self._longest(family, settings)
        generator = torch.Generator().manual_seed(seed)
        before, training = getattr(pipe, family.part), bundle.trainee.training
        setattr(pipe, family.part, bare(bundle.trainee).eval())
        try:
            awake(bundle, ENCODERS)
            with torch.no_grad():
                made = pipe(prompt=prompt, height=side, width=side, generator=generator, **options).images[0]
        finally:
            setattr(pipe, family.part, before)
            bundle.trainee.train(training)
        return png(made)

    def preview(self, row: dict[str, Any]) -> str:
        """See Modality."""
        return str(row.get("caption") or row.get("image"))[:2000]

    def thumbnail(self, row: dict[str, Any]) -> bytes | None:
        """See Modality: at most `THUMBNAIL` pixels a side."""
        picture = opened(self._root() / str(row.get("image")), 0)
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        return png(picture)

    def export(self, bundle: Bundle, adaptation: Adaptation, run_dir: Path) -> Exported:
        """See Modality."""
        return diffusers_result.write(bundle, adaptation, run_dir, self.job, self._family(bundle))

    def _pipeline(self, folder: Path) -> tuple[str, Any]:
        """(class name, the pipeline on the CPU)."""
        diffusers = library("diffusers")
        try:
            name = str(json.loads((folder / "model_index.json").read_text())["_class_name"])
        except (OSError, ValueError, KeyError) as error:
            what = f"{self.job.base_model.id} is no diffusers folder: {error}."
            raise WorkerError("model_not_loadable", what, "Choose an image model that the catalogue calls trainable.") from error
        if name not in FAMILIES:
            what = f"{self.job.base_model.id} is a {name}, which is not known here."
            raise WorkerError("model_not_loadable", what, f"Known: {', '.join(sorted(FAMILIES))}.")
        kind = getattr(diffusers, name)
        options = {"safety_checker": None, "requires_safety_checker": False} if name == "StableDiffusionPipeline" else {}
        try:
            return name, kind.from_pretrained(
                folder, torch_dtype=DTYPES[self.job.precision], local_files_only=True, use_safetensors=True, **options
            )
        except (ValueError, OSError, TypeError, KeyError, ImportError, RuntimeError) as error:
            raise WorkerError(
                "model_not_loadable", f"{self.job.base_model.id} cannot be loaded as an image model: {error}"[:800],
                "Choose an image model that the catalogue calls trainable.",
            ) from error

    def _family(self, bundle: Bundle) -> Family:
        return FAMILIES[bundle.info["family"]]

    def _options(self) -> dict[str, Any]:
        return dict(self.job.stages[0].settings.objective)

    def _root(self) -> Path:
        return Path(self.job.data.train_path).parent if self.job.data else Path(self.job.run_dir)

    def _cache(self, bundle: Bundle) -> Cache:
        return Cache(Path(self.job.cache_dir) / "encoded" / str(bundle.info["base_sha256"])[:16])

    def _resolution(self, bundle: Bundle, settings: StageSettings) -> int:
        pipe, family = bundle.pipeline, self._family(bundle)
        step = pipe.vae_scale_factor * family.patch
        own = getattr(pipe, "default_sample_size", 64) * pipe.vae_scale_factor
        return max(step, int(settings.objective.get("resolution", own)) // step * step)  # type: ignore[arg-type]

    def _bucket(self, bundle: Bundle, size: tuple[int, int], settings: StageSettings) -> tuple[int, int]:
        from diffusers.training_utils import find_nearest_bucket, generate_aspect_ratio_buckets

        step = bundle.pipeline.vae_scale_factor * self._family(bundle).patch
        known = generate_aspect_ratio_buckets(self._resolution(bundle, settings), step)
        return known[int(find_nearest_bucket(size[1], size[0], known) or 0)]

    def _longest(self, family: Family, settings: StageSettings) -> int:
        return min(family.longest, settings.max_seq_len)

    def _told(self, bundle: Bundle, caption: str) -> str:
        family, cache = self._family(bundle), self._cache(bundle)
        longest = self._longest(family, self.job.stages[0].settings)
        key = cache.key("text", bundle.info["base_sha256"], self.job.precision, str(longest), caption)

        def make() -> dict[str, Tensor]:
            awake(bundle, ENCODERS[1:])
            with torch.no_grad():
                return family.text(bundle.pipeline, caption, longest)

        return cache.keep(key, make)

    def _moments(self, bundle: Bundle, pixels: Tensor) -> dict[str, Tensor]:
        """Mean and deviation of the picture's latent, of about unit size."""
        vae: Any = bundle.parts["vae"]
        awake(bundle, ("vae",))
        with torch.no_grad():
            first = next(vae.parameters())
            picture = pixels[None].to(first.device, first.dtype)
            picture = picture.unsqueeze(2) if vae.__class__.__name__ == "AutoencoderKLQwenImage" else picture
            found = vae.encode(picture).latent_dist
            standard = self._family(bundle).standard
            if standard is not None:
                return {"mean": standard(bundle.pipeline, found.mode()[0]).float()}
            shift, scale = getattr(vae.config, "shift_factor", None) or 0.0, vae.config.scaling_factor
            return {"mean": ((found.mean[0] - shift) * scale).float(), "std": (found.std[0] * scale).float()}

    def _latent(self, bundle: Bundle, cache: Cache, row: Encoded, seed: int, epoch: int) -> Tensor:
        found = cache.read(row.fields["latent"])
        if "std" not in found:
            return found["mean"]
        draw = torch.randn(found["mean"].shape, generator=row_generator(seed, epoch, row.row, "latent"))
        return found["mean"] + found["std"] * draw

    def _steps(self, bundle: Bundle, times: Tensor) -> tuple[Tensor, Tensor, str]:
        """(steps, product of alphas there, what is predicted)."""
        from diffusers import DDPMScheduler

        plan = DDPMScheduler.from_config(bundle.pipeline.scheduler.config)
        count = plan.config.num_train_timesteps
        steps = (times * count).long().clamp(max=count - 1)
        return steps, plan.alphas_cumprod.to(times.device)[steps], str(plan.config.prediction_type)

    def _tokens(self, bundle: Bundle, caption: str) -> list[int]:
        """Of a caption, for a text encoder that is trained along."""
        for word, text in bundle.words.items():
            caption = caption.replace(word, text)
        tokenizer = bundle.tokenizer
        return tokenizer(caption, padding="max_length", truncation=True, max_length=tokenizer.model_max_length)["input_ids"]


def _said(row: Encoded, share: float, seed: int, epoch: int) -> str:
    if share and float(torch.rand((), generator=row_generator(seed, epoch, row.row, "caption"))) < share:
        return row.fields["silence"]
    return row.fields["text"]


def _digest(pixels: Tensor) -> str:
    from kriptik.engine.checkpoint import tensor_hash

    return tensor_hash(pixels)
