"""Recordings of a data set: read, refused or converted with a word on it, one by one, levelled, cut, and what is said in each.

In a zip, texts come from tables, lists or text files (`beside.py`): a description of music, or the words that are spoken. What a
file is, its content says, not its name. Every usable recording becomes FLAC of 16 bits. Music is cut into parts of `CLIP_S`, which
keep their text; speech at its pauses (`speech`), or where a table says so. What nobody says in words is written down by a model
where one is at hand (`transcripts.py`), and marked as such; else it is left out.
"""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from kriptik.data import waves
from kriptik.data.archive import Member
from kriptik.data.beside import Said, said_of
from kriptik.data.compared import Pair
from kriptik.data.record import Place, Taken
from kriptik.data.text import hash64
from kriptik.data.transcripts import Transcripts
from kriptik.spec.data import Row, Transcript
from kriptik.spec.errors import DataError

FORMATS = {
    "WAV": ".wav", "WAVEX": ".wav", "RF64": ".wav", "FLAC": ".flac", "OGG": ".ogg", "MP3": ".mp3", "MPEG": ".mp3", "AIFF": ".aif",
}  # fmt: skip
"""libsndfile's names of containers, and the suffix that goes with each."""
OTHER_SUFFIXES = frozenset({".m4a", ".aac", ".wma"})
"""Sounds by their names which are not read here; they are named as such."""
SUFFIXES = frozenset({*FORMATS.values(), ".oga", ".opus", ".aiff", ".mpga", *OTHER_SUFFIXES})
SAME_SUFFIX = {".oga": ".ogg", ".opus": ".ogg", ".aiff": ".aif", ".mpga": ".mp3"}
COLUMNS = ("file_name", "audio", "file", "filename", "audio_path", "audio_file", "wav", "sound", "recording", "clip", "path")
RATES = (8_000, 192_000)
KEPT_RATE = 48_000
"""In Hz: what is above is brought down to this."""
MOST_SECONDS = 1200
MOST_SAMPLES = 60_000_000
"""Of all channels together: 240 MB while a recording is looked at."""
LEAST_SECONDS = 0.3
SILENT = 1e-3
CLIP_S = 30.0
PHRASE_S = (1.0, 15.0)
NOISY_DB, CLIPPED_SHARE = 15.0, 1e-3
UNITS_PER_SECOND = 50
"""Frames of a usual codec: what the planner counts instead of tokens."""
MEDIA = "media"


@dataclass(frozen=True)
class Sound:
    """A recording that can be used, or a part of one: float32 [frames, 1 or 2], rate in Hz, what had to be done (codes of the
    doctor), and where in its file it begins, in seconds."""

    samples: np.ndarray
    rate: int
    notes: tuple[str, ...] = ()
    start: float = 0.0

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def is_sound(name: str) -> bool:
    """By its name."""
    return Path(name).suffix.lower() in SUFFIXES


def take(
    sounds: list[Member], tables: list[Member], folder: Path, *, speech: bool, transcripts: Transcripts | None = None
) -> Iterator[Taken]:
    """Each recording's clips in order of name; usable ones are written to `folder`/media under a name that their content gives.

    `transcripts`: the words of speech that came without. Raises KriptikError where they could not be written down.
    """
    texts = said_of(sounds, tables, COLUMNS)
    for number, member in enumerate(sorted(sounds, key=lambda one: one.name), 1):
        place = Place(number, member.name)
        try:
            sound = look(member.path, member.name)
            clips = _cut(sound, texts.get(member.name, []), member.name, speech=speech)
        except DataError as error:
            yield Taken(place, member.name, problem=error.code)
            continue
        origin = f"{hash64(hashlib.sha256(sound.samples.tobytes()).hexdigest()):016x}"
        notes = sound.notes
        if len(clips) > 1:
            notes = (*notes, "sound_cut")
        for clip, text in clips:
            yield _kept(place, member.name, replace(clip, notes=notes), text, origin, folder, transcripts, speech=speech)
            notes = ()
        if not clips:
            yield Taken(place, member.name, problem="sound_silent")


def take_pairs(sounds: list[Member], pairs: list[Pair], folder: Path) -> Iterator[Taken]:
    """Each pair of recordings in order of its table; of long ones only the beginning is compared."""
    by_name = {one.name: one for one in sounds}
    for pair in pairs:
        shown = pair.shown
        if pair.tie:
            yield Taken(pair.place, shown, problem="no_preference")
            continue
        try:
            sides = [look(by_name[name].path, name) for name in (pair.better, pair.worse)]
        except DataError as error:
            yield Taken(pair.place, shown, problem=error.code)
            continue
        short = [replace(one, samples=one.samples[: int(CLIP_S * one.rate)]) for one in sides]
        notes = dict.fromkeys(code for one in sides for code in one.notes)
        if any(len(one.samples) < len(whole.samples) for one, whole in zip(short, sides, strict=True)):
            notes["sound_pair_cut"] = None
        better, worse = (_written(one, folder) for one in short)
        if better == worse:
            yield Taken(pair.place, shown, problem="same_answers")
            continue
        facts = {"seconds": round(short[0].seconds, 3), "rate": short[0].rate, "peaks": waves.outline(short[0].samples)}
        row: Row = {"chosen_audio": better, "rejected_audio": worse, "text": pair.text, **facts}
        units = sum(round(one.seconds * UNITS_PER_SECOND) for one in short)
        yield Taken(pair.place, shown, row, max(1, units), tuple(notes) if pair.text else (*notes, "sound_no_text"))


def unsaid(sounds: list[Member], tables: list[Member], recording: str) -> Iterator[bytes]:
    """FLAC files of the clips of one recording of speech whose words nobody gave, as `take` lets them be heard. Only the recording
    itself need be there. Raises DataError as `look` does."""
    texts = said_of(sounds, tables, COLUMNS)
    for member in sounds:
        if member.name == recording:
            parts = _cut(look(member.path, member.name), texts.get(member.name, []), member.name, speech=True)
            yield from (flac(clip.samples, clip.rate) for clip, text in parts if not text)


def look(path: Path, name: str) -> Sound:
    """The recording, levelled, brought to a usual rate and at most two channels.

    Raises DataError with a code of the doctor: damaged, of an unknown kind, too long, too short, silent, an impossible rate.
    """
    import soundfile

    suffix = Path(name).suffix.lower()
    try:
        with path.open("rb") as handle, soundfile.SoundFile(handle) as found:
            kind, rate, channels = str(found.format), int(found.samplerate), int(found.channels)
            if kind not in FORMATS:
                raise _refused("sound_format", f"{name} is a {kind} file.", "Save it as WAV, FLAC, OGG or MP3.")
            if not RATES[0] <= rate <= RATES[1]:
                raise _refused("sound_rate", f"{name} says that it has {rate:,} samples a second.", "Save it at 16 to 48 kHz.")
            most = min(MOST_SECONDS * rate, MOST_SAMPLES // channels)
            if found.frames > most:
                raise _refused("sound_long", f"{name} lasts {found.frames / rate / 60:,.0f} minutes.", "Cut it into parts.")
            samples = found.read(most + 1, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError, ValueError, MemoryError) as error:
        if suffix in OTHER_SUFFIXES:
            raise _refused("sound_format", f"{name} is of a kind that is not read here.", "Save it as WAV or FLAC.") from error
        raise _refused("sound_damaged", f"{name} is no recording that can be read.", "Send it again.") from error
    if len(samples) > most:
        raise _refused("sound_long", f"{name} lasts longer than it says.", "Cut it into parts.")
    notes = ["sound_renamed"] * (FORMATS[kind] != SAME_SUFFIX.get(suffix, suffix))
    return _settled(samples, rate, name, notes)


def flac(samples: np.ndarray, rate: int) -> bytes:
    """The file's bytes, 16 bits a sample; the same for the same samples."""
    import soundfile

    sink = io.BytesIO()
    soundfile.write(sink, samples, rate, format="FLAC", subtype="PCM_16")
    return sink.getvalue()


def clip_name(content: bytes) -> str:
    """What a clip is called: the first half of its file's SHA-256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()[:32]


def _settled(samples: np.ndarray, rate: int, name: str, notes: list[str]) -> Sound:
    if len(samples) < LEAST_SECONDS * rate:
        raise _refused("sound_short", f"{name} lasts {len(samples) / rate:.3f} s.", f"Send at least {LEAST_SECONDS} s.")
    if not np.isfinite(samples).all():
        raise _refused("sound_damaged", f"{name} holds samples that are no numbers.", "Send it again.")
    if float(np.abs(samples).max()) < SILENT:
        raise _refused("sound_silent", f"{name} is silent.", "Leave it out.")
    if waves.clipped(samples) > CLIPPED_SHARE:
        notes.append("sound_clipped")
    if samples.shape[1] > 2:
        samples = samples.mean(1, keepdims=True)
        notes.append("sound_mixed")
    if rate > KEPT_RATE:
        samples = waves.resampled(samples, rate, KEPT_RATE)
        rate = KEPT_RATE
        notes.append("sound_resampled")
    return Sound(waves.levelled(samples, rate), rate, tuple(notes))


def _cut(sound: Sound, said: list[Said], name: str, *, speech: bool) -> list[tuple[Sound, str]]:
    """Clips and their texts: as a table says, at pauses, or at even distances."""
    parts = [one for one in said if one.start is not None or one.end is not None]
    if parts:
        return [(_piece(sound, one.start or 0.0, one.end, name), one.text) for one in parts]
    text = said[-1].text if said else ""
    if speech and sound.seconds > PHRASE_S[1] and not text:
        places = waves.phrases(sound.samples, sound.rate, PHRASE_S[1], PHRASE_S[0])
        return [(replace(sound, samples=sound.samples[a:b], start=a / sound.rate), "") for a, b in places]
    if speech or sound.seconds <= CLIP_S * 1.2:
        return [(sound, text)]
    count = max(1, round(sound.seconds / CLIP_S))
    found, at = [], 0
    for one in np.array_split(sound.samples, count):
        if float(np.abs(one).max()) >= SILENT:
            found.append((replace(sound, samples=one, start=at / sound.rate), text))
        at += len(one)
    return found


def _piece(sound: Sound, start: float, end: float | None, name: str) -> Sound:
    last = sound.seconds if end is None else min(end, sound.seconds)
    if last - start < LEAST_SECONDS:
        what = f"{name} has no sound from {start:g} to {end if end is not None else last:g} s."
        raise _refused("sound_bad_part", what, "Correct the table's times.")
    piece = sound.samples[int(start * sound.rate) : int(last * sound.rate)]
    if float(np.abs(piece).max()) < SILENT:
        raise _refused("sound_silent", f"{name} is silent from {start:g} to {last:g} s.", "Correct the table's times.")
    return replace(sound, samples=piece, start=start)


def _kept(
    place: Place, name: str, clip: Sound, text: str, origin: str, folder: Path, transcripts: Transcripts | None, *, speech: bool
) -> Taken:
    """Writes the clip and makes its row. Speech without words cannot be learnt from, so it is left out."""
    notes, shown, marked = list(clip.notes), name, {}
    if speech and clip.seconds > PHRASE_S[1] * 2:
        return Taken(place, name, notes=tuple(notes), problem="sound_long_phrase")
    if not text and speech:
        found = _transcribed(clip, name, folder, transcripts)
        if found is None:
            return Taken(place, name, notes=tuple(notes), problem="sound_no_words")
        text, shown, marked = found.text, f"{name}: {found.text}", {"transcribed": found.by}
        notes.append("sound_corrected" if found.edited else "sound_checked" if found.checked else "sound_transcribed")
    if not text:
        notes.append("sound_no_text")
    if speech:
        notes += ["sound_noisy"] * (waves.noise_ratio(clip.samples, clip.rate) < NOISY_DB)
    file = _written(clip, folder)
    facts: dict[str, Any] = {"seconds": round(clip.seconds, 3), "rate": clip.rate, "peaks": waves.outline(clip.samples)}
    row: Row = {"audio": file, "text": text, "origin": origin, **marked, **facts}
    return Taken(place, shown, row, max(1, round(clip.seconds * UNITS_PER_SECOND)), tuple(notes))


def _transcribed(clip: Sound, name: str, folder: Path, transcripts: Transcripts | None) -> Transcript | None:
    """The clip's words; None where nobody says them."""
    if transcripts is None:
        return None
    about = {"name": name, "start": round(clip.start, 3), "seconds": round(clip.seconds, 3)}
    with TemporaryDirectory(dir=folder, prefix="heard-") as apart:  # what is left out must not lie among the rows' files
        return transcripts.of(Path(apart) / _written(clip, Path(apart)), about)


def _written(clip: Sound, folder: Path) -> str:
    """The clip's file, relative to `folder`, under a name that its content gives."""
    content = flac(clip.samples, clip.rate)
    file = f"{MEDIA}/{clip_name(content)}.flac"
    target = folder / file
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.write_bytes(content)
    return file


def _refused(code: str, sentence: str, step: str) -> DataError:
    return DataError(code, sentence, step)
