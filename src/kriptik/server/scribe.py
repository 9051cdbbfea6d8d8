"""A process of the engine that listens to recordings: writes down what is said in those without words, and tells voices apart.
Started when it is first asked, ended with its context. The server itself loads no models."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from kriptik.spec.data import Transcript
from kriptik.spec.errors import KriptikError

COMMAND = (sys.executable, "-m", "kriptik.engine.media.scribe")
"""The folder with models is added to it."""
START_S, ANSWER_S = 600.0, 120.0
"""Until the models are found (the first time they are fetched), and until a clip is heard (the first time one is loaded)."""
VOICE = "voice\t"
"""Stands before a clip of which the voice is asked for, not the words."""


class EngineScribe:
    """A `data.transcripts.Scribe`, and with `voice` a `data.voices.Ear`. `cache`: where models are kept."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._process: subprocess.Popen[str] | None = None
        self._models: dict[str, Any] = {}
        """Who writes words down (`by`) and who tells voices apart (`voices`), as the process says."""

    def __enter__(self) -> "EngineScribe":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def __call__(self, clip: Path) -> Transcript | None:
        """What is said in `clip`; None where no model is at hand. Raises KriptikError 503 where the process breaks off."""
        process = self._started()
        if (by := self._models.get("by")) is None:
            return None
        told = self._ask(process, f"{clip}\n")
        return Transcript(text=told["text"], by=by, sure=told.get("sure"))

    def voice(self, clip: Path) -> list[float] | None:
        """The direction of the voice in `clip`; None where no model is at hand, or the process breaks off: a check that nobody
        waits for must not keep the recordings from being used."""
        try:
            process = self._started()
            return self._ask(process, f"{VOICE}{clip}\n")["voice"] if self._models.get("voices") else None
        except KriptikError:
            return None

    def _started(self) -> "subprocess.Popen[str]":
        if self._process is None:
            command = [*COMMAND, str(self.cache)]
            pipe, away = subprocess.PIPE, subprocess.DEVNULL
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=away, text=True)
            self._models = self._answer(self._process, START_S)
        return self._process

    def _ask(self, process: "subprocess.Popen[str]", question: str) -> dict[str, Any]:
        assert process.stdin is not None
        try:
            process.stdin.write(question)
            process.stdin.flush()
        except OSError as error:
            raise _broken() from error
        return self._answer(process, ANSWER_S)

    def _answer(self, process: "subprocess.Popen[str]", limit_s: float) -> dict[str, Any]:
        assert process.stdout is not None
        late = threading.Timer(limit_s, process.kill)
        late.start()
        try:
            return json.loads(process.stdout.readline())
        except ValueError as error:
            raise _broken() from error
        finally:
            late.cancel()


def _broken() -> KriptikError:
    what = "The words of the recordings could not be written down: the model broke off."
    step = "Try again; or give the words yourself, in a table beside the recordings."
    return KriptikError("not_transcribed", what, step, status=503)
