"""What the event stream sends: the stored event, and the same thing once more under the name a page asks for."""

from kriptik.spec.budget import FreezeState
from kriptik.spec.events import (
    Alarm,
    BudgetMoved,
    CheckpointCommitted,
    CurrentSample,
    EvalResult,
    Log,
    Metrics,
    Notice,
    QualitySample,
    RunResult,
    SetupProgress,
    StageProgress,
    StoredEvent,
)
from kriptik.spec.job import JobState
from kriptik.spec.run import Failure


class StreamMessage(StoredEvent):
    """One message of GET /jobs/:id/stream. `type` is the body's type, but `frozen`, `complete` or `error` for those states."""

    type: str
    state: JobState | None = None
    metrics: Metrics | None = None
    current_sample: CurrentSample | None = None
    budget: BudgetMoved | None = None
    checkpoints: list[CheckpointCommitted] | None = None
    stage: StageProgress | None = None
    logs: list[Log] | None = None
    setup: SetupProgress | None = None
    sample: QualitySample | None = None
    eval: EvalResult | None = None
    notice: Notice | None = None
    alarm: Alarm | None = None
    freeze_state: FreezeState | None = None
    result: RunResult | None = None
    error: Failure | None = None
