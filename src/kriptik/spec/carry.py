"""How artefacts travel between a worker elsewhere and the run's folder: what is to be fetched, what may be put, and where.

Paths are relative to the run's folder. `url` None: by the server's own route, with the generation's token; else a signed address
of the object storage, which needs no token and must be sent none.
"""

from pydantic import Field

from kriptik.spec.base import Noun


def reward_folder(stage: int) -> str:
    """Where the reward model that a stage asks lies on a machine that fetched it."""
    return f"reward/{stage}"


class Fetch(Noun):
    """A file that a worker needs before it begins."""

    path: str
    bytes: int = Field(ge=0)
    url: str | None = None


class Handout(Noun):
    """Everything a worker needs beside its job file: rows, the lock, kept answers, reward models, the checkpoint to go on from."""

    files: list[Fetch]


class Upload(Noun):
    """A file that a worker has made."""

    path: str = Field(max_length=300)
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class UploadAsk(Noun):
    """Files that are to be put now."""

    files: list[Upload] = Field(max_length=2000)


class Part(Noun):
    """One part of a large file; `number` counts from 1."""

    number: int = Field(ge=1)
    url: str


class Place(Noun):
    """Where a file goes. `there`: it is held already, byte for byte as far as size and name tell."""

    path: str
    url: str | None = None
    there: bool = False
    part_bytes: int = 0
    """Above 0: it goes in parts of so many bytes, the last one shorter; then it is joined."""
    parts: list[Part] = []
    """Those that are still to be put."""


class Places(Noun):
    """The answer to an ask, in its order."""

    files: list[Place]
