"""Watches the updates of a stage: one that is far out, or has no finite gradient, is kept with its rows and said.

What is usual is the median of the last `WINDOW` losses and gradient norms of this process; how far they are apart is their median
absolute deviation. Nothing here touches the training: a resumed run reports by its own window and trains the same bits.
"""

import json
import math
import statistics
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kriptik.engine.interfaces import Session, Update
from kriptik.spec.events import Alarm, Log, WorkerBody

WINDOW = 64
LEAST = 16
"""Updates seen before one may be called far out."""
FAR = 8.0
"""Deviations (of a normal distribution's size) above the median that a loss must be; a chance of 1 in 10^15 if it were normal."""
LEAST_SHARE = 0.05
"""A deviation counts as at least this share of the median, so that a flat curve does not alarm at nothing."""
NORM_TIMES = 20.0
"""A gradient norm so many times the median is far out."""
MOST = 20
"""Alarms of a stage and process that are kept; the next ones are noise."""
SHOWN, SHOWN_CHARACTERS = 4, 600


class Health:
    """Alarms of one stage. `emit` takes events."""

    def __init__(self, session: Session, emit: Callable[[WorkerBody], None]) -> None:
        self.session, self.emit = session, emit
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._norms: deque[float] = deque(maxlen=WINDOW)
        self.raised = 0

    def judge(self, loss: float, norm: float, update: Update) -> None:
        """One update of this rank, with the loss and norm of all."""
        if not math.isfinite(norm) or not math.isfinite(loss):
            self._raise("not_finite", loss, norm, update)
            return
        if len(self._losses) >= LEAST and self._far(loss, norm):
            self._raise("spike", loss, norm, update)
        self._losses.append(loss)
        self._norms.append(norm)

    def _far(self, loss: float, norm: float) -> bool:
        usual = statistics.median(self._losses)
        spread = 1.4826 * statistics.median(abs(one - usual) for one in self._losses)
        usual_norm = statistics.median(self._norms)
        return loss > usual + FAR * max(spread, LEAST_SHARE * abs(usual), 1e-6) or norm > NORM_TIMES * usual_norm > 0

    def _raise(self, kind: Any, loss: float, norm: float, update: Update) -> None:
        """Keeps the rows in `health/` of the run's folder and says what they are. A full disk costs the file, not the run.

        Every process keeps its own rows; the event has those of the first.
        """
        self.raised += 1
        if self.raised > MOST:
            return
        session, raw, rank = self.session, self.session.rows.raw, self.session.runtime.rank
        rows = [row for row in dict.fromkeys(update.rows) if 0 <= row < len(raw)]
        usual = statistics.median(self._losses) if self._losses else None
        alarm = Alarm(
            kind=kind,
            stage=session.stage,
            step=session.step + 1,
            loss=loss if math.isfinite(loss) else None,
            usual_loss=usual,
            gradient_norm=norm if math.isfinite(norm) else None,
            rows=rows[:100],
            shown=[session.modality.preview(raw[row])[:SHOWN_CHARACTERS] for row in rows[:SHOWN]],
        )
        path = Path("health") / f"s{session.stage}-{session.step + 1:06d}{f'-r{rank}' if rank else ''}.json"
        whole = {**alarm.document(), "data": [{"row": row, **raw[row]} for row in rows]}
        target = Path(session.job.run_dir) / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(whole, ensure_ascii=False, indent=1, default=str), encoding="utf-8")
            alarm = alarm.model_copy(update={"file": str(path)})
        except OSError as error:
            self.emit(Log(severity="warning", message=f"The rows of step {alarm.step} could not be kept: {error}."))
        self.emit(alarm)
