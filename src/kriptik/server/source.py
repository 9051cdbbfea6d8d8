"""The worker's code as this server has it, for images that hold none: the package, and the versions it was installed with."""

import io
import re
import tarfile
from functools import cache
from importlib import metadata
from pathlib import Path

import kriptik

LEFT_OUT = frozenset({"static", "server", "store", "cli", "pipeline", "__pycache__"})
"""Folders that no worker needs."""
EXTRAS = frozenset({"train", "media"})
"""Groups of libraries that a worker may import: which of them a run needs is known only once it is planned."""


@cache
def archive() -> bytes:
    """A tar.gz with `kriptik/` and `requirements.txt`; the same bytes for as long as this process lives."""
    root = Path(kriptik.__file__).parent
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as made:
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root)
            if path.is_file() and inside.parts[0] not in LEFT_OUT and "__pycache__" not in inside.parts:
                made.add(path, f"kriptik/{inside}", filter=_plain)
        text = "\n".join(requirements()).encode()
        info = tarfile.TarInfo("requirements.txt")
        info.size = len(text)
        made.addfile(info, io.BytesIO(text))
    return sink.getvalue()


def requirements() -> list[str]:
    """`name==version` of what a worker imports, in the versions of this server; without one where it is not installed here."""
    found = []
    for line in metadata.requires("kriptik") or []:
        name = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"extra\s*==\s*['\"](\w+)['\"]", line)
        if name and (extra is None or extra[1] in EXTRAS):
            found.append(_pinned(name[0]))
    return sorted(set(found))


def _pinned(name: str) -> str:
    try:
        return f"{name}=={metadata.version(name).split('+')[0]}"
    except metadata.PackageNotFoundError:
        return name


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info
