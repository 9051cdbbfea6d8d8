"""A process of the engine that writes down what is said in recordings without words: started when it is first asked, ended with its
context. The server itself loads no models."""

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
"""Until a model is loaded (the first time it is fetched), and until a clip is heard."""


class EngineScribe:
    """A `data.transcripts.Scribe`. `cache`: where models are kept."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._process: subprocess.Popen[str] | None = None
        self._by: str | None = None

    def __enter__(self) -> "EngineScribe":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def __call__(self, clip: Path) -> Transcript | None:
        """What is said in `clip`; None where no model is at hand. Raises KriptikError 503 where the process breaks off."""
        if self._process is None:
            command = [*COMMAND, str(self.cache)]
            pipe, away = subprocess.PIPE, subprocess.DEVNULL
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=away, text=True)
            self._by = self._answer(self._process, START_S)["by"]
        if self._by is None:
            return None
        told = self._ask(self._process, clip)
        return Transcript(text=told["text"], by=self._by, sure=told.get("sure"))

    def _ask(self, process: "subprocess.Popen[str]", clip: Path) -> dict[str, Any]:
        assert process.stdin is not None
        try:
            process.stdin.write(f"{clip}\n")
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
