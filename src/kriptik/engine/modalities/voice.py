"""Voices: models of transformers that speak, taught by recordings of a person with the words that are spoken.

Rows: {"audio": a path beside the rows' own file, "text": words}. What a family needs is in its kit (`media/voice_kit.py`): SpeechT5
makes spectrograms, CSM the codes of a codec. How near speech is to the voice and to the words, models say where they are at hand
(`media/judges.py`), unless `judged` is set to false. No voice is trained without the recorded consent of the person it belongs to.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kriptik.engine.base import NOT_LOADABLE, find_base
from kriptik.engine.interfaces import Adaptation, Bundle, Encoded, Exported, MicroBatch, Modality
from kriptik.engine.media import judges, voice_result
from kriptik.engine.media.cache import Cache
from kriptik.engine.media.csm import Csm
from kriptik.engine.media.judges import Judges
from kriptik.engine.media.library import versions
from kriptik.engine.media.recordings import opened, resampled, wav
from kriptik.engine.media.speecht5 import SpeechT5
from kriptik.engine.media.states import bare
from kriptik.engine.media.voice_kit import NAME, VoiceKit
from kriptik.engine.rng import derive, reseed
from kriptik.engine.rows import open_rows
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.job import ModelRef, SamplePrompt, StageSettings

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
VOICES: Mapping[str, type[VoiceKit]] = {"speecht5": SpeechT5, "csm": Csm}
"""By the `model_type` of the configuration."""
KEPT = "made/speaker_embedding.safetensors"
LISTENED = 64
"""Recordings of which the voice's print is the mean."""
SAMPLE_SEED = 20
SHOWN_S = 10.0


class Voice(Modality):
    """Speech from words, in one person's voice."""

    provides: ClassVar[frozenset[str]] = frozenset({"speech"})
    sample_suffix: ClassVar[str] = ".wav"

    def load(self) -> Bundle:
        """See Modality. Raises WorkerError without consent, for a precision or a model that cannot be trained."""
        if self.job.consent is None:
            what = "The consent of the person whose voice it is was not recorded."
            raise WorkerError("consent_missing", what, "Approve the plan again, with the speaker's statement.")
        if self.job.precision not in DTYPES:
            what = f"A voice model in {self.job.precision} cannot be trained yet."
            raise WorkerError("precision_not_available", what, "Choose fp32 or bf16.")
        base = find_base(self.job)
        kit = self._kit(base.folder)
        kit.model.requires_grad_(False).eval()
        kit.model.to("cuda" if torch.cuda.is_available() else "cpu")
        kit.speaker = self._speaker(kit)
        kit.judges = Judges(Path(self.job.cache_dir)) if self._judged() else None
        info = {"attention": str(kit.model.config._attn_implementation), "base_sha256": base.sha256, "base_source": base.source,
                "library": versions(*kit.packages), "vocoder": kit.made_by,
                "judges": kit.judges.named() if kit.judges else {}}
        return Bundle(kit.model, kit.tokenizer, {}, info, pipeline=kit, targets=kit.targets)

    def encode(self, bundle: Bundle, row: dict[str, Any], index: int, form: str, settings: StageSettings) -> Encoded:
        """See Modality: what is learnt of the recording goes into the cache; the row keeps its name."""
        file, text = row.get("audio"), str(row.get("text") or "").strip()
        if not isinstance(file, str) or not file or not text:
            what = f"Row {index + 1} has no {'words' if file else 'recording'}."
            raise DataError("bad_row", what, "Give every row an audio and the text that is spoken.", fields={"row": index})
        kit: VoiceKit = bundle.pipeline
        letters = kit.letters(text, index)
        key, kept = self._recording(bundle, file, index)
        length, weight = kit.size(kept, letters, index)
        return Encoded(index, length, weight, {"recording": key, "letters": letters, "said": text, "audio": file})

    def collate(self, bundle: Bundle, bins: Sequence[Sequence[Encoded]], seed: int, epoch: int) -> MicroBatch:
        """See Modality."""
        rows = [row for one in bins for row in one]
        cache, first = self._cache(bundle), next(bundle.trainee.parameters())
        one_voice = bool(self.job.stages[0].settings.objective.get("reference"))
        kept = [cache.read(row.fields["recording"]) for row in rows]
        inputs = bundle.pipeline.batch([row.fields["letters"] for row in rows], kept, one_voice=one_voice)
        inputs = {name: (one.to(first.dtype) if one.is_floating_point() else one).to(first.device) for name, one in inputs.items()}
        weight = sum(row.weight for row in rows)
        return MicroBatch(inputs, {}, weight, [row.row for row in rows], sum(row.length for row in rows))

    def sample(self, bundle: Bundle, prompt: SamplePrompt, settings: StageSettings) -> bytes:
        """See Modality."""
        return self.imagine(bundle, prompt.asked, SAMPLE_SEED, settings)

    def imagine(self, bundle: Bundle, prompt: str, seed: int, settings: StageSettings) -> bytes:
        """See Modality: the words, spoken in the voice."""
        return wav(self._spoken(bundle, prompt, seed)[0], bundle.pipeline.rate)

    def heard(self, bundle: Bundle, encoded: Sequence[Encoded], count: int, settings: StageSettings) -> dict[str, float]:
        """`speech`: how near the first rows' sentences, spoken, are to the voice and to their words.

        spectrum_similarity: mean cosine of the prints of made speech and that of the voice; by the spectrum alone, no measure of
        identity. Where models are at hand: speaker_similarity, mean cosine in a speaker model of made speech and the rows' own
        recordings; word_error_rate, of what a recogniser hears against the sentences, if they are of its language.
        """
        kit, encoded = bundle.pipeline, encoded[:count]
        said = [str(row.fields["said"]) for row in encoded]
        seeds = [derive(self.job.seed, "heard", row.row) for row in encoded]
        made = [self._spoken(bundle, text, seed) for text, seed in zip(said, seeds, strict=True)]
        found = {"spectrum_similarity": sum(float(one @ kit.speaker) for _, one in made) / len(made)}
        if kit.judges is not None:
            real = [opened(self._root() / row.fields["audio"], row.row, judges.RATE)[0] for row in encoded]
            found |= kit.judges.judged([resampled(sound, kit.rate, judges.RATE) for sound, _ in made], real, said)
        return found

    def preview(self, row: dict[str, Any]) -> str:
        """See Modality."""
        return str(row.get("text") or row.get("audio"))[:2000]

    def thumbnail(self, row: dict[str, Any]) -> bytes | None:
        """See Modality: at most `SHOWN_S` seconds, 16 kHz."""
        return wav(opened(self._root() / str(row.get("audio")), 0, 16_000, 1, SHOWN_S), 16_000)

    def export(self, bundle: Bundle, adaptation: Adaptation, run_dir: Path) -> Exported:
        """See Modality."""
        return voice_result.write(bundle, adaptation, run_dir, self.job)

    def _spoken(self, bundle: Bundle, text: str, seed: int) -> tuple[Tensor, Tensor]:
        """(speech, its print); the same for the same seed."""
        training, model = bundle.trainee.training, bare(bundle.trainee).eval()
        reseed(seed, "imagine")
        try:
            with torch.no_grad():
                return bundle.pipeline.speak(model, text)
        finally:
            bundle.trainee.train(training)

    def _judged(self) -> bool:
        """Whether sentences are spoken at evaluations, and models shall judge them."""
        told = self.job.stages[0].settings.objective
        return told.get("heard_clips") != 0 and bool(told.get("judged", True))

    def _recording(self, bundle: Bundle, file: str, index: int) -> tuple[str, dict[str, Tensor]]:
        """(name in the cache, what is kept of it)."""
        kit, cache = bundle.pipeline, self._cache(bundle)
        samples = opened(self._root() / file, index, kit.rate)[0]
        key = cache.key(kit.kind, bundle.info["base_sha256"], hashlib.sha256(samples.numpy().tobytes()).hexdigest())
        cache.keep(key, lambda: kit.kept(samples))
        return key, cache.read(key)

    def _speaker(self, kit: VoiceKit) -> Tensor:
        """The mean print of the first recordings that are trained on. It stays with the run, for whoever has no recordings."""
        kept = Path(self.job.run_dir) / KEPT
        if kept.is_file():
            return load_file(kept)[NAME]
        if self.job.data is None:
            raise DataError("data_missing", "There are no recordings of the voice.", "Attach a data set.")
        rows = islice(open_rows(Path(self.job.data.train_path)), LISTENED)
        found = [kit.print_of(opened(self._root() / str(row.get("audio")), at, kit.rate)[0]) for at, row in enumerate(rows)]
        speaker = nn.functional.normalize(torch.stack(found).mean(0), dim=0)
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}.part")
        save_file({NAME: speaker}, part)
        part.replace(kept)
        return speaker

    def _kit(self, folder: Path) -> VoiceKit:
        """The base by its family."""
        step = "Choose a voice model that the catalogue calls trainable."
        try:
            named = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            kind = VOICES.get(str(named.get("model_type")))
            if kind is None:
                known = ", ".join(sorted(VOICES))
                what = f"{self.job.base_model.id} is of the kind '{named.get('model_type')}', which is not known here."
                raise WorkerError("model_not_loadable", what, f"Known: {known}.")
            return kind.load(folder, DTYPES[self.job.precision], self._other)
        except NOT_LOADABLE as error:
            what = f"{self.job.base_model.id} cannot be loaded as a voice model: {error}"[:800]
            raise WorkerError("model_not_loadable", what, step) from error

    def _other(self, model: str) -> Path | None:
        """Another model, where the base is the hub's too."""
        if self.job.base_model.path or Path(self.job.base_model.id).is_absolute():
            return None
        try:
            return find_base(self.job.model_copy(update={"base_model": ModelRef(id=model)})).folder
        except WorkerError:
            return None

    def _cache(self, bundle: Bundle) -> Cache:
        return Cache(Path(self.job.cache_dir) / "encoded" / str(bundle.info["base_sha256"])[:16])

    def _root(self) -> Path:
        return Path(self.job.data.train_path).parent if self.job.data else Path(self.job.run_dir)
