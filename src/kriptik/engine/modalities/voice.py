"""Voices: SpeechT5 of transformers, taught by recordings of a person with the words that are spoken.

Rows: {"audio": a path beside the rows' own file, "text": words}. The model is conditioned on a print of the voice's spectrum
(`media/voices.py`) in the place of a speaker model's vector: of all recordings (`reference`), or of each row. Speech is made by
the vocoder that lies in the base's folder `vocoder`, or that the hub has; without one by Griffin-Lim, which sounds metallic. How
near it is to the voice and to the words, models say where they are at hand (`media/judges.py`), unless `judged` is set to false.
No voice is trained without the recorded consent of the person it belongs to.
"""

import hashlib
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kriptik.engine.base import NOT_LOADABLE, find_base
from kriptik.engine.interfaces import Adaptation, Bundle, Encoded, Exported, MicroBatch, Modality
from kriptik.engine.media import judges, speecht5_result, voices
from kriptik.engine.media.cache import Cache
from kriptik.engine.media.judges import Judges
from kriptik.engine.media.library import library, versions
from kriptik.engine.media.recordings import opened, resampled, wav
from kriptik.engine.media.states import bare
from kriptik.engine.rng import derive, reseed
from kriptik.engine.rows import open_rows
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.job import ModelRef, SamplePrompt, StageSettings

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
TARGETS = (
    r".*layers\.\d+\.((attention|self_attn|encoder_attn)\.(q_proj|k_proj|v_proj|out_proj)"
    r"|feed_forward\.(intermediate|output)_dense)|.*speaker_embeds_layer"
)
VOCODER = "microsoft/speecht5_hifigan"
MASKED = -100.0
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
        transformers = library("transformers")
        library("sentencepiece")
        base = find_base(self.job)
        try:
            model = transformers.SpeechT5ForTextToSpeech.from_pretrained(
                base.folder, dtype=DTYPES[self.job.precision], use_safetensors=True, local_files_only=True
            )
            processor = transformers.SpeechT5Processor.from_pretrained(base.folder, local_files_only=True)
        except NOT_LOADABLE as error:
            raise WorkerError(
                "model_not_loadable", f"{self.job.base_model.id} cannot be loaded as a voice model: {error}"[:800],
                "Choose a voice model that the catalogue calls trainable.",
            ) from error
        guided = bool(model.config.use_guided_attention_loss)
        model.config.use_guided_attention_loss = False  # needs attention weights, which the usual kernels do not give
        for module in model.modules():
            if type(module) is nn.BatchNorm1d:
                module.__class__ = SteadyNorm
        model.requires_grad_(False).eval()
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        kit = Kit(model, processor, self._vocoder(base.folder), guided)
        kit.speaker = self._speaker(kit)
        kit.judges = Judges(Path(self.job.cache_dir)) if self._judged() else None
        info = {"attention": str(model.config._attn_implementation), "base_sha256": base.sha256, "base_source": base.source,
                "library": versions("soundfile", "scipy", "sentencepiece"),
                "vocoder": "Griffin-Lim" if kit.vocoder is None else "HiFi-GAN",
                "judges": kit.judges.named() if kit.judges else {}}
        return Bundle(model, processor.tokenizer, {}, info, pipeline=kit, targets=TARGETS)

    def encode(self, bundle: Bundle, row: dict[str, Any], index: int, form: str, settings: StageSettings) -> Encoded:
        """See Modality: the recording's spectrogram goes into the cache; the row keeps its name."""
        file, text = row.get("audio"), str(row.get("text") or "").strip()
        if not isinstance(file, str) or not file or not text:
            what = f"Row {index + 1} has no {'words' if file else 'recording'}."
            raise DataError("bad_row", what, "Give every row an audio and the text that is spoken.", fields={"row": index})
        kit = bundle.pipeline
        ids = kit.processor.tokenizer(text)["input_ids"]
        most = kit.model.config.max_text_positions
        if len(ids) > most:
            what = f"Row {index + 1} has {len(ids):,} letters; the model reads {most:,} at once."
            raise DataError("text_too_long", what, "Cut the recording into shorter ones.", fields={"row": index})
        key, frames = self._spectrogram(bundle, file, index)
        if frames > kit.model.config.max_speech_positions * kit.reduction:
            what = f"The recording of row {index + 1} is longer than the model can say at once."
            raise DataError("sound_too_long", what, "Cut it into shorter ones.", fields={"row": index})
        return Encoded(index, frames // kit.reduction, float(frames), {"mel": key, "letters": ids, "said": text, "audio": file})

    def collate(self, bundle: Bundle, bins: Sequence[Sequence[Encoded]], seed: int, epoch: int) -> MicroBatch:
        """See Modality."""
        rows = [row for one in bins for row in one]
        cache, device, kit = self._cache(bundle), next(bundle.trainee.parameters()).device, bundle.pipeline
        dtype = next(bundle.trainee.parameters()).dtype
        mels = [cache.read(row.fields["mel"])["mel"] for row in rows]
        ids = [torch.tensor(row.fields["letters"]) for row in rows]
        mask = nn.utils.rnn.pad_sequence([torch.ones(len(one), dtype=torch.long) for one in ids], batch_first=True)
        one_voice = bool(self.job.stages[0].settings.objective.get("reference"))
        speakers = [kit.speaker if one_voice else voices.print_of(mel, kit.width) for mel in mels]
        inputs = {
            "input_ids": nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=kit.model.config.pad_token_id),
            "attention_mask": mask,
            "labels": nn.utils.rnn.pad_sequence(mels, batch_first=True, padding_value=MASKED),
            "speaker_embeddings": torch.stack(speakers),
        }
        inputs = {name: (one.to(dtype) if one.is_floating_point() else one).to(device) for name, one in inputs.items()}
        weight = sum(row.weight for row in rows)
        return MicroBatch(inputs, {}, weight, [row.row for row in rows], sum(row.length for row in rows))

    def sample(self, bundle: Bundle, prompt: SamplePrompt, settings: StageSettings) -> bytes:
        """See Modality."""
        return self.imagine(bundle, prompt.asked, SAMPLE_SEED, settings)

    def imagine(self, bundle: Bundle, prompt: str, seed: int, settings: StageSettings) -> bytes:
        """See Modality: the words, spoken in the voice."""
        spectrogram = self._spoken(bundle, prompt, seed)
        return wav(bundle.pipeline.sound(spectrogram), bundle.pipeline.rate)

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
        found = {"spectrum_similarity": sum(float(voices.print_of(one, kit.width) @ kit.speaker) for one in made) / len(made)}
        if kit.judges is not None:
            real = [opened(self._root() / row.fields["audio"], row.row, judges.RATE)[0] for row in encoded]
            found |= kit.judges.judged([resampled(kit.sound(one), kit.rate, judges.RATE) for one in made], real, said)
        return found

    def preview(self, row: dict[str, Any]) -> str:
        """See Modality."""
        return str(row.get("text") or row.get("audio"))[:2000]

    def thumbnail(self, row: dict[str, Any]) -> bytes | None:
        """See Modality: at most `SHOWN_S` seconds, 16 kHz."""
        return wav(opened(self._root() / str(row.get("audio")), 0, 16_000, 1, SHOWN_S), 16_000)

    def export(self, bundle: Bundle, adaptation: Adaptation, run_dir: Path) -> Exported:
        """See Modality."""
        return speecht5_result.write(bundle, adaptation, run_dir, self.job)

    def _spoken(self, bundle: Bundle, text: str, seed: int) -> Tensor:
        """[frames, bands], by the library's own generation; the same for the same seed (its dropout never sleeps)."""
        kit, training = bundle.pipeline, bundle.trainee.training
        model: Any = bare(bundle.trainee).eval()
        first = next(model.parameters())
        ids = kit.processor.tokenizer(text, truncation=True, max_length=kit.model.config.max_text_positions, return_tensors="pt")
        reseed(seed, "imagine")
        try:
            with torch.no_grad():
                made = model.generate_speech(
                    ids["input_ids"].to(first.device), kit.speaker[None].to(first.device, first.dtype),
                    attention_mask=ids["attention_mask"].to(first.device),
                )
        finally:
            bundle.trainee.train(training)
        return made.float().cpu()

    def _judged(self) -> bool:
        """Whether sentences are spoken at evaluations, and models shall judge them."""
        told = self.job.stages[0].settings.objective
        return told.get("heard_clips") != 0 and bool(told.get("judged", True))

    def _spectrogram(self, bundle: Bundle, file: str, index: int) -> tuple[str, int]:
        """(name in the cache, frames): cut to whole steps of the decoder."""
        kit, cache = bundle.pipeline, self._cache(bundle)
        samples = opened(self._root() / file, index, kit.rate)[0]
        key = cache.key("mel", bundle.info["base_sha256"], hashlib.sha256(samples.numpy().tobytes()).hexdigest())
        cache.keep(key, lambda: {"mel": kit.spectrogram(samples)})
        return key, len(cache.read(key)["mel"])

    def _speaker(self, kit: "Kit") -> Tensor:
        """The mean print of the first recordings that are trained on. It stays with the run, for whoever has no recordings."""
        kept = Path(self.job.run_dir) / KEPT
        if kept.is_file():
            return load_file(kept)[speecht5_result.NAME]
        if self.job.data is None:
            raise DataError("data_missing", "There are no recordings of the voice.", "Attach a data set.")
        rows = islice(open_rows(Path(self.job.data.train_path)), LISTENED)
        found = [
            voices.print_of(kit.spectrogram(opened(self._root() / str(row.get("audio")), index, kit.rate)[0]), kit.width)
            for index, row in enumerate(rows)
        ]
        speaker = nn.functional.normalize(torch.stack(found).mean(0), dim=0)
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}.part")
        save_file({speecht5_result.NAME: speaker}, part)
        part.replace(kept)
        return speaker

    def _vocoder(self, folder: Path) -> nn.Module | None:
        """The base's own, or the hub's; None where there is neither."""
        own = folder / "vocoder"
        if not own.is_dir():
            if self.job.base_model.path or Path(self.job.base_model.id).is_absolute():
                return None
            try:
                own = find_base(self.job.model_copy(update={"base_model": ModelRef(id=VOCODER)})).folder
            except WorkerError:
                return None
        kind = library("transformers").SpeechT5HifiGan
        return kind.from_pretrained(own, use_safetensors=True, local_files_only=True).requires_grad_(False).eval()

    def _cache(self, bundle: Bundle) -> Cache:
        return Cache(Path(self.job.cache_dir) / "encoded" / str(bundle.info["base_sha256"])[:16])

    def _root(self) -> Path:
        return Path(self.job.data.train_path).parent if self.job.data else Path(self.job.run_dir)


class SteadyNorm(nn.BatchNorm1d):
    """Batch normalisation by the base's own statistics, while training too: a row's loss must not depend on its neighbours, and an
    adapter's base must stay as it is."""

    def train(self, mode: bool = True) -> "SteadyNorm":
        """Stays in eval mode."""
        return super().train(False)


class Kit:
    """The whole model, and what goes before and after it."""

    speaker: Tensor
    """[width]: the print of the voice."""
    judges: Judges | None = None

    def __init__(self, model: Any, processor: Any, vocoder: nn.Module | None, guided: bool) -> None:
        self.model, self.processor, self.vocoder, self.guided = model, processor, vocoder, guided
        self.rate = int(processor.feature_extractor.sampling_rate)
        self.reduction, self.width = int(model.config.reduction_factor), int(model.config.speaker_embedding_dim)

    def spectrogram(self, samples: Tensor) -> Tensor:
        """[samples] → [frames, bands], log10 amplitudes, as the library makes them; frames are a multiple of the reduction."""
        found = self.processor.feature_extractor(audio_target=samples.numpy(), sampling_rate=self.rate)["input_values"][0]
        mel = torch.from_numpy(found)
        return mel[: max(self.reduction, len(mel) // self.reduction * self.reduction)].contiguous()

    def sound(self, spectrogram: Tensor) -> Tensor:
        """[frames, bands] → [samples]."""
        if self.vocoder is not None:
            with torch.no_grad():
                return self.vocoder(spectrogram)
        mel = self.processor.feature_extractor
        window = torch.from_numpy(mel.window).float()
        return voices.griffin_lim(spectrogram, torch.from_numpy(mel.mel_filters), mel.n_fft, mel.sample_stride, window)
