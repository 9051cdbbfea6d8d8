"""What a run's judge is paid: every call is set aside before it is made and settled after it, in a file of the run's folder.

The sum is said about once a second. What could pass what the run may still cost is not asked: the run ends like one whose money is
used up. All processes of a run share the file.
"""

import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from kriptik.llm import chat
from kriptik.llm.purse import Prices, Purse
from kriptik.spec.budget import HOUR_S, asked_file
from kriptik.spec.events import Asked, WorkerBody
from kriptik.spec.job import TrainJob
from kriptik.spec.llm import NoAnswerError


class Tab(Purse):
    """The purse of one generation: the machine that is rented meanwhile uses it up, too."""

    def __init__(self, job: TrainJob, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(asked_file(Path(job.run_dir), job.generation), job.asking_usd or Decimal(0))
        self._rate, self._clock, self._since = job.price_per_hour or Decimal(0), clock, clock()
        self._told = Decimal(0)

    def room(self) -> Decimal:
        """See Purse."""
        return self.cap - self._rate * Decimal(str(self._clock() - self._since)) / HOUR_S

    def refusal(self, most: Decimal, model: str, spent: Decimal) -> NoAnswerError:
        """See Purse. By this code the server knows that the budget is used up."""
        left = max(Decimal(0), self.room() - spent)
        what = f"Asking the judge {model} once more may cost up to ${most:.4f}, and ${left:.4f} is left."
        return NoAnswerError("hard_stop", what, "Resume with a larger budget: what the judge has said is kept.")

    def tell(self, emit: Callable[[WorkerBody], None]) -> None:
        """Says what the judge was paid, if that grew."""
        paid = self.settled()
        if paid > self._told:
            emit(Asked(usd=paid))
            self._told = paid


def open_tab(job: TrainJob) -> Tab | None:
    """From here on the calls of the run's judges in this process are paid by the tab; None where none of them costs anything."""
    if job.asking_usd is None:
        return None
    tab = Tab(job)
    for stage in job.stages:
        judge: Any = stage.settings.objective.get("judge")
        if isinstance(judge, dict) and judge.get("kind") == "endpoint":
            endpoint = chat.Endpoint(str(judge["url"]), str(judge["model"]), judge.get("key_env"))
            prices = (Decimal(str(judge.get(name, 0))) for name in ("input_usd_per_million", "output_usd_per_million"))
            chat.charge(endpoint, Prices(*prices), tab)
    return tab
