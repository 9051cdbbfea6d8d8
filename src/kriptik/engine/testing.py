"""Trying a model: base and tuned loaded once, answering the same requests."""

import base64
import copy
import hashlib
import json
import tempfile
import time
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any

import torch

from kriptik.engine import lock, pieces
from kriptik.engine.average import Average
from kriptik.engine.checkpoint import Checkpoints
from kriptik.engine.interfaces import Adaptation, Bundle
from kriptik.engine.media import pictures
from kriptik.engine.modalities.text import answer
from kriptik.engine.rng import reseed
from kriptik.engine.snapshot import put_back, read_state
from kriptik.engine.stage import Run, made, replay
from kriptik.engine.stage import load as load_run
from kriptik.engine.text.chat import encode_prompt
from kriptik.spec.errors import BadInputError, DataError, WorkerError
from kriptik.spec.job import TrainJob
from kriptik.spec.testing import TestRequest, TestResult

HOUR_S = Decimal(3600)


def restored(job: TrainJob) -> tuple[Run, Adaptation]:
    """The model as checkpoint `job.resume_from` left it (None: the newest), with its stage's adaptation. Raises WorkerError."""
    name = job.resume_from or next(reversed(Checkpoints(job.run_dir).ids()), None)
    if name is None:
        raise WorkerError("no_checkpoint", "There are no trained weights yet.", "Wait for the first checkpoint.")
    lock.settle(job, lock.read(job.run_dir))
    run = load_run(job, pieces.modality(job.modality))
    facts = run.store.verify(name)
    index = int(facts["stage"])
    state = read_state(run.store, name, 0, torch.device("cpu"))
    replay(run, state["earlier"])
    adaptation, objective = made(job.stages[index])
    reseed(job.seed, "apply", index)
    objective.dress(run.bundle)
    adaptation.apply(run.bundle)
    objective.equip(run.bundle)
    adaptation.load_state(state["adaptation"])
    put_back(run.store, name, run.bundle)
    if (decay := job.stages[index].settings.ema) is not None:
        average = Average(run.bundle.trainee, decay)
        average.load_state(state["average"])
        average.put(run.bundle.trainee)
    run.bundle.trainee.eval()
    return run, adaptation


def load(job: TrainJob) -> "Models":
    """Base and tuned, ready to answer."""
    run, adaptation = restored(job)
    return Models(job, run, adaptation)


class Models:
    """Both sides share the base's weights where adapters can be switched off; else the base is loaded beside."""

    def __init__(self, job: TrainJob, run: Run, adaptation: Adaptation) -> None:
        self.job, self.run, self.adaptation = job, run, adaptation
        shared = adaptation.adapter and "reference" in adaptation.provides and not run.bundle.modified
        self.base: Bundle | None = None if shared else _plain(job)
        self.hashes = {"tuned": fingerprint(run.bundle), "base": str(run.bundle.info.get("base_sha256", ""))}

    def answer(self, request: TestRequest) -> TestResult:
        """One answer. Raises BadInputError for an empty request."""
        text = request.text_prompt or request.code_input
        if not text or not text.strip():
            raise BadInputError("empty_prompt", "There is nothing to answer.", "Write a prompt.")
        bundle, kind = self.run.bundle, self.job.modality
        began = time.perf_counter()
        off = request.target == "base" and self.base is None
        asked = bundle if request.target == "tuned" or self.base is None else self.base
        with self.adaptation.reference(bundle) if off else nullcontext():
            said, url, tokens = ANSWERS.get(kind, _said)(self, asked, text, request)
        took = time.perf_counter() - began
        price = self.job.price_per_hour or Decimal(0)
        return TestResult(
            output=said,
            output_url=url,
            latency=took,
            tokens_used=tokens,
            cost=(price * Decimal(str(round(took, 6))) / HOUR_S).quantize(Decimal("0.00000001")),
            metadata={"weights": self.hashes[request.target], "checkpoint": self.job.resume_from or "newest"},
        )


def _said(models: Models, bundle: Bundle, text: str, request: TestRequest) -> tuple[str, str | None, int | None]:
    """(answer, no file, tokens read and written)."""
    messages = [{"role": "user", "content": text}]
    if request.system_prompt:
        messages.insert(0, {"role": "system", "content": request.system_prompt})
    ids = encode_prompt(bundle.tokenizer, messages)
    if request.mode == "completion":
        ids = bundle.tokenizer(text, add_special_tokens=False)["input_ids"]
    said, made = answer(bundle, ids, max_new_tokens=request.max_tokens, temperature=request.temperature, seed=request.seed)
    return said, None, len(ids) + made


def _drawn(models: Models, bundle: Bundle, text: str, request: TestRequest) -> tuple[str, str | None, int | None]:
    """(nothing to read, the file of a picture or a sound in the run's folder, no tokens)."""
    modality = models.run.modality
    content = modality.imagine(bundle, text, request.seed, models.job.stages[-1].settings)
    name = f"samples/test-{hashlib.sha256(content).hexdigest()[:24]}{modality.sample_suffix}"
    path = Path(models.job.run_dir) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return "", name, None


def _placed(models: Models, bundle: Bundle, text: str, request: TestRequest) -> tuple[str, str | None, int | None]:
    """(the text's vector as JSON, no file, tokens read)."""
    modality: Any = models.run.modality
    vector, tokens = modality.vector(bundle, text)
    return json.dumps([round(one, 6) for one in vector]), None, tokens


def _looked(models: Models, bundle: Bundle, text: str, request: TestRequest) -> tuple[str, str | None, int | None]:
    """(answer about the request's picture, if it has one; no file; tokens read and written). Raises BadInputError."""
    modality: Any = models.run.modality
    messages = [{"role": "user", "content": text}]
    if request.system_prompt:
        messages.insert(0, {"role": "system", "content": request.system_prompt})
    with tempfile.TemporaryDirectory() as folder:
        files = []
        if request.image_input:
            files.append(Path(folder) / "asked")
            try:
                files[0].write_bytes(base64.b64decode(request.image_input.rpartition(",")[2], validate=True))
                pictures.opened(files[0], 0)
            except (ValueError, DataError) as error:
                raise BadInputError("bad_picture", "The picture cannot be read.", "Send a PNG, JPEG or WebP in base64.") from error
        options = {"max_new_tokens": request.max_tokens, "temperature": request.temperature, "seed": request.seed}
        said, read, made = modality.answer(bundle, messages, files, **options)
    return said, None, read + made


ANSWERS = {
    "image": _drawn,
    "embedding": _placed,
    "music": _drawn,
    "sound": _drawn,
    "video": _drawn,
    "vision_language": _looked,
    "voice": _drawn,
}
"""By modality; all others answer in text."""


def fingerprint(bundle: Bundle) -> str:
    """SHA-256 over the tensors that were trained, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(bundle.trainee.named_parameters()):
        if tensor.requires_grad or id(tensor) in bundle.modified:
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _plain(job: TrainJob) -> Bundle:
    found: Any = load_run(copy.copy(job), pieces.modality(job.modality)).bundle
    found.trainee.eval()
    return found
