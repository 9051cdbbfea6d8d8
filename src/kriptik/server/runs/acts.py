"""What a state may decide. Acts are data: `effects` carries them out, in order, and each may safely be repeated."""

from dataclasses import dataclass
from typing import Literal

from kriptik.spec.budget import BudgetStatus
from kriptik.spec.job import JobState
from kriptik.spec.run import Failure


@dataclass(frozen=True)
class Begin:
    """Makes the next generation: token, intent row, state `setting_up`. No call goes out yet."""


@dataclass(frozen=True)
class Create:
    """Asks the provider for the resource of the present generation, or adopts it by name."""


@dataclass(frozen=True)
class Terminate:
    """Asks the provider to end the resource; repeated every tick until it is confirmed gone."""

    why: str = ""


@dataclass(frozen=True)
class Want:
    """Tells the worker, by desired state, what it should do."""

    state: Literal["frozen", "stopped"]
    reason: str


@dataclass(frozen=True)
class Move:
    """Another state."""

    state: JobState
    reason: str = ""


@dataclass(frozen=True)
class Requeue:
    """Back to the queue, to start again from the newest sound checkpoint (or `checkpoint`)."""

    reason: str
    checkpoint: str | None = None
    fruitless: bool = False


@dataclass(frozen=True)
class Frozen:
    """Everything is saved and nothing bills: store the freeze state, tell the person."""

    reason: Literal["budget", "user", "lost_contact", "disk_full"]


@dataclass(frozen=True)
class Complete:
    """The run is done and nothing bills any more."""


@dataclass(frozen=True)
class Fail:
    """The run is given up; its checkpoints stay."""

    failure: Failure


@dataclass(frozen=True)
class Alert:
    """The alert mark was reached: notify once."""


@dataclass(frozen=True)
class BudgetStands:
    """The budget's status changed."""

    status: BudgetStatus


@dataclass(frozen=True)
class MeterStorage:
    """Charges what lies on disk while frozen."""


Act = Begin | Create | Terminate | Want | Move | Requeue | Frozen | Complete | Fail | Alert | BudgetStands | MeterStorage
