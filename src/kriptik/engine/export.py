"""The work of an export job: a checkpoint's model, written out in the ecosystem's format."""

from collections.abc import Callable
from pathlib import Path

from kriptik.engine.testing import restored
from kriptik.spec.events import Log, RunResult, WorkerBody
from kriptik.spec.job import TrainJob


def export(job: TrainJob, emit: Callable[[WorkerBody], None]) -> RunResult:
    """Writes out the model of checkpoint `job.resume_from`. Raises WorkerError."""
    emit(Log(message=f"Loading {job.base_model.id} with checkpoint {job.resume_from}."))
    run, adaptation = restored(job)
    done = run.modality.export(run.bundle, adaptation, Path(job.run_dir))
    return RunResult(adapter_path=done.adapter_path, model_path=done.model_path, bytes=done.bytes)
