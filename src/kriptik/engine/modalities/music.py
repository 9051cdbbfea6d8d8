"""Music: MusicGen of transformers, a language model over the codes of a codec, taught by recordings with descriptions.

Rows: {"audio": a path beside the rows' own file, "text": description}, or pairs, {"chosen_audio", "rejected_audio", "text"}, of
which the better one is learnt where no preference is asked for; a prompt is a description alone. An answer is so many frames of
codes: at each step one of every codebook is drawn, together one token. What is trained is the decoder; text encoder, its projection
and the codec stay as they are, so what they make of rows is kept on disk. Settings (`settings.objective`): `clip_seconds` (30), the
longest part of a recording that is learnt; `caption_dropout`, the share of descriptions left out (0.1, for guidance when sampling);
`sample_seconds` (8), `sample_guidance` (3), `sample_temperature` (1) for sounds on the way.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kriptik.engine.base import NOT_LOADABLE, find_base
from kriptik.engine.interfaces import Adaptation, Bundle, Encoded, Exported, MicroBatch, Modality
from kriptik.engine.media import hearing, musicgen_result, sounding
from kriptik.engine.media.cache import Cache
from kriptik.engine.media.library import library, versions
from kriptik.engine.media.listener import Listener
from kriptik.engine.media.recordings import opened, wav
from kriptik.engine.media.sounding import SoundOutput
from kriptik.engine.media.states import awake, bare, rest, states_of
from kriptik.engine.rng import derive, reseed, row_generator
from kriptik.engine.text.heads import value_head
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.job import SamplePrompt, StageSettings

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
PARTS = ("text_encoder", "audio_encoder", "enc_to_dec_proj")
TARGETS = r".*decoder\.layers\.\d+\.((self_attn|encoder_attn)\.(q_proj|k_proj|v_proj|out_proj)|fc[12])"
"""Of the decoder alone and of the whole model alike."""
IGNORED = -100
SAMPLE_SEED = 20
SHOWN_S = 10.0


class Music(Modality):
    """Sounds from a description."""

    provides: ClassVar[frozenset[str]] = frozenset({"codes", "tokens"})
    sample_suffix: ClassVar[str] = ".wav"
    answer_tokens: ClassVar[int] = 400

    def load(self) -> Bundle:
        """See Modality. Raises WorkerError for a precision or a model that cannot be trained."""
        if self.job.precision not in DTYPES:
            what = f"A music model in {self.job.precision} cannot be trained yet."
            raise WorkerError("precision_not_available", what, "Choose fp32 or bf16.")
        transformers = library("transformers")
        base = find_base(self.job)
        try:
            model = transformers.MusicgenForConditionalGeneration.from_pretrained(
                base.folder, dtype=DTYPES[self.job.precision], use_safetensors=True, local_files_only=True
            )
            processor = transformers.AutoProcessor.from_pretrained(base.folder, local_files_only=True)
        except NOT_LOADABLE as error:
            raise WorkerError(
                "model_not_loadable", f"{self.job.base_model.id} cannot be loaded as a music model: {error}"[:800],
                "Choose a music model that the catalogue calls trainable.",
            ) from error
        model.audio_encoder.float()
        model.requires_grad_(False).eval()
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        parts = {name: getattr(model, name) for name in PARTS if hasattr(model, name)}
        info = {"attention": str(model.decoder.config._attn_implementation), "base_sha256": base.sha256,
                "base_source": base.source, "library": versions("soundfile", "scipy")}
        kit = Kit(model, processor)
        return Bundle(model.decoder, processor.tokenizer, parts, info, pipeline=kit, targets=TARGETS, scorer=Listener())

    def encode(self, bundle: Bundle, row: dict[str, Any], index: int, form: str, settings: StageSettings) -> Encoded:
        """See Modality: the recording's codes and the description's states go into the cache; the row keeps their names."""
        if form == "prompt":
            return self._prompt(bundle, row, index)
        if form in ("preference", "ranked"):
            both = [self._encode(bundle, row, row.get(side), index, settings) for side in ("chosen_audio", "rejected_audio")]
            fields = {"documents": [one.fields | {"ranked": form == "ranked"} for one in both],
                      "distinct": max(one.fields["distinct"] for one in both)}
            return Encoded(index, sum(one.length for one in both), 1.0, fields)
        return self._encode(bundle, row, row.get("audio") or row.get("chosen_audio"), index, settings)

    def _prompt(self, bundle: Bundle, row: dict[str, Any], index: int) -> Encoded:
        """A description alone."""
        said = _described(row)
        if not said:
            raise DataError("bad_row", f"Row {index + 1} describes no sound.", "Give every row a text.", fields={"row": index})
        return Encoded(index, 1, 1.0, {"text": self._told(bundle, said), "said": said, "distinct": 0})

    def _encode(self, bundle: Bundle, row: dict[str, Any], file: Any, index: int, settings: StageSettings) -> Encoded:
        """One recording with the row's description."""
        if not isinstance(file, str) or not file:
            raise DataError("bad_row", f"Row {index + 1} names no recording.", "Give every row an audio.", fields={"row": index})
        codes, key = self._codes(bundle, file, index, settings)
        said, frames = _described(row), codes.shape[1]
        fields = {"codes": key, "distinct": len(codes.unique()), "text": self._told(bundle, said),
                  "silence": self._told(bundle, ""), "said": said, "audio": file}
        return Encoded(index, frames + len(codes) - 1, float(frames * len(codes)), fields)

    def collate(self, bundle: Bundle, bins: Sequence[Sequence[Encoded]], seed: int, epoch: int) -> MicroBatch:
        """See Modality: codes with each codebook one step behind the one before it, as the model makes them.

        Of pairs both recordings, the better one first; their descriptions are never left out.
        """
        rows = [row for one in bins for row in one]
        documents = [document for row in rows for document in row.fields.get("documents", [row.fields])]
        cache, device = self._cache(bundle), next(bundle.trainee.parameters()).device
        behind, pad = sounding.behind(bundle.pipeline.config), int(bundle.pipeline.config.pad_token_id)
        codes = [one["made"] if "made" in one else cache.read(one["codes"])["codes"].long() for one in documents]
        steps = max(one.shape[1] for one in codes) + max(behind)
        labels = torch.full((len(documents), len(behind), steps), IGNORED)
        for place, one in enumerate(codes):
            for book, late in enumerate(behind):
                labels[place, book, late : late + one.shape[1]] = one[book]
        first = torch.full((len(documents), len(behind), 1), pad)
        given = torch.cat([first, labels[..., :-1].masked_fill(labels[..., :-1] == IGNORED, pad)], dim=2)
        share = float(self.job.stages[0].settings.objective.get("caption_dropout", 0.1))  # type: ignore[arg-type]
        names = [one["text"] for one in documents]
        if "codes" in rows[0].fields:
            names = [_said(row, share, seed, epoch) for row in rows]
        inputs = {"input_ids": given.to(device), **self._states(bundle, names), "use_cache": False}
        rest(bundle)
        labels = labels.to(device)
        mask = (labels != IGNORED).any(1)
        counts = mask.sum(1)
        ranked = torch.arange(steps, device=device)[None] == counts[:, None] - 1  # what has heard all of it
        extra = {"labels": labels, "targets": labels, "counts": counts.tolist(), "mask": mask,
                 "valued": ranked if documents[0].get("ranked") else mask}
        return MicroBatch(
            inputs, extra, sum(row.weight for row in rows), [row.row for row in rows], sum(row.length for row in rows)
        )

    def forward(self, module: nn.Module, micro: MicroBatch) -> SoundOutput:
        """See Modality. Hidden states are kept where a value head reads them."""
        found = value_head(module)
        output = module(**micro.inputs, output_hidden_states=found is not None)
        hidden = output.hidden_states[-1][micro.extra["valued"]] if found else None
        return SoundOutput(output.logits, hidden, found[1] if found else None)

    def token_log_probs(self, output: SoundOutput, micro: MicroBatch) -> tuple[Tensor, Tensor]:
        """See Modality: a step's is the sum over its codebooks, which are drawn one by one from the same past."""
        labels = micro.extra["labels"]
        logits = output.logits.float().view(*labels.shape, -1) / micro.extra.get("temperature", 1.0)
        found = logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
        return (found * (labels != IGNORED)).sum(1), micro.extra["mask"]

    def generate(self, bundle: Bundle, prompts: Sequence[Encoded], settings: dict[str, Any]) -> list[Encoded]:
        """See Modality: `max_new_tokens` frames each, without guidance.

        At temperature 0 they are drawn with one seed instead: the likeliest codes of all are a hum or nothing.
        """
        several = [row for row in prompts for _ in range(int(settings.get("count", 1)))]
        temperature = float(settings.get("temperature", 1.0))
        states, config = self._states(bundle, [row.fields["text"] for row in several]), bundle.pipeline.config
        frames, seed = int(settings.get("max_new_tokens", 64)), SAMPLE_SEED if temperature == 0 else None
        made = sounding.codes(bare(bundle.trainee), config, states, frames, temperature or 1.0, seed)
        steps = frames + max(sounding.behind(config))
        return [Encoded(row.row, steps, float(steps), row.fields | {"made": one}) for row, one in zip(several, made, strict=True)]

    def sample(self, bundle: Bundle, prompt: SamplePrompt, settings: StageSettings) -> bytes:
        """See Modality."""
        return self.imagine(bundle, prompt.asked, SAMPLE_SEED, settings)

    def imagine(self, bundle: Bundle, prompt: str, seed: int, settings: StageSettings) -> bytes:
        """See Modality: by the library's own generation around the decoder as it is."""
        return wav(self._made(bundle, [prompt], _sample_seconds(settings), seed, settings)[0], bundle.pipeline.rate)

    def brief(self, settings: StageSettings, share: float) -> StageSettings:
        """See Modality."""
        shorter = {"sample_seconds": _sample_seconds(settings) * share, "heard_seconds": _heard_seconds(settings) * share}
        return settings.with_objective(**shorter)

    def heard(self, bundle: Bundle, encoded: Sequence[Encoded], count: int, settings: StageSettings) -> dict[str, float]:
        """`codes`: how near sounds made from the first rows' descriptions are to those rows, and how many codes they use.

        frechet_codec and kernel_codec: see `media/hearing.py`, over the frames of the codec's encoder; distinct_codes: of the first
        codebook in what was made.
        """
        seconds = _heard_seconds(settings)
        kit, seed, encoded = bundle.pipeline, derive(self.job.seed, "heard"), encoded[:count]
        made = self._made(bundle, [row.fields["said"] for row in encoded], seconds, seed, settings)
        real = [opened(self._root() / row.fields["audio"], row.row, kit.rate, kit.channels, seconds) for row in encoded]
        found = [torch.cat([self._features(bundle, one) for one in several]) for several in (real, made)]
        features = hearing.standard(*found)
        distinct = len(torch.cat([self._encoded(bundle, one)[0] for one in made]).unique())
        return {"frechet_codec": hearing.frechet(*features), "kernel_codec": hearing.kernel(*features),
                "distinct_codes": float(distinct)}

    def preview(self, row: dict[str, Any]) -> str:
        """See Modality."""
        return (_described(row) or str(row.get("audio")))[:2000]

    def thumbnail(self, row: dict[str, Any]) -> bytes | None:
        """See Modality: at most `SHOWN_S` seconds, 16 kHz."""
        file = row.get("audio") or row.get("chosen_audio")
        return wav(opened(self._root() / file, 0, 16_000, 1, SHOWN_S), 16_000) if isinstance(file, str) and file else None

    def export(self, bundle: Bundle, adaptation: Adaptation, run_dir: Path) -> Exported:
        """See Modality."""
        return musicgen_result.write(bundle, adaptation, run_dir, self.job)

    def _made(self, bundle: Bundle, prompts: list[str], seconds: float, seed: int, settings: StageSettings) -> list[Tensor]:
        """[channels, samples] per prompt; the same for the same seed."""
        kit, training = bundle.pipeline, bundle.trainee.training
        options = settings.objective
        awake(bundle, PARTS)
        asked = kit.processor(text=prompts, padding=True, return_tensors="pt").to(kit.model.device)
        reseed(seed, "imagine")
        before, kit.model.decoder = kit.model.decoder, bare(bundle.trainee).eval()
        try:
            with torch.no_grad():
                made = kit.model.generate(
                    **asked,
                    do_sample=True,
                    guidance_scale=float(options.get("sample_guidance", 3.0)),  # type: ignore[arg-type]
                    temperature=float(options.get("sample_temperature", 1.0)),  # type: ignore[arg-type]
                    max_new_tokens=max(2 * kit.model.decoder.num_codebooks, round(seconds * kit.frame_rate)),
                )
        finally:
            kit.model.decoder = before
            bundle.trainee.train(training)
        return [one.float().cpu() for one in made]

    def _codes(self, bundle: Bundle, file: str, index: int, settings: StageSettings) -> tuple[Tensor, str]:
        """(codes [codebooks, frames], their name in the cache)."""
        kit, cache, path = bundle.pipeline, self._cache(bundle), self._root() / file
        longest = float(settings.objective.get("clip_seconds", 30.0))  # type: ignore[arg-type]
        samples = opened(path, index, kit.rate, kit.channels, longest)
        key = cache.key("codes", bundle.info["base_sha256"], str(kit.channels), _digest(samples))
        cache.keep(key, lambda: {"codes": self._encoded(bundle, samples).to(torch.int32)})
        return cache.read(key)["codes"].long(), key

    def _encoded(self, bundle: Bundle, samples: Tensor) -> Tensor:
        """[channels, samples] → [codebooks, frames] as the decoder has them: in stereo, left and right take turns."""
        codec: Any = bundle.parts["audio_encoder"]
        awake(bundle, ("audio_encoder",))
        sides = samples[:, None].to(next(codec.parameters()).device)
        with torch.no_grad():
            found = codec.encode(sides, torch.ones_like(sides[:, 0]).bool()).audio_codes[0]
        return found.transpose(0, 1).flatten(0, 1).cpu()

    def _features(self, bundle: Bundle, samples: Tensor) -> Tensor:
        """[frames, size]: what the codec's encoder makes of a sound, before it is put into codes."""
        codec: Any = bundle.parts["audio_encoder"]
        awake(bundle, ("audio_encoder",))
        with torch.no_grad():
            found = codec.encoder(samples.mean(0)[None, None].to(next(codec.parameters()).device))
        return found[0].T.cpu()

    def _told(self, bundle: Bundle, said: str) -> str:
        """States of a description as the decoder sees them; of none: one zero, as the library has it for guidance."""
        cache, kit = self._cache(bundle), bundle.pipeline
        size = kit.model.decoder.config.hidden_size

        def make() -> dict[str, Tensor]:
            if not said:
                return {"states": torch.zeros(1, size), "mask": torch.ones(1)}
            awake(bundle, PARTS)
            asked = kit.processor(text=[said], return_tensors="pt", truncation=True).to(kit.model.device)
            with torch.no_grad():
                states = kit.model.text_encoder(**asked).last_hidden_state
                states = kit.model.enc_to_dec_proj(states) if "enc_to_dec_proj" in bundle.parts else states
            return {"states": states[0].float(), "mask": torch.ones(states.shape[1])}

        return cache.keep(cache.key("text", bundle.info["base_sha256"], self.job.precision, said), make)

    def _states(self, bundle: Bundle, names: Sequence[str]) -> dict[str, Tensor]:
        """What the decoder takes of descriptions, by their names in the cache."""
        like, cache = next(bundle.trainee.parameters()), self._cache(bundle)
        text = states_of([cache.read(name) for name in names], like.device)
        return {"encoder_hidden_states": text["states"].to(like.dtype), "encoder_attention_mask": text["mask"]}

    def _cache(self, bundle: Bundle) -> Cache:
        return Cache(Path(self.job.cache_dir) / "encoded" / str(bundle.info["base_sha256"])[:16])

    def _root(self) -> Path:
        return Path(self.job.data.train_path).parent if self.job.data else Path(self.job.run_dir)


class Kit:
    """The whole model around the decoder, and what goes before and after it."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor
        codec, self.config = model.audio_encoder.config, model.decoder.config
        self.rate, self.channels = int(codec.sampling_rate), int(model.decoder.config.audio_channels)
        self.frame_rate = float(codec.frame_rate)


def _described(row: dict[str, Any]) -> str:
    """What a row says of the sound: its text, or the last turn of its prompt."""
    turns = row.get("prompt")
    return str((turns[-1].get("content") if isinstance(turns, list) and turns else row.get("text")) or "").strip()


def _sample_seconds(settings: StageSettings) -> float:
    return float(settings.objective.get("sample_seconds", 8))  # type: ignore[arg-type]


def _heard_seconds(settings: StageSettings) -> float:
    return float(settings.objective.get("heard_seconds", 5))  # type: ignore[arg-type]


def _said(row: Encoded, share: float, seed: int, epoch: int) -> str:
    if not share:
        return row.fields["text"]
    draw = float(torch.rand((), generator=row_generator(seed, epoch, row.row, "caption")))
    return row.fields["silence" if draw < share else "text"]


def _digest(samples: Tensor) -> str:
    import hashlib

    return hashlib.sha256(samples.numpy().tobytes()).hexdigest()
