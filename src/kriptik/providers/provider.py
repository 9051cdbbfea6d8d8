"""The one interface to compute. A new provider: one file here, one line in `PROVIDERS`, `tests/suites/provider_suite.py` over it.

Everything is keyed by name, and a name says who owns it (`kt-<installation>-<job>-g<generation>`), so that an answer that was
lost is repaired by creating again, and orphans are found by their prefix.
"""

from datetime import datetime
from decimal import Decimal
from importlib import import_module
from typing import Any, Literal, Protocol

from pydantic import Field

from kriptik.spec.base import Money, Noun
from kriptik.spec.errors import BadInputError, KriptikError
from kriptik.spec.job import SelfEnd

PROVIDERS: dict[str, str] = {
    "local": "kriptik.providers.local:LocalProvider",
    "runpod": "kriptik.providers.runpod:RunPodProvider",
}

ResourceStatus = Literal["provisioning", "running", "exited", "gone"]
"""provisioning and running bill; exited: the process ended, its traces are still there; gone: confirmed, nothing is left."""


class ResourceSpec(Noun):
    """What to create. `job_file` is the path of `job.json`; `env` is added to the worker's environment and holds its token."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    job_file: str
    env: dict[str, str] = {}
    gpu: str = "cpu"
    gpu_count: int = Field(1, ge=1)
    run_dir: str
    max_price_per_hour: Money | None = None
    """The most that was authorised, all GPUs together; nothing dearer is created. None: no bound (this machine's own price)."""
    asked_before: bool = False
    """A server process that is no more may have asked for it: what it made may not be listed yet."""


class Resource(Noun):
    """One created thing. `price_per_hour` covers all its GPUs, in dollars."""

    id: str
    name: str
    status: ResourceStatus
    price_per_hour: Money
    exit_code: int | None = None
    """Of the worker's process; negative: ended by that signal. None while it lives, or where it cannot be known."""
    created_at: datetime
    detail: str = ""


class Offer(Noun):
    """Something that can be had now. Memory in GB (1e9 bytes)."""

    provider: str
    gpu: str
    gpu_count: int
    gpu_memory_gb: float = 0
    """Per GPU; 0 for a CPU."""
    cpu_cores: int
    cpu_bf16: bool = False
    """Whether the CPU multiplies matrices in bf16 by itself, faster than in fp32."""
    packages: list[str] = []
    """Held of what some models need beside a worker's own packages; told of this machine alone."""
    memory_gb: float
    price_per_hour: Money
    available: bool = True
    """False: it has a price, but nothing of it is free at this moment."""
    detail: str = ""


class UnsureError(KriptikError):
    """Nobody knows whether the request was carried out: look before it is sent again."""

    status = 503


class Provider(Protocol):
    """Calls block. They raise `KriptikError`: status below 500 means asking again will not help."""

    name: str

    @property
    def self_end(self) -> SelfEnd | None:
        """How a worker ends its own machine; None where the end of the process is enough."""
        ...

    def offers(self) -> list[Offer]:
        """What can be had now."""
        ...

    def create(self, spec: ResourceSpec) -> Resource:
        """Starts the worker. Idempotent by name: where the name exists, in whatever state, that one is the answer."""
        ...

    def get(self, resource_id: str) -> Resource | None:
        """The resource as it is, or None where nothing of that id was ever known or all traces are removed."""
        ...

    def list_own(self, prefix: str) -> list[Resource]:
        """Every resource whose name begins so and that is not gone, oldest first."""
        ...

    def terminate(self, resource_id: str) -> None:
        """Ends it; returns only when that is confirmed, raises `KriptikError` (503) otherwise. Unknown ids are gone already."""
        ...

    def logs(self, resource_id: str, tail: int = 100) -> list[str]:
        """The last `tail` lines that its process wrote; empty where there are none."""
        ...

    def billed(self, resource_id: str, since: datetime) -> Decimal | None:
        """Dollars that the provider itself has charged for it since then; None where it keeps no bill."""
        ...

    def billed_beside(self, known: set[str], since: datetime) -> dict[str, Decimal] | None:
        """Id → dollars charged since then, of machines that are neither among the ids `known` nor seen to be somebody else's.

        Together the most that machines which nobody ever saw can have cost. None where it keeps no bill.
        """
        ...


def make_provider(name: str, *args: Any, **options: Any) -> Provider:
    """The provider of that name, made with what its class wants. Raises `BadInputError` where there is none."""
    if name not in PROVIDERS:
        known = ", ".join(sorted(PROVIDERS))
        raise BadInputError("unknown_provider", f"There is no provider {name!r}.", f"Choose one of: {known}.")
    module, _, attribute = PROVIDERS[name].partition(":")
    return getattr(import_module(module), attribute)(*args, **options)
