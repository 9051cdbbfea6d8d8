"""The worker's view of the engine: four things it asks for. Nothing here imports torch until one of them is called."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kriptik.spec.errors import WorkerError
from kriptik.spec.events import Desired, ExportDone, WorkerBody
from kriptik.spec.job import TrainJob
from kriptik.spec.testing import TestRequest, TestResult

if TYPE_CHECKING:
    from kriptik.engine.interfaces import RunOutcome

Emit = Callable[[WorkerBody], None]
Wanted = Callable[[], Desired]


class Answerer(Protocol):
    """A loaded model: base and tuned."""

    def answer(self, request: TestRequest) -> TestResult:
        """Runs one request."""
        ...


class Pieces(Protocol):
    """What a kind of work needs of an engine."""

    def framework(self) -> str:
        """Imports it; returns one line about its version. Raises `WorkerError` if that fails."""
        ...

    def probe_command(self, job_file: Path, result: Path) -> list[str]:
        """The smoke test as a command of its own: writes a `ProbeResult` to `result`, ends with 0."""
        ...

    def rank_command(self, job_file: Path, words: Path) -> list[str]:
        """Another rank of the run as a command of its own: ends with 0, or leaves its words in `words`."""
        ...

    def train(self, job: TrainJob, emit: Emit, control: Wanted) -> "RunOutcome":
        """Trains until the end, or until something else than `running` is wanted."""
        ...

    def answerer(self, job: TrainJob) -> Answerer:
        """Loads base and tuned once."""
        ...

    def export(self, job: TrainJob, emit: Emit) -> ExportDone:
        """Writes the trained model in the forms of `job.export`, checked."""
        ...


class Engine:
    """The real one: `kriptik.engine`."""

    def framework(self) -> str:
        """See `Pieces`."""
        try:
            import torch
            import transformers
        except (ImportError, OSError, RuntimeError) as error:  # missing, half installed, wrong glibc, bad driver
            raise WorkerError(
                "framework_missing",
                f"PyTorch could not be loaded on this machine: {type(error).__name__}: {error}",
                "Install the training extra (`pip install kriptik[train]`), then retry.",
            ) from error
        where = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"
        return f"PyTorch {torch.__version__}, transformers {transformers.__version__}, {where}"

    def probe_command(self, job_file: Path, result: Path) -> list[str]:
        """See `Pieces`."""
        return [sys.executable, "-m", "kriptik.engine.probe", str(job_file), str(result)]

    def rank_command(self, job_file: Path, words: Path) -> list[str]:
        """See `Pieces`."""
        return [sys.executable, "-m", "kriptik.worker.rank", str(job_file), str(words)]

    def train(self, job: TrainJob, emit: Emit, control: Wanted) -> "RunOutcome":
        """See `Pieces`."""
        from kriptik.engine.train import train

        return train(job, emit, control)

    def answerer(self, job: TrainJob) -> Answerer:
        """See `Pieces`."""
        from kriptik.engine.testing import load

        return load(job)

    def export(self, job: TrainJob, emit: Emit) -> ExportDone:
        """See `Pieces`."""
        from kriptik.engine.export import export

        return export(job, emit)
