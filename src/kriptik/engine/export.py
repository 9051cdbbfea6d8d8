"""The work of an export job: a checkpoint's model, written out, read back, compared with what was trained, and only then kept."""

import gc
import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kriptik.engine import hub
from kriptik.engine.interfaces import Adaptation, Bundle, Modality
from kriptik.engine.modalities.vision import Vision
from kriptik.engine.testing import restored
from kriptik.engine.text import gguf_read, gguf_write, modelfile, parity, scoring
from kriptik.engine.text.card import base_name, write_card
from kriptik.engine.text.heads import SCORE, value_head
from kriptik.engine.text.result import merged_parity
from kriptik.spec.errors import WorkerError
from kriptik.spec.events import ExportDone, ExportMoved, WorkerBody
from kriptik.spec.export import ExportFile, ExportOrder, ExportResult, Parity, UseCommand, gguf_bytes
from kriptik.spec.job import TrainJob

SPARE_BYTES = 64 << 20
"""Left free on the disk besides what is written."""
MANIFEST = "export.json"
ADAPTER, MERGED, GGUF = "adapter", "model", "gguf"
USED_BY = {ADAPTER: set(), MERGED: {"vllm"}, GGUF: {"llama_cpp", "ollama"}}
"""Which tools read what lies in which folder."""


@dataclass
class Work:
    """One export under way. `part` becomes `folder` when everything in it was checked."""

    job: TrainJob
    order: ExportOrder
    emit: Callable[[WorkerBody], None]
    bundle: Bundle
    modality: Modality
    adaptation: Adaptation
    part: Path
    predicted: int = 0
    checks: list[Parity] = field(default_factory=list)

    @property
    def forms(self) -> set[str]:
        """The forms that were asked for."""
        return set(self.order.request.formats)

    @property
    def wants_gguf(self) -> bool:
        """Whether a GGUF file is to be written."""
        return bool(self.forms & {"gguf", "ollama"})

    @property
    def gguf_name(self) -> str:
        """The GGUF file's name."""
        return f"model-{self.order.request.gguf_type}.gguf"

    def say(self, progress: float, message: str) -> None:
        """Where the work is."""
        self.emit(ExportMoved(progress=progress, message=message))


def export(job: TrainJob, emit: Callable[[WorkerBody], None]) -> ExportDone:
    """Writes `exports/<id>` in the run's folder, create-only. Raises WorkerError; then nothing is left behind."""
    began = time.monotonic()
    order = job.export
    if order is None:
        raise WorkerError("nothing_ordered", "The job does not say what to export.", "Start the export again.")
    folder = Path(job.run_dir) / "exports" / order.id
    if folder.exists():
        raise WorkerError("export_exists", "This export has been written before.", "Start a new one.")
    emit(ExportMoved(progress=0.02, message=f"Loading {base_name(job)} with what was trained"))
    run, adaptation = restored(job)
    part = folder.with_name(f".{order.id}")
    work = Work(job, order, emit, run.bundle, run.modality, adaptation, part)
    refuse(work)
    for left in folder.parent.glob(".*"):  # of exports that were ended in the middle
        shutil.rmtree(left, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        _write(work)
        commands = commands_of(work)
        _cards(work, commands)
        files = _listed(part, f"exports/{order.id}")
        _manifest(work, files)
        part.rename(folder)
    except OSError as error:
        sentence = f"The export could not be written: {error.strerror or error}."
        raise WorkerError("disk_full", sentence, "Free disk space, then export again.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    result = ExportResult(
        folder=f"exports/{order.id}",
        files=files,
        bytes=sum(file.bytes for file in files),
        predicted_bytes=work.predicted,
        parity=work.checks,
        commands=commands,
        seconds=round(time.monotonic() - began, 1),
    )
    if order.request.hub is not None:
        emit(ExportDone(result=result))  # what is written stays known, whatever the hub says
        work.say(0.9, f"Pushing to {order.request.hub.repo_id}")
        url = hub.push(repository(folder), order.request.hub)
        result = result.model_copy(update={"hub_url": url, "seconds": round(time.monotonic() - began, 1)})
    return ExportDone(result=result)


def refuse(work: Work) -> None:
    """Raises WorkerError before anything is written: a form this model cannot have, or a disk too small for it."""
    alone = work.adaptation.adapter and (len(work.job.stages) == 1 or not work.adaptation.merges)
    if "adapter" in work.forms and not alone:
        raise WorkerError(
            "no_adapter", "This run has no adapter that would be right on the plain base.", "Export the merged model instead."
        )
    if (work.wants_gguf or "merged" in work.forms) and not work.adaptation.merges:
        raise WorkerError("no_merged", "What this method learnt cannot be folded into the base.", "Export the adapter instead.")
    if work.wants_gguf and isinstance(work.modality, Vision):
        raise WorkerError("gguf_not_known", "A model that sees cannot be written as GGUF yet.", "Export it merged.")
    if work.wants_gguf:
        if _scores(work.bundle):
            raise WorkerError("gguf_not_known", "A reward model cannot be written as GGUF.", "Export it merged.")
        gguf_write.family_of(_config(work.bundle))
        gguf_write.pre_tokenizer_of(work.bundle.tokenizer)
    if "ollama" in work.forms:
        parity.must_pass(modelfile.check(work.bundle.tokenizer, modelfile.take_apart(work.bundle.tokenizer)))
    work.predicted, needed = predict(work)
    at = Path(work.job.run_dir)
    free = shutil.disk_usage(at).free
    if free < needed + SPARE_BYTES:
        raise WorkerError(
            "disk_full",
            f"The export needs {needed / 1e6:,.0f} MB while it is made, and {free / 1e6:,.0f} MB are free.",
            "Free disk space, or choose fewer forms or a smaller type.",
        )


def predict(work: Work) -> tuple[int, int]:
    """(bytes that are kept, bytes needed while it is made): GGUF is made from the merged files, wanted or not."""
    trained = sum(p.numel() * p.element_size() for p in work.bundle.trainee.parameters() if p.requires_grad)
    config = _config(work.bundle)
    weights = parameters_of(config)
    wide = 2 if str(getattr(config, "dtype", "")).endswith(("bfloat16", "float16")) else 4
    vocabulary = 120 * config.get_text_config().vocab_size
    kept = needed = 0
    if "adapter" in work.forms:
        kept += trained + vocabulary
    merged = weights * wide + vocabulary
    kept += merged if "merged" in work.forms else 0
    needed = kept if "merged" in work.forms else kept + merged
    if work.wants_gguf:
        size = gguf_bytes(weights, work.order.request.gguf_type, vocabulary)
        kept, needed = kept + size, needed + size
    return kept, needed


def parameters_of(config: Any) -> int:
    """Weights of the plain model, counted without making it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    sees = config.get_text_config() is not config
    with torch.device("meta"):
        model: Any = (AutoModelForImageTextToText if sees else AutoModelForCausalLM).from_config(config)
        return sum(p.numel() for p in model.parameters())


def _write(work: Work) -> None:
    """Every form that was asked for, each checked as it is on disk."""
    if "adapter" in work.forms:
        work.say(0.1, "Writing the adapter")
        work.adaptation.save(work.bundle, work.part / ADAPTER)
        scoring.complete_adapter(work.bundle.trainee, work.part / ADAPTER)
    if not (work.wants_gguf or "merged" in work.forms):
        return
    work.say(0.2, "Merging, and comparing with what was trained")
    if isinstance(work.modality, Vision):
        _merged_with_eyes(work, work.modality)
        return
    rows = parity.token_rows(work.bundle.tokenizer)
    reference = _merged(work, rows)
    if work.wants_gguf:
        _gguf(work, rows, reference)
    if "merged" not in work.forms:
        shutil.rmtree(work.part / MERGED)


def _merged(work: Work, rows: list[list[int]]) -> Any:
    """Writes the merged model; returns the logits of the model read back."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, tokenizer = work.part / MERGED, work.bundle.tokenizer
    merged: Any = work.adaptation.merged(work.bundle)
    scoring.save_model(merged, tokenizer, folder)
    tokenizer.save_pretrained(folder)
    read = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    work.checks.append(parity.must_pass(parity.same_tokens("template", tokenizer, read)))
    if _scores(work.bundle):
        work.checks.append(parity.must_pass(merged_parity(work.bundle.trainee, merged, tokenizer)))
        return None
    dtype = next(merged.parameters()).dtype
    del merged
    gc.collect()
    again: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=False, use_safetensors=True)
    trained, got = parity.logits_of(work.bundle.trainee, rows), parity.logits_of(again, rows)
    what = "the merged model, read back, against the trained one"
    work.checks.append(parity.must_pass(parity.same_merged(what, trained, got, parity.exactly(work.bundle.trainee, again))))
    return got


def _merged_with_eyes(work: Work, modality: Vision) -> None:
    """Writes the merged model with its processor; compares what the model read back says of a picture."""
    from transformers import AutoModelForImageTextToText

    folder = work.part / MERGED
    merged: Any = work.adaptation.merged(work.bundle)
    merged.save_pretrained(folder)
    work.bundle.pipeline.processor.save_pretrained(folder)
    dtype = next(merged.parameters()).dtype
    del merged
    gc.collect()
    again: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, trust_remote_code=False, use_safetensors=True)
    what = "the merged model, read back, against the trained one, about a picture"
    work.checks.append(parity.must_pass(modality.same(work.bundle, again, what)))


def _gguf(work: Work, rows: list[list[int]], reference: Any) -> None:
    """Writes the GGUF file and, for Ollama, its Modelfile; compares vocabulary, template and logits with the merged model."""
    kind, tokenizer, config = work.order.request.gguf_type, work.bundle.tokenizer, _config(work.bundle)
    folder = work.part / GGUF
    folder.mkdir()
    turns = modelfile.take_apart(tokenizer)
    work.say(0.5, f"Writing GGUF ({kind})")
    path = folder / work.gguf_name
    begins = bool(turns and turns.bos)
    gguf_write.write_gguf(work.part / MERGED, tokenizer, config, path, kind, base_name(work.job), begins=begins)
    work.say(0.7, "Reading the GGUF file back, and comparing")
    read = gguf_read.read_vocabulary(path)
    bos = read.tokenizer.bos_token_id if read.begins else None
    work.checks.append(parity.must_pass(parity.same_tokens("gguf_template", tokenizer, read.tokenizer, bos=bos)))
    got = parity.logits_of(gguf_read.read_model(path, config), rows)
    what = f"the GGUF file ({kind}), read back, against the merged model"
    work.checks.append(parity.must_pass(parity.same_logits("gguf", what, reference, got, parity.GGUF_LIMITS[kind])))
    if "ollama" in work.forms and turns is not None:
        work.checks.append(parity.must_pass(modelfile.check(tokenizer, turns)))
        stops = [tokenizer.eos_token] if tokenizer.eos_token else []
        text = modelfile.write_modelfile(turns, path.name, stops, config.max_position_embeddings)
        (folder / "Modelfile").write_text(text, encoding="utf-8")


def commands_of(work: Work) -> list[UseCommand]:
    """How to run what was written, from inside its folder; what goes to the hub is served from there."""
    found = []
    if "merged" in work.forms and not _scores(work.bundle):
        most, target = _config(work.bundle).get_text_config().max_position_embeddings, work.order.request.hub
        where = target.repo_id if target else f"./{MERGED}"
        found.append(UseCommand(name="vllm", command=f"vllm serve {where} --served-model-name kriptik --max-model-len {most}"))
    if work.wants_gguf:
        found.append(UseCommand(name="llama_cpp", command=f"llama-server -m ./{GGUF}/{work.gguf_name} --jinja"))
    if "ollama" in work.forms:
        found.append(UseCommand(name="ollama", command=f"ollama create kriptik -f ./{GGUF}/Modelfile && ollama run kriptik"))
    return found


def repository(folder: Path) -> dict[str, Path]:
    """Where each file goes in a hub repository: the merged model or, without one, the adapter at the top, the rest beside it."""
    top = next(name for name in (MERGED, ADAPTER, GGUF) if (folder / name).is_dir())
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != MANIFEST:
            inside = file.relative_to(folder)
            name = inside.relative_to(top) if inside.parts[0] == top else inside
            found[name.as_posix()] = file
    return found


def _cards(work: Work, commands: list[UseCommand]) -> None:
    for name in (ADAPTER, MERGED, GGUF):
        if (work.part / name).is_dir():
            own = [one for one in commands if one.name in USED_BY[name]]
            write_card(work.part / name, work.job, adapter=name == ADAPTER, order=work.order, parity=work.checks, commands=own)


def _listed(part: Path, name: str) -> list[ExportFile]:
    """Every file with its size and SHA-256."""
    found = []
    for file in sorted(path for path in part.rglob("*") if path.is_file()):
        with file.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        found.append(ExportFile(path=f"{name}/{file.relative_to(part).as_posix()}", bytes=file.stat().st_size, sha256=digest))
    return found


def _manifest(work: Work, files: list[ExportFile]) -> None:
    facts = {
        "request": work.order.request.document(),
        "checkpoint": work.job.resume_from,
        "parity": [check.document() for check in work.checks],
        "files": {file.path.split("/", 2)[2]: {"bytes": file.bytes, "sha256": file.sha256} for file in files},
    }
    (work.part / MANIFEST).write_text(json.dumps(facts, indent=1, sort_keys=True), encoding="utf-8")


def _scores(bundle: Bundle) -> bool:
    found = value_head(bundle.trainee)
    return found is not None and found[0] == SCORE


def _config(bundle: Bundle) -> Any:
    trainee: Any = bundle.trainee
    return trainee.config
