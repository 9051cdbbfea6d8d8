"""Health, disk use, and what this installation is."""

import shutil

from fastapi import APIRouter

import kriptik
from kriptik.server.auth import CoreDep, PersonDep
from kriptik.server.runs import artefacts
from kriptik.spec.base import Money, Noun

router = APIRouter(tags=["system"])


class Health(Noun):
    """The server answers and its database can be read."""

    status: str
    version: str


class DiskUse(Noun):
    """Bytes used under KRIPTIK_HOME, and free on its disk."""

    runs: int
    data: int
    cache: int
    free: int
    total: int


class SystemInfo(Noun):
    """How this server is set."""

    version: str
    install: str
    local_price_per_hour: Money
    local_slots: int
    providers: list[str]
    test_allowance_usd: Money
    held: str | None = None
    """Why no machine is asked for now; None where one would be."""


@router.get("/health")
def get_health(core: CoreDep) -> Health:
    """Needs no sign-in."""
    with core.db.read() as session:
        session.connection().exec_driver_sql("SELECT 1")
    return Health(status="ok", version=kriptik.__version__)


@router.get("/system/disk")
def get_disk_use(core: CoreDep, person: PersonDep) -> DiskUse:
    """Counts the files; may take a moment."""
    disk = shutil.disk_usage(core.settings.home)
    return DiskUse(
        runs=artefacts.disk_bytes(core.settings.home / "runs"),
        data=artefacts.disk_bytes(core.data_dir),
        cache=artefacts.disk_bytes(core.cache_dir),
        free=disk.free,
        total=disk.total,
    )


@router.get("/system/info")
def get_system_info(core: CoreDep, person: PersonDep) -> SystemInfo:
    """Prices, slots and providers."""
    settings = core.settings
    return SystemInfo(
        version=kriptik.__version__,
        install=core.install,
        local_price_per_hour=settings.local_price_per_hour,
        local_slots=settings.local_slots,
        providers=sorted(core.providers),
        test_allowance_usd=settings.test_allowance_usd,
        held=core.held,
    )
