"""What every route and the reconciler share: database, settings, clock, bus, signer. Made once by `app.create_app`."""

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from kriptik.providers.provider import Provider, Resource, ResourceSpec
from kriptik.server import holds
from kriptik.server.bus import Bus
from kriptik.server.hard_stops import HardStops
from kriptik.server.quotes import Quotes
from kriptik.server.settings import Settings
from kriptik.server.steady import SteadyClock
from kriptik.spec.base import utc_now
from kriptik.spec.errors import ConflictError, KriptikError
from kriptik.storage.objects import Objects, open_objects
from kriptik.store import ledger, people
from kriptik.store.db import Database
from kriptik.store.writer import Writer

Clock = Callable[[], datetime]


@dataclass
class Core:
    """The shared parts. `secret` signs links and derives worker tokens; it never leaves KRIPTIK_HOME."""

    settings: Settings
    db: Database
    providers: dict[str, Provider]
    secret: bytes
    install: str
    owner_id: str
    objects: Objects
    clock: Clock = utc_now
    started_at: datetime = datetime.min
    bus: Bus = field(default_factory=Bus)
    writer: Writer = field(init=False)
    hard_stops: HardStops = field(default_factory=HardStops)
    look_s: float = 0.0
    """How long the reconciler's last round took where many runs are at work: the reserve allows for it. Else 0."""
    quotes: Quotes = field(default_factory=Quotes)
    writing: set[str] = field(default_factory=set[str])
    """Data sets whose recordings are being listened to (`words.py`)."""

    def __post_init__(self) -> None:
        self.writer = Writer(self.db)

    def worker_token(self, stream_id: str, generation: int) -> str:
        """The bearer token of one generation. Derived, so that a server killed before the create can make it again."""
        return hmac.new(self.secret, f"worker:{stream_id}:{generation}".encode(), hashlib.sha256).hexdigest()

    @property
    def held(self) -> str | None:
        """Why no machine may be asked for now; None where one may."""
        return holds.reason(self.settings.home)

    def create(self, provider: str, spec: ResourceSpec) -> Resource:
        """The one door to a provider's `create`. Raises `KriptikError` 503 `held` while something holds new machines back, and as
        `_make_folder` does where a worker would have no place for its models."""
        if (sentence := self.held) is not None:
            raise KriptikError("held", sentence, "It goes on by itself once that is over.", status=503)
        _make_folder(self.cache_dir)
        return self.providers[provider].create(spec)

    def run_dir(self, job_id: str) -> Path:
        """Where a run's artefacts lie."""
        return self.settings.home / "runs" / job_id

    def session_dir(self, session_id: str) -> Path:
        """Where a test session's worker keeps its spool."""
        return self.settings.home / "sessions" / session_id

    @property
    def cache_dir(self) -> Path:
        """Downloaded and converted base models."""
        return self.settings.home / "cache"

    @property
    def data_dir(self) -> Path:
        """Uploaded and prepared data."""
        return self.settings.home / "data"


def open_core(settings: Settings, providers: dict[str, Provider], clock: Clock | None = None) -> Core:
    """Opens the state under `settings.home`: migrates, makes secret, owner and the first token where they are missing.

    Without a `clock` the server keeps one that is never set back, not even by a restart while something bills.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    db = Database(settings.database)
    db.migrate()
    clock = clock or SteadyClock()
    if isinstance(clock, SteadyClock):
        with db.read() as session:
            clock.not_before(ledger.metered_until(session) or clock())
    secret = bytes.fromhex(_private_file(settings.home / "secret", lambda: secrets.token_hex(32)))
    token_path = settings.home / "token"
    with db.write() as session:
        install = people.setting(session, "install_id", secrets.token_hex(4))
        owner = people.owner(session, clock())
        if not token_path.exists() or people.user_by_token(session, token_path.read_text().strip()) is None:
            token_path.unlink(missing_ok=True)
            _row, token = people.add_token(session, owner.id, "command line", clock())
            _private_file(token_path, lambda: token)
        owner_id = owner.id
    holds.note_install(settings.home, install)
    objects = open_objects(settings.storage_url, settings.home / "runs")
    return Core(settings, db, providers, secret, install, owner_id, objects, clock, started_at=clock())


def _make_folder(folder: Path) -> None:
    """Makes a folder of KRIPTIK_HOME. Raises KriptikError: 409 `not_a_folder` where something else has its name, which trying again
    does not mend, and 503 `no_folder` where the disk refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        what = "is a link that leads nowhere" if folder.is_symlink() else "is no folder"
        step = "Make the folder that it leads to, or delete it and it is made anew; then try again."
        raise ConflictError("not_a_folder", f"'{folder.name}' in KRIPTIK_HOME {what}.", step) from error
    except OSError as error:
        what = f"'{folder.name}' in KRIPTIK_HOME cannot be made: {error.strerror}."
        raise KriptikError("no_folder", what, "See whether its disk is there and may be written to.", status=503) from error


def _private_file(path: Path, make: Callable[[], str]) -> str:
    """The text of a file only its owner may read; made if missing."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(handle, "w") as file:
        text = make()
        file.write(text)
    return text
