"""What can be exported of a run and how large it will be, and an export as it is told to its worker and to people."""

import json
import os
import struct
from pathlib import Path
from typing import Any

from kriptik.catalogue.gguf import gguf_facts
from kriptik.server.core import Core
from kriptik.spec.errors import BadInputError, KriptikError
from kriptik.spec.events import RunResult
from kriptik.spec.export import (
    GGUF_BYTES,
    ExportOffers,
    ExportOrder,
    ExportRequest,
    ExportResult,
    ExportView,
    Form,
    FormOffer,
    gguf_bytes,
)
from kriptik.storage.objects import free_bytes
from kriptik.store.tables import ExportRow, Job

FORMS: tuple[Form, ...] = ("merged", "adapter", "gguf", "ollama")
MOST_HEADER = 100 << 20


def hub_ready() -> bool:
    """Whether this server has a hub token for its workers."""
    return bool(os.environ.get("HF_TOKEN", "").strip())


def offers(core: Core, job: Job) -> ExportOffers:
    """Every form, why it cannot be had, and its predicted size where the model is on this disk."""
    run_dir = core.run_dir(job.id)
    result = RunResult.model_validate(job.result) if job.result else None
    model = run_dir / result.model_path if result and result.model_path else None
    weights, size = _weights(model) if model else (None, None)
    vocabulary = _bytes(model / "tokenizer.json") if model else 0
    by_type = {kind: gguf_bytes(weights, kind, vocabulary) for kind in GGUF_BYTES} if weights else {}
    found = []
    for form in FORMS:
        why = _why_not(job, form, result, model)
        offer = FormOffer(form=form, why_not=why)
        if form == "merged" and size:
            offer = offer.model_copy(update={"bytes": size + vocabulary})
        elif form == "adapter" and result and result.adapter_path:
            offer = offer.model_copy(update={"bytes": _bytes(run_dir / result.adapter_path)})
        elif form in ("gguf", "ollama") and by_type:
            offer = offer.model_copy(update={"bytes": by_type["f16"], "by_type": by_type})
        found.append(offer)
    return ExportOffers(forms=found, free_bytes=free_bytes(_existing(run_dir)), hub_ready=hub_ready())


def refuse(core: Core, job: Job, request: ExportRequest) -> None:
    """Raises before a worker is started: a form this run cannot have, a disk too small, no hub token."""
    known = offers(core, job)
    wanted = [offer for offer in known.forms if offer.form in request.formats]
    for offer in wanted:
        if offer.why_not:
            other = next((o.form for o in known.forms if not o.why_not), None)
            step = f"Export it as {other} instead." if other else "Nothing of this run can be exported."
            raise BadInputError("form_not_possible", offer.why_not, step, fields={"formats": offer.form})
    needed = _needed(wanted, request)
    if needed > known.free_bytes:
        sentence = f"The export needs {needed / 1e6:,.0f} MB, and {known.free_bytes / 1e6:,.0f} MB are free."
        raise KriptikError("disk_full", sentence, "Free disk space, or choose fewer forms or a smaller type.", status=507)
    if request.hub is not None and not known.hub_ready:
        step = "Set HF_TOKEN in the server's environment to a token with write access, and start the server again."
        raise BadInputError("hub_token_missing", "This server has no hub token.", step)


def order_of(row: ExportRow, job: Job) -> ExportOrder:
    """What the worker is told."""
    result = RunResult.model_validate(job.result) if job.result else None
    before, after = (result.eval_before, result.eval_after) if result else (None, None)
    return ExportOrder(
        id=row.id,
        request=ExportRequest.model_validate(row.request),
        loss_before=before.loss if before else None,
        loss_after=after.loss if after else None,
        eval_rows=after.rows if after else 0,
    )


def view(row: ExportRow) -> ExportView:
    """An export as people see it."""
    unfinished = "failed" if row.code else "cancelled"
    state = {"starting": "waiting", "ready": "working", "ending": unfinished, "failed": "failed"}.get(row.state)
    return ExportView.model_validate(
        {
            "id": row.id,
            "job_id": row.job_id,
            "state": state or ("done" if row.result else unfinished),
            "request": ExportRequest.model_validate(row.request),
            "progress": row.progress,
            "message": row.message,
            "result": ExportResult.model_validate(row.result) if row.result else None,
            "code": row.code,
            "error": row.error,
            "next_step": row.next_step,
            "created_at": row.created_at,
            "ended_at": row.ended_at,
        }
    )


def _why_not(job: Job, form: Form, result: RunResult | None, model: Path | None) -> str | None:
    if job.estimate["modality"] not in ("text", "vision_language"):
        return f"Exports of {job.estimate['modality'].replace('_', ' ')} models come later; the run's files can be downloaded."
    if form == "adapter":
        return "This run has no adapter that would be right on the plain base." if result and not result.adapter_path else None
    if result and not result.model_path:
        return "What this method learnt cannot be folded into the base."
    if form != "merged" and model is not None and (model / "config.json").is_file():
        config = json.loads((model / "config.json").read_text())
        if config.get("model_type") not in gguf_facts().families:
            return f"A {config.get('model_type')} model cannot be written as GGUF yet."
        if "ForCausalLM" not in str(config.get("architectures")):
            return "Only language models can be written as GGUF."
    return None


def _needed(wanted: list[FormOffer], request: ExportRequest) -> int:
    """Bytes of the forms together; gguf and ollama are one file. What is not known counts nothing: the worker knows."""
    total = sum(offer.bytes or 0 for offer in wanted if offer.form in ("merged", "adapter"))
    return total + max((offer.by_type.get(request.gguf_type, 0) for offer in wanted), default=0)


def _weights(folder: Path) -> tuple[int | None, int | None]:
    """(numbers, bytes) of a folder's safetensors, from their headers; None where there are none that can be read."""
    numbers = size = 0
    try:
        for file in folder.glob("*.safetensors"):
            with file.open("rb") as handle:
                (length,) = struct.unpack("<Q", handle.read(8))
                header: dict[str, Any] = json.loads(handle.read(min(length, MOST_HEADER)))
            for name, tensor in header.items():
                if name != "__metadata__":
                    count = 1
                    for side in tensor["shape"]:
                        count *= side
                    numbers += count
            size += file.stat().st_size
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None, None
    return (numbers, size) if numbers else (None, None)


def _bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
