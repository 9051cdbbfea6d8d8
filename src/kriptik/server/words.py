"""The words that lie beside a data set's source: a model writes them down, people correct them meanwhile, and neither loses what
the other did; whose voice the clips are of; and the clips themselves, to listen to."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

from kriptik.data import archive, embedded, sounds, transcripts, voices
from kriptik.data.archive import Member
from kriptik.data.transcripts import Transcripts
from kriptik.data.voices import Voices
from kriptik.server.core import Core
from kriptik.server.scribe import EngineScribe
from kriptik.spec.data import Transcript
from kriptik.spec.errors import ConflictError, NotFoundError

_KEEPING = threading.Lock()
"""Held while a file with words is read and put back, and while `Core.writing` changes."""


def known(source: Path) -> dict[str, Transcript]:
    """The words that recordings of a source came without, by clip. Raises DataError for a damaged file."""
    return transcripts.read(_file(source))


def voices_of(source: Path) -> Voices:
    """Whose voice the clips of a source are of, as they were heard. Raises DataError for a damaged file."""
    return voices.read(_voices(source))


def change(source: Path, act: Callable[[Transcripts], None]) -> dict[str, Transcript]:
    """Lets `act` change the words, and keeps them."""
    with _KEEPING:
        words = Transcripts(known(source))
        act(words)
        transcripts.write(_file(source), words)
        return words.known


def begin(source: Path, words: Transcripts) -> None:
    """Puts the words of a new source beside it."""
    if words.known:
        transcripts.write(_file(source), words)
    _keep_voices(source, words.voices)


def forget(source: Path) -> None:
    """Deletes the words of a source, its voices and its clips."""
    _file(source).unlink(missing_ok=True)
    _voices(source).unlink(missing_ok=True)
    rmtree(_clips(source), ignore_errors=True)


@contextlib.contextmanager
def heard(core: Core, source: Path) -> Iterator[Transcripts]:
    """The words of a source, with a scribe for what is missing: kept as it writes, and afterwards."""
    with EngineScribe(core.cache_dir) as scribe:
        before = voices_of(source)
        speakers = Voices(before.known, before.other, scribe.voice)
        words = Transcripts(known(source), scribe, lambda grown: _keep(source, grown), speakers)
        try:
            yield words
        finally:
            _keep(source, words)
            if (speakers.known, speakers.other) != (before.known, before.other):
                _keep_voices(source, speakers)


@contextlib.contextmanager
def being_written(core: Core, dataset_id: str) -> Iterator[None]:
    """One at a time listens to a data set's recordings. 409 `being_written` while somebody does."""
    with _KEEPING:
        must_rest(core, dataset_id)
        core.writing.add(dataset_id)
    try:
        yield
    finally:
        with _KEEPING:
            core.writing.discard(dataset_id)


def must_rest(core: Core, dataset_id: str) -> None:
    """409 `being_written` while the recordings of a data set are listened to."""
    if dataset_id in core.writing:
        raise ConflictError("being_written", "The recordings of this data set are being listened to.", "Wait until that is done.")


def clip(core: Core, source: Path, name: str) -> Path:
    """The file of a clip that came without words; cut out of its recording when it is first asked for. 404 `no_such_clip`."""
    target, one = _clips(source) / f"{name}.flac", known(source).get(name)
    if one is not None and not target.is_file():
        work = core.data_dir / "incoming"
        work.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=work, prefix="clips-") as temporary, _unpacked(source, one.name, Path(temporary)) as found:
            for number, content in enumerate(sounds.unsaid(*found, one.name)):
                part = Path(temporary) / f"{number}.part"
                part.write_bytes(content)
                part.replace(target.parent / f"{sounds.clip_name(content)}.flac")
    if one is None or not target.is_file():
        raise NotFoundError("no_such_clip", "There is no such clip.", "Use the names that the transcripts have.")
    return target


@contextlib.contextmanager
def _unpacked(source: Path, recording: str, work: Path) -> Iterator[tuple[list[Member], list[Member]]]:
    """The recordings of a source, of which the one that is named is there, and the tables beside them."""
    if embedded.holds_media(source, source.name):
        yield embedded.taken_apart(source, source.name, work, only=recording)
        return
    if sounds.is_sound(source.name) or not archive.is_zip(source, source.name):
        yield [Member(source, recording)], []
        return
    with archive.unpacked(source, work, also=sounds.SUFFIXES, only=recording) as content:
        yield content.others, content.members


def _keep(source: Path, words: Transcripts) -> None:
    """Adds what was heard; of what was there before, a person may have changed the words meanwhile: the file's stand."""
    with _KEEPING:
        before = known(source)
        merged = dict(before)
        for name, one in words.known.items():
            about = {"name": one.name, "start": one.start, "seconds": one.seconds}
            merged[name] = before.get(name, one).model_copy(update=about)
        if merged != before:
            transcripts.write(_file(source), Transcripts(merged))


def _keep_voices(source: Path, heard: Voices) -> None:
    if heard.known:
        with _KEEPING:
            voices.write(_voices(source), heard)


def _file(source: Path) -> Path:
    return source.parent / "transcripts.json"


def _voices(source: Path) -> Path:
    return source.parent / "voices.json"


def _clips(source: Path) -> Path:
    return source.parent / "clips"
