"""What the planner is told about the world: what is set up here, what trains, what rows there are. Plain values, no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from kriptik.spec.catalogue import MethodStatus, Way
from kriptik.spec.data import DataReport
from kriptik.spec.errors import BadInputError
from kriptik.spec.intent import TrainingIntent

CLOUD_ORDER = ("runpod", "modal", "lambda", "vast", "nebius", "gcp", "aws", "azure")
"""Providers of one price are taken in this order; those that are set up here come first."""


TEMPLATE_TOKENS = 30
"""What a chat template adds to a row of one question and answer (measured with SmolLM2's: 31)."""


@dataclass(frozen=True)
class Machine:
    """The machine behind the provider `local`. Memory in GB (1e9 bytes): per GPU, or of the whole machine for a CPU."""

    gpu: str = "cpu"
    gpu_count: int = 1
    memory_gb: float = 8.0
    cores: int = 2
    cpu_bf16: bool = False
    """Whether its CPU multiplies matrices in bf16 by itself."""
    packages: frozenset[str] = frozenset()
    """What it holds of the packages that some families need beside a worker's own."""

    @property
    def usable_gb(self) -> float:
        """What a run may take: a GPU's own overhead is in the estimate, a CPU's memory is shared with all else."""
        return self.memory_gb * self.gpu_count * (0.8 if self.gpu == "cpu" else 0.95)


@dataclass(frozen=True)
class Site:
    """What is set up here. `machine` None: nothing is known of it, so a local run is taken at its word."""

    providers: frozenset[str] = frozenset({"local"})
    machine: Machine | None = None
    local_price: Decimal = Decimal(0)
    """Dollars per hour that the operator charges for this machine."""
    quotes: Mapping[tuple[str, str, int], Decimal] = field(default_factory=dict)
    """(provider, GPU, count) → dollars per hour that the provider asks now; in their place the catalogue's prices stand."""
    statuses: Mapping[str, MethodStatus] = field(default_factory=dict)
    """Method id → computed status. Empty: nothing is known, all count as trainable."""
    ways: Mapping[tuple[str, str], MethodStatus] = field(default_factory=dict)
    """(way, method id) → computed status, for models that are trained in another way than their capability's own."""

    def status(self, method: str, way: Way | None) -> MethodStatus | None:
        """Of a method, in a way other than the capability's own if one is given; None where nothing is known of it."""
        return self.ways.get((way.id, method)) if way else self.statuses.get(method)

    def lacking(self, packages: Sequence[str], provider: str) -> list[str]:
        """Of these packages, those that a worker there could not load. Rented machines start from an image of `docker/`, which
        holds them all; of an unknown machine nothing is known."""
        if provider != "local" or self.machine is None:
            return []
        return [one for one in packages if one not in self.machine.packages]


@dataclass(frozen=True)
class Rows:
    """Attached data, as its check found it."""

    dataset_id: str
    name: str
    rows: int
    """Rows that can be used, held-out ones included."""
    train_rows: int
    tokens: int
    """Tokens of the usable rows, estimated."""
    longest_tokens: int
    kind: str = "messages"
    licence: str = ""
    other_voices: int | None = None
    """Recordings that sound like another voice than most and are not left out; None where nobody listened to them."""

    @property
    def tokens_per_row(self) -> float:
        return self.tokens / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Case:
    """What a plan is made from: the request as read, what is set up here, and the attached rows."""

    intent: TrainingIntent
    site: Site
    rows: Rows | None = None


def rows_of(dataset_id: str, name: str, report: DataReport, licence: str = "") -> Rows:
    """The planner's view of a dataset. Raises BadInputError `data_not_ready` where its check found errors."""
    if not report.ready:
        faults = [f.sentence for f in report.findings if f.severity == "error"]
        raise BadInputError(
            "data_not_ready",
            faults[0] if faults else "The data cannot be trained on as it is.",
            "Mend the file and upload it again.",
        )
    template = TEMPLATE_TOKENS if report.kind != "text" else 0
    return Rows(
        dataset_id=dataset_id,
        name=name,
        rows=report.usable,
        train_rows=report.train_rows,
        tokens=report.tokens_estimate + template * report.usable,
        longest_tokens=report.longest_tokens_estimate + template,
        kind=report.kind,
        licence=licence,
        other_voices=_other_voices(report),
    )


def _other_voices(report: DataReport) -> int | None:
    if not report.speech or any(one.code == "speakers_unchecked" for one in report.findings):
        return None
    return sum(one.count for one in report.findings if one.code == "other_voice" and not one.fixed)
