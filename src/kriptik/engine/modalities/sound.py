"""Music and sound by diffusion: transformers of diffusers that make sound out of noise, taught by recordings with descriptions.
Families are in `media/sound_families`, what all diffusion models share in `media/diffusion`; token models are in `music.py`.

Rows: those of music, {"audio": a path beside the rows' own file, "text": description}, or pairs of them: {"chosen_audio",
"rejected_audio", "text"}; for families that sing also "lyrics". A recording is heard from its begin, and the model is told where it
ends. Of a family whose sounds are all of one length the rest is silence, as it was when the model was made. Settings
(`settings.objective`): `clip_seconds` (as long as the family allows), the longest part of a recording that is learnt;
`caption_dropout`, the share of descriptions left out (0.1 or 0.15, for guidance); `sample_seconds` (8) for sounds on the way;
`heard_clips` (4), of how many held-out descriptions a sound is made at each evaluation, each of `heard_seconds` (5).
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from kriptik.engine import noise as ways
from kriptik.engine.interfaces import Adaptation, Bundle, Encoded, Exported
from kriptik.engine.media import hearing, sound_result
from kriptik.engine.media.diffusion import ENCODERS, Diffusion
from kriptik.engine.media.families import Family
from kriptik.engine.media.recordings import opened, wav
from kriptik.engine.media.sound_families import SOUND_FAMILIES, SoundFamily
from kriptik.engine.media.states import awake
from kriptik.engine.rng import derive
from kriptik.spec.job import StageSettings

SHOWN_S = 10.0


class Sound(Diffusion):
    """Sounds from noise and a text."""

    provides: ClassVar[frozenset[str]] = frozenset({"noise", "sound"})
    sample_suffix: ClassVar[str] = ".wav"
    families: ClassVar[Mapping[str, Family]] = SOUND_FAMILIES
    packages: ClassVar[tuple[str, ...]] = ("diffusers", "soundfile", "scipy")

    def load(self) -> Bundle:
        """See Modality."""
        bundle = super().load()
        for part in self._sound(bundle).parts:
            bundle.parts[part] = getattr(bundle.pipeline, part).requires_grad_(False).eval()
        return bundle

    def encode(self, bundle: Bundle, row: dict[str, Any], index: int, form: str, settings: StageSettings) -> Encoded:
        """See Modality: the recording's latent and the description's states go into the cache; the row keeps their names.

        Of a pair, both recordings are cut to the length of the shorter one. Rows meet in a micro-batch only where latents are of
        the same length, and states too, unless the family can be told what is padding.
        """
        several = [self._heard(bundle, file, index, settings) for file in self._files(row, "audio", index, form)]
        shortest = min(samples.shape[1] for samples in several)
        sides = [self._recording(bundle, samples[:, :shortest]) for samples in several]
        family, caption = self._sound(bundle), str(row.get("text") or settings.objective.get("instance_prompt") or "").strip()
        fields = self._caption(bundle, {"caption": family.said(caption, row, sides[0]["sizes"][1])}, settings)
        cache = self._cache(bundle)
        words = 0 if family.masked else len(cache.read(fields["text"])["states"])
        lengths = [cache.read(sides[0]["latent"])["mean"].shape[1], words]
        fields |= {"bucket": lengths, "sides": sides, "caption": caption, "audio": str(row.get("audio") or row.get("chosen_audio"))}
        return Encoded(index, len(sides), 1.0, fields)

    def mixed(
        self, bundle: Bundle, clean: Tensor, noise: Tensor, times: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, dict[str, Any]]:
        """See Diffusion. All times weigh alike, as in the makers' own training (Evans et al. 2024, "Stable Audio Open").

        Of flows the times are drawn as their makers drew them, logit-normal about a mean that need not be 0. Models with discrete
        steps have the steps and levels of the folder's own sampler.
        """
        family = self._sound(bundle)
        if family.flow:
            return super().mixed(bundle, clean, noise, (times.logit() + family.lean).sigmoid())
        if not family.sampler:
            return super().mixed(bundle, clean, noise, times)
        level = (times * torch.pi / 2).cos().square()
        return *ways.v_prediction(clean, noise, level), times, {"predicts": "v_prediction"}

    def asked(self, bundle: Bundle, settings: StageSettings) -> dict[str, Any]:
        """See Diffusion: seconds."""
        wanted = float(settings.objective.get("sample_seconds", 8))  # type: ignore[arg-type]
        family = self._sound(bundle)
        return {family.asks: min(wanted, family.longest_s(bundle.pipeline)), "output_type": "pt"}

    def file(self, bundle: Bundle, made: Any, settings: StageSettings) -> bytes:
        """See Diffusion: WAV."""
        return wav(made.audios[0], self._sound(bundle).rate(bundle.pipeline))

    def heard(self, bundle: Bundle, encoded: Sequence[Encoded], count: int, settings: StageSettings) -> dict[str, float]:
        """How near sounds made from the first rows' descriptions are to the rows.

        frechet_codec and kernel_codec: see `media/hearing.py`, over the frames of the VAE's encoder.
        """
        seconds = float(settings.objective.get("heard_seconds", 5))  # type: ignore[arg-type]
        brief, encoded = settings.with_objective(sample_seconds=seconds), encoded[:count]
        real = [self._opened(bundle, self._root() / row.fields["audio"], row.row, seconds) for row in encoded]
        seeds = [derive(self.job.seed, "heard", row.row) for row in encoded]
        sounds = [
            self.drawn(bundle, row.fields["caption"], seed, brief).audios[0] for row, seed in zip(encoded, seeds, strict=True)
        ]
        made = [torch.atleast_2d(one) for one in sounds]
        found = [torch.cat([self._features(bundle, one) for one in several]) for several in (real, made)]
        features = hearing.standard(*found)
        return {"frechet_codec": hearing.frechet(*features), "kernel_codec": hearing.kernel(*features)}

    def preview(self, row: dict[str, Any]) -> str:
        """See Modality."""
        return str(row.get("text") or row.get("audio") or row.get("chosen_audio"))[:2000]

    def thumbnail(self, row: dict[str, Any]) -> bytes | None:
        """See Modality: at most `SHOWN_S` seconds, 16 kHz; of a pair the better one."""
        return wav(opened(self._files(row, "audio", 0)[0], 0, 16_000, 1, SHOWN_S), 16_000)

    def export(self, bundle: Bundle, adaptation: Adaptation, run_dir: Path) -> Exported:
        """See Modality."""
        if hasattr(bundle.pipeline, "save_lora_weights"):
            return super().export(bundle, adaptation, run_dir)
        base = Path(str(bundle.pipeline.name_or_path)) if self._sound(bundle).sampler else None
        return sound_result.write(bundle, adaptation, run_dir, self.job, self._family(bundle), base)

    def besides(self, name: str) -> dict[str, Any]:
        """See Diffusion: the sampler, where the library's own needs a package that may not be there."""
        return {"scheduler": None} if SOUND_FAMILIES[name].sampler else {}

    def complete(self, pipe: Any, name: str, folder: Path) -> None:
        """See Diffusion."""
        SOUND_FAMILIES[name].mended(pipe)
        if expected := SOUND_FAMILIES[name].sampler:
            from kriptik.engine.media.cosine_solver import solver

            pipe.register_modules(scheduler=solver(folder, expected))

    def silence(self, bundle: Bundle, told: str) -> str:
        """See Diffusion."""
        cache, family = self._cache(bundle), self._sound(bundle)
        states = cache.read(told)
        key = cache.key("silence", bundle.info["base_sha256"], self.job.precision, str(list(states["states"].shape)))

        def make() -> dict[str, Tensor]:
            awake(bundle, (*ENCODERS[1:], *family.parts))
            with torch.no_grad():
                return family.silent(bundle.pipeline, states)

        return cache.keep(key, make)

    def drawn(self, bundle: Bundle, prompt: str, seed: int, settings: StageSettings, **size: int) -> Any:
        """See Diffusion."""
        awake(bundle, self._sound(bundle).parts)
        return super().drawn(bundle, prompt, seed, settings, **size)

    def _told(self, bundle: Bundle, caption: str) -> str:
        awake(bundle, self._sound(bundle).parts)
        return super()._told(bundle, caption)

    def _heard(self, bundle: Bundle, path: Path, index: int, settings: StageSettings) -> Tensor:
        """[channels, samples] of a recording, as long as is learnt."""
        pipe, longest = bundle.pipeline, self._sound(bundle).longest_s(bundle.pipeline)
        wanted = min(longest, float(settings.objective.get("clip_seconds", longest)))  # type: ignore[arg-type]
        return self._opened(bundle, path, index, wanted)[:, : round(wanted * self._sound(bundle).rate(pipe))]

    def _opened(self, bundle: Bundle, path: Path, index: int, seconds: float) -> Tensor:
        """[channels, samples] of a recording as the model hears it."""
        family, pipe = self._sound(bundle), bundle.pipeline
        return family.levelled(opened(path, index, family.rate(pipe), family.channels(pipe), seconds))

    def _recording(self, bundle: Bundle, samples: Tensor) -> dict[str, Any]:
        """The latent's name in the cache, and the seconds where the sound begins and ends."""
        pipe, cache, family = bundle.pipeline, self._cache(bundle), self._sound(bundle)
        seconds = samples.shape[1] / family.rate(pipe)
        whole = family.samples_of(pipe, family.longest_s(pipe) if family.filled else seconds)
        digest = hashlib.sha256(samples.numpy().tobytes()).hexdigest()
        key = cache.key("sound", bundle.info["base_sha256"], self.job.precision, str(whole), digest)
        filled = torch.nn.functional.pad(samples, (0, whole - samples.shape[1]))
        cache.keep(key, lambda: self._moments(bundle, lambda: family.seen(pipe, filled)))
        return {"latent": key, "sizes": [0.0, seconds]}

    def _features(self, bundle: Bundle, samples: Tensor) -> Tensor:
        """[frames, size]: what the VAE's encoder makes of a sound [channels, samples]."""
        vae: Any = bundle.parts["vae"]
        awake(bundle, ("vae",))
        family, pipe, first = self._sound(bundle), bundle.pipeline, next(vae.parameters())
        hop = family.hop(pipe)
        seen = family.seen(pipe, samples[:, : samples.shape[1] // hop * hop])
        with torch.no_grad():
            found = vae.encode(seen[None].to(first.device, first.dtype)).latent_dist.mean
        return found[0].transpose(0, 1).flatten(1).float().cpu()

    def _sound(self, bundle: Bundle) -> SoundFamily:
        return SOUND_FAMILIES[bundle.info["family"]]
