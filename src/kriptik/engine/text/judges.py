"""A judge: a model that is asked about answers, by name of where it is. Every answer of its is on the disk before it is used.

Settings (`settings.objective['judge']`): `kind`: "endpoint" (an OpenAI-compatible one: `url`, `model`, `key_env`) or "reference"
(the model before this stage); `max_tokens` (256).
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kriptik.engine import ranks
from kriptik.engine.interfaces import Encoded, Session
from kriptik.engine.text.chat import encode_prompt
from kriptik.llm.chat import Endpoint, complete
from kriptik.spec.errors import WorkerError

Messages = Sequence[dict[str, Any]]
FOLDER = "asked"
"""In the run's folder: one file per process with all that was asked and answered."""


class Judge:
    """Answers questions. Asked the same again, also by a resumed run, it gives the answer on record."""

    def __init__(self, options: Any) -> None:
        told: dict[str, Any] = dict(options) if isinstance(options, dict) else {}
        self.kind = str(told.get("kind", "reference"))
        self.longest = int(told.get("max_tokens", 256))
        self.endpoint: Endpoint | None = None
        if self.kind == "endpoint":
            key = told.get("key_env")
            self.endpoint = Endpoint(str(told.get("url", "")), str(told.get("model", "")), str(key) if key else None)
        elif self.kind != "reference":
            raise WorkerError("unknown_judge", f"There is no judge of kind '{self.kind}'.", "Known: endpoint, reference.")
        self._record: Record | None = None

    def ask(self, messages: Messages, session: Session) -> str:
        """The judge's answer to a conversation. Raises KriptikError where it does not answer."""
        if self._record is None:
            self._record = Record(Path(session.job.run_dir) / FOLDER / f"r{ranks.rank()}.jsonl")
        key = hashlib.sha256(json.dumps([self._name(session), self.longest, list(messages)]).encode()).hexdigest()
        found = self._record.get(key)
        if found is None:
            found = self._fresh(messages, session)
            self._record.add(key, found)
        return found

    def _name(self, session: Session) -> str:
        return f"stage {session.stage}" if self.endpoint is None else f"{self.endpoint.url} {self.endpoint.model}"

    def _fresh(self, messages: Messages, session: Session) -> str:
        if self.endpoint is not None:
            return complete(self.endpoint, messages, max_tokens=self.longest)
        ids = encode_prompt(session.bundle.tokenizer, list(messages))[-session.settings.max_seq_len :]
        prompt = Encoded(0, len(ids), float(len(ids)), {"ids": ids, "learnt": [False] * len(ids)})
        settings = {"count": 1, "max_new_tokens": self.longest, "temperature": 0.0}
        with session.runtime.generation(), session.quiet(), session.adaptation.reference(session.bundle):
            (said,) = session.modality.generate(session.bundle, [prompt], settings)
        return session.modality.decode(session.bundle, said)


class Record:
    """Question → answer, append-only and synced; a line torn by a killed process is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, str] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                entry = json.loads(line)
                self._known[entry["key"]] = entry["answer"]
                whole += len(line)
            os.truncate(path, whole)

    def get(self, key: str) -> str | None:
        """The answer on record."""
        return self._known.get(key)

    def add(self, key: str, answer: str) -> None:
        """On the disk itself when it returns. Raises WorkerError where the disk is full."""
        line = json.dumps({"key": key, "answer": answer}) + "\n"
        try:
            with self.path.open("a", encoding="utf-8") as handle:
                handle.write(line)
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            sentence = f"A judge's answer could not be kept: {error.strerror}."
            raise WorkerError("disk_full", sentence, "Free disk space, then resume.") from error
        self._known[key] = answer
