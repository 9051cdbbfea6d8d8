"""What all diffusion models share, whatever they make: how they are loaded, cached, noised, called, sampled and exported.

A modality (`modalities/image.py`, `video.py`, `sound.py`) adds what its rows hold and how the pipeline is asked for a file.
Families are a table of the modality. Settings (`settings.objective`): `caption_dropout`, the share of captions left out (0; of
sounds what their makers left out); `sample_steps` (20), `sample_guidance` (the pipeline's own) for samples on the way.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kriptik.catalogue.load import load_catalogue
from kriptik.engine import noise as ways
from kriptik.engine.base import NOT_LOADABLE, find
from kriptik.engine.interfaces import Adaptation, Bundle, Encoded, Exported, MicroBatch, Modality, UpdatePlan
from kriptik.engine.media import diffusers_result
from kriptik.engine.media.cache import Cache
from kriptik.engine.media.families import Family, shifted
from kriptik.engine.media.library import library, versions
from kriptik.engine.media.noise_experts import denoisers, joined
from kriptik.engine.media.states import TextStates, awake, bare, rest, states_of
from kriptik.engine.rng import permutation, row_generator
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.job import SamplePrompt, StageSettings

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SIDES = ("chosen", "rejected")
"""How a pair's row names its two files: chosen_image, rejected_image."""
ENCODERS = ("vae", "text_encoder", "text_encoder_2", "text_encoder_3", "projection_model", "condition_encoder")
TOKENIZERS = ("tokenizer", "tokenizer_2")
SAMPLE_SEED = 20


class Diffusion(Modality):
    """Something from noise and a text."""

    provides: ClassVar[frozenset[str]] = frozenset({"noise"})
    recuts: ClassVar[bool] = False
    families: ClassVar[Mapping[str, Family]] = {}
    """By the name of the library's pipeline class."""
    packages: ClassVar[tuple[str, ...]] = ("diffusers", "pillow")
    """Whose versions `run.lock` keeps."""

    def load(self) -> Bundle:
        """See Modality. Raises WorkerError for a precision or a family that cannot be trained."""
        kind = self.job.modality
        if self.job.precision not in DTYPES:
            what = f"A model of {kind} in {self.job.precision} cannot be trained yet."
            raise WorkerError("precision_not_available", what, "Choose fp32 or bf16.")
        entry = load_catalogue().models.get(self.job.base_model.id)
        ref = self.job.base_model
        if entry and entry.weights and not ref.path:
            ref = ref.model_copy(update={"id": entry.weights})
        base = find(ref, Path(self.job.cache_dir), pipeline=True)
        name, pipe = self._pipeline(base.folder)
        family = self.families[name]
        pipe.set_progress_bar_config(disable=True)
        trainee = joined(pipe, family)
        trainee.requires_grad_(False)
        trainee.to("cuda" if torch.cuda.is_available() else "cpu")
        parts = {part: getattr(pipe, part).requires_grad_(False).eval() for part in ENCODERS if getattr(pipe, part, None)}
        if family.inverts:  # together one part, so that a word can be taught to all
            several = [parts.pop(part) for part in ENCODERS[1:3] if part in parts]
            parts["text_encoder"] = TextStates(several, [getattr(pipe, name) for name in TOKENIZERS[: len(several)]])
        info = {"attention": "sdpa", "base_sha256": base.sha256, "base_source": base.source, "family": name}
        info |= {"library": versions(*self.packages), "time_scale": family.time_scale, "time_reversed": family.time_reversed}
        return Bundle(trainee, pipe.tokenizer, parts, info, pipeline=pipe, targets=family.targets)

    def plan_epoch(
        self, encoded: Sequence[Encoded], seed: int, epoch: int, settings: StageSettings, ranks: int
    ) -> list[UpdatePlan]:
        """See Modality: the rows of one micro-batch are of one size."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for row in permutation(len(encoded), seed, "order", epoch):
            by_size.setdefault(tuple(encoded[row].fields["bucket"]), []).append(row)
        size, count = settings.micro_batch, settings.accumulation * ranks
        groups = [rows[at : at + size] for rows in by_size.values() for at in range(0, len(rows), size)]
        micros = [[[row] for row in groups[place]] for place in permutation(len(groups), seed, "micros", epoch)]
        return [micros[at : at + count] for at in range(0, len(micros), count)]

    def collate(self, bundle: Bundle, bins: Sequence[Sequence[Encoded]], seed: int, epoch: int) -> MicroBatch:
        """See Modality: clean latents and what text encoders said, from the cache. Of pairs both sides, the better one first."""
        rows = [row for one in bins for row in one]
        sides = [(row, side) for row in rows for side in row.fields["sides"]]
        cache, device = self._cache(bundle), next(bundle.trainee.parameters()).device
        clean = torch.stack([_latent(cache, side["latent"], row.row, seed, epoch) for row, side in sides]).to(device)
        extra: dict[str, Any] = {"clean": clean, "sizes": [side["sizes"] for _, side in sides]}
        if "text_encoder" in bundle.parts:
            share = self._dropout(bundle, self.job.stages[0].settings)
            extra["text"] = states_of([cache.read(_said(row, share, seed, epoch)) for row, _ in sides], device)
        else:
            extra["token_ids"] = torch.tensor([_tokens(bundle, row.fields["caption"]) for row, _ in sides], device=device)
        return MicroBatch({}, extra, sum(row.weight for row in rows), [row.row for row in rows], len(sides))

    def add_noise(self, bundle: Bundle, micro: MicroBatch, noise: Tensor, times: Tensor) -> MicroBatch:
        """See Modality."""
        family, pipe = self._family(bundle), bundle.pipeline
        rest(bundle)
        sample, target, where, extra = self.mixed(bundle, micro.extra["clean"], noise, times)
        dtype = next(bundle.trainee.parameters()).dtype
        text = {name: one.to(dtype) if one.is_floating_point() else one for name, one in micro.extra.get("text", {}).items()}
        told = where.to(dtype) if where.is_floating_point() else where
        inputs = family.call(pipe, sample.to(dtype), told, text, micro.extra["sizes"])
        if "token_ids" in micro.extra:
            inputs["token_ids"] = micro.extra["token_ids"]
        extra |= {"family": bundle.info["family"], "target": family.pack(target), "times": times}
        return MicroBatch(inputs, extra, micro.weight, micro.rows, micro.tokens)

    def mixed(
        self, bundle: Bundle, clean: Tensor, noise: Tensor, times: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, dict[str, Any]]:
        """(sample, target, the denoiser's time or step, what the loss is told besides) at `times` [rows], 0 clean and 1 noise."""
        family, pipe = self._family(bundle), bundle.pipeline
        if family.flow:
            tokens = clean[0, 0].numel() // (family.patch**2 if family.standard is None else 1)
            where = shifted(pipe.scheduler.config, times, tokens)
            return *ways.flow(clean, noise, where), where, {}
        where, level, kind = self._steps(bundle, times)
        extra: dict[str, Any] = {"predicts": kind}
        if not pipe.scheduler.config.get("rescale_betas_zero_snr"):  # min-SNR would give pure noise no weight at all
            extra["snr"] = level / (1 - level)
        return *(ways.v_prediction if kind == "v_prediction" else ways.epsilon)(clean, noise, level), where, extra

    def forward(self, module: nn.Module, micro: MicroBatch) -> Tensor:
        """See Modality: the prediction, laid out as the target."""
        family = self.families[micro.extra["family"]]
        found = module(**micro.inputs)[0]
        if isinstance(found, list | tuple):
            found = torch.stack(list(found)).squeeze(2)
        return family.sign * found

    def brief(self, settings: StageSettings, share: float) -> StageSettings:
        """See Modality."""
        return settings.with_objective(sample_steps=max(1, round(_sample_steps(settings) * share)))

    def noise_times(self, bundle: Bundle) -> str:
        """See Modality: flows favour the middle."""
        return "logit_normal" if self._family(bundle).flow else "uniform"

    def sample(self, bundle: Bundle, prompt: SamplePrompt, settings: StageSettings) -> bytes:
        """See Modality."""
        return self.imagine(bundle, prompt.asked, SAMPLE_SEED, settings)

    def imagine(self, bundle: Bundle, prompt: str, seed: int, settings: StageSettings) -> bytes:
        """See Modality."""
        return self.file(bundle, self.drawn(bundle, prompt, seed, settings), settings)

    def drawn(self, bundle: Bundle, prompt: str, seed: int, settings: StageSettings, **size: int) -> Any:
        """What the library's own pipeline makes, around the model as it is. `size`: other than `asked` has it."""
        family, pipe = self._family(bundle), bundle.pipeline
        for word, text in bundle.words.items():
            prompt = prompt.replace(word, text)
        options: dict[str, Any] = {"num_inference_steps": _sample_steps(settings)}
        if "sample_guidance" in settings.objective:
            options["guidance_scale"] = float(settings.objective["sample_guidance"])  # type: ignore[arg-type]
        if family.longest > 77:
            options["max_sequence_length"] = self._longest(bundle, settings)
        generator = torch.Generator().manual_seed(seed)
        with self._lent(bundle), torch.no_grad():
            awake(bundle, ENCODERS)
            return pipe(prompt=prompt, generator=generator, **{**options, **self.asked(bundle, settings), **size})

    def asked(self, bundle: Bundle, settings: StageSettings) -> dict[str, Any]:
        """The pipeline's arguments that say how large the sample is."""
        raise NotImplementedError

    def file(self, bundle: Bundle, made: Any, settings: StageSettings) -> bytes:
        """The pipeline's output as a file's bytes."""
        raise NotImplementedError

    def export(self, bundle: Bundle, adaptation: Adaptation, run_dir: Path) -> Exported:
        """See Modality."""
        return diffusers_result.write(bundle, adaptation, run_dir, self.job, self._family(bundle))

    @contextmanager
    def _lent(self, bundle: Bundle) -> Iterator[None]:
        """Inside, the pipeline holds the model as it is, in eval mode."""
        pipe, training = bundle.pipeline, bundle.trainee.training
        lent = denoisers(bare(bundle.trainee).eval(), self._family(bundle))
        before = {part: getattr(pipe, part) for part in lent}
        for part, module in lent.items():
            setattr(pipe, part, module)
        try:
            yield
        finally:
            for part, module in before.items():
                setattr(pipe, part, module)
            bundle.trainee.train(training)

    def besides(self, name: str) -> dict[str, Any]:
        """What the pipeline's loader is told besides: parts that are not read from the folder."""
        return {"safety_checker": None, "requires_safety_checker": False} if name == "StableDiffusionPipeline" else {}

    def complete(self, pipe: Any, name: str, folder: Path) -> None:
        """Adds to a pipeline what its loader left out. Raises ValueError or OSError where that cannot be."""

    def _pipeline(self, folder: Path) -> tuple[str, Any]:
        """(class name, the pipeline on the CPU)."""
        diffusers, kind = library("diffusers"), self.job.modality
        step = f"Choose a model of {kind} that the catalogue calls trainable."
        try:
            name = str(json.loads((folder / "model_index.json").read_text())["_class_name"])
        except (OSError, ValueError, KeyError) as error:
            what = f"{self.job.base_model.id} is no diffusers folder: {error}."
            raise WorkerError("model_not_loadable", what, step) from error
        if name not in self.families:
            what = f"{self.job.base_model.id} is a {name}, which is not known here."
            raise WorkerError("model_not_loadable", what, f"Known: {', '.join(sorted(self.families))}.")
        try:
            pipe = getattr(diffusers, name).from_pretrained(
                folder, torch_dtype=DTYPES[self.job.precision], local_files_only=True, use_safetensors=True, **self.besides(name)
            )
            self.complete(pipe, name, folder)
            return name, pipe
        except NOT_LOADABLE as error:
            what = f"{self.job.base_model.id} cannot be loaded as a model of {kind}: {error}"[:800]
            raise WorkerError("model_not_loadable", what, step) from error

    def _family(self, bundle: Bundle) -> Family:
        return self.families[bundle.info["family"]]

    def _dropout(self, bundle: Bundle, settings: StageSettings) -> float:
        usual = getattr(self._family(bundle), "dropout", 0.0)
        return float(settings.objective.get("caption_dropout", usual))  # type: ignore[arg-type]

    def _root(self) -> Path:
        return Path(self.job.data.train_path).parent if self.job.data else Path(self.job.run_dir)

    def _cache(self, bundle: Bundle) -> Cache:
        return Cache(Path(self.job.cache_dir) / "encoded" / str(bundle.info["base_sha256"])[:16])

    def _files(self, row: dict[str, Any], column: str, index: int, form: str = "") -> list[Path]:
        """The row's media file; of a pair in the form "preference" the better and the worse one, else the better one alone.

        Raises DataError where it names none.
        """
        pair = [f"{side}_{column}" for side in SIDES]
        names = pair if form == "preference" else [pair[0] if pair[0] in row else column]
        files = [row.get(name) for name in names]
        for name, file in zip(names, files, strict=True):
            if not isinstance(file, str) or not file:
                what = f"Row {index + 1} names no {name}."
                raise DataError("bad_row", what, f"Give every row a {name}.", fields={"row": index})
        return [self._root() / str(file) for file in files]

    def _caption(self, bundle: Bundle, row: dict[str, Any], settings: StageSettings) -> dict[str, Any]:
        """Fields of a row's caption, and of none where captions are left out at times."""
        said = str(row.get("caption") or settings.objective.get("instance_prompt") or "").strip()
        if bundle.words and not any(word in said for word in bundle.words):
            said = f"{said} {next(iter(bundle.words))}".strip()
        fields: dict[str, Any] = {"caption": said}
        if "text_encoder" in bundle.parts:
            fields["text"] = self._told(bundle, said)
            if self._dropout(bundle, settings):
                fields["silence"] = self.silence(bundle, fields["text"])
        return fields

    def silence(self, bundle: Bundle, told: str) -> str:
        """The name in the cache of what stands for a caption that is left out; `told`: that of the caption's states."""
        return self._told(bundle, "")

    def _bucket(self, bundle: Bundle, size: tuple[int, int], side: int, step: int) -> tuple[int, int]:
        """Height and width, multiples of `step`, nearest in shape to `size` (width and height), of about `side`² pixels."""
        from diffusers.training_utils import find_nearest_bucket, generate_aspect_ratio_buckets

        known = generate_aspect_ratio_buckets(side, step)
        return known[int(find_nearest_bucket(size[1], size[0], known) or 0)]

    def _longest(self, bundle: Bundle, settings: StageSettings) -> int:
        """Tokens of a caption: as many as the model is built for, where it takes no other number."""
        family = self._family(bundle)
        only = getattr(bundle.pipeline, family.part).config.get("max_text_seq_length")
        return only or min(family.longest, settings.max_seq_len)

    def _told(self, bundle: Bundle, caption: str) -> str:
        family, cache = self._family(bundle), self._cache(bundle)
        longest = self._longest(bundle, self.job.stages[0].settings)
        key = cache.key("text", bundle.info["base_sha256"], self.job.precision, str(longest), caption)

        def make() -> dict[str, Tensor]:
            awake(bundle, ENCODERS[1:])
            with torch.no_grad():
                return family.text(bundle.pipeline, caption, longest)

        return cache.keep(key, make)

    def _moments(self, bundle: Bundle, pixels: Callable[[], Tensor]) -> dict[str, Tensor]:
        """Mean and deviation of the latent, of about unit size."""
        vae: Any = bundle.parts["vae"]
        awake(bundle, ("vae",))
        with torch.no_grad():
            first = next(vae.parameters())
            seen = pixels()[None].to(first.device, first.dtype)
            seen = seen.unsqueeze(2) if vae.__class__.__name__ == "AutoencoderKLQwenImage" else seen
            found, family = vae.encode(seen).latent_dist, self._family(bundle)
            if family.standard is not None:
                return {"mean": family.standard(bundle.pipeline, found.mode()[0]).float()}
            shift, scale = family.units(bundle.pipeline)
            return {"mean": ((found.mean[0] - shift) * scale).float(), "std": (found.std[0] * scale).float()}

    def _steps(self, bundle: Bundle, times: Tensor) -> tuple[Tensor, Tensor, str]:
        """(steps, product of alphas there, what is predicted). A sampler whose levels are not DDPM's own says them itself."""
        from diffusers import DDPMScheduler

        plan: Any = bundle.pipeline.scheduler
        if "snr_shift_scale" not in plan.config:
            plan = DDPMScheduler.from_config(plan.config)
        count = plan.config.num_train_timesteps
        steps = (times * count).long().clamp(max=count - 1)
        return steps, plan.alphas_cumprod.to(times.device)[steps], str(plan.config.prediction_type)


def _sample_steps(settings: StageSettings) -> int:
    return int(settings.objective.get("sample_steps", 20))  # type: ignore[arg-type]


def pair_form(row: dict[str, Any], column: str) -> str:
    """The form in which all files of a row are meant."""
    return "preference" if f"{SIDES[1]}_{column}" in row else ""


def _tokens(bundle: Bundle, caption: str) -> list[list[int]]:
    """A caption's ids by each tokenizer, for text encoders that are trained along."""
    told: Any = bundle.trainee
    for word, text in bundle.words.items():
        caption = caption.replace(word, text)
    asked = {"padding": "max_length", "truncation": True}
    return [one(caption, max_length=one.model_max_length, **asked)["input_ids"] for one in told.text_encoder.tokenizers]


def _latent(cache: Cache, key: str, row: int, seed: int, epoch: int) -> Tensor:
    """A latent drawn anew in each epoch; both sides of a pair by the same draw."""
    found = cache.read(key)
    if "std" not in found:
        return found["mean"]
    draw = torch.randn(found["mean"].shape, generator=row_generator(seed, epoch, row, "latent"))
    return found["mean"] + found["std"] * draw


def _said(row: Encoded, share: float, seed: int, epoch: int) -> str:
    if share and float(torch.rand((), generator=row_generator(seed, epoch, row.row, "caption"))) < share:
        return row.fields["silence"]
    return row.fields["text"]
