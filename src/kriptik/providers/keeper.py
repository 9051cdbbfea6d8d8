"""Starts one worker, waits for it, writes down how it ended: `keeper.py FOLDER -- COMMAND…`. Standard library alone.

It outlives the server. It holds a lock on `FOLDER/lock` for as long as it lives, so that "is it there" never depends on a
process number, and so that two keepers never start the same worker. Files: `started.json` {pid, worker} once the worker runs,
`exit.json` {code, at} when it ended (a negative code: that signal), `worker.log` and one older part, `worker.log.1`.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

LOG_LIMIT = 4_000_000
"""Bytes of a log part; past it the log moves to `worker.log.1` and starts again."""
LOOK_EVERY_S = 2.0
NOT_STARTED = 127
TRIES = 100


def main(argv: list[str]) -> int:
    """Keeps one worker; returns 0 also where there is nothing to do (another keeper has it, or it ran or was ended already)."""
    folder, command = Path(argv[0]), argv[argv.index("--") + 1 :]
    # A bare descriptor, never closed: the lock is let go by the end of the process itself and not a moment before.
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    if not _take(lock):
        return 0
    if any((folder / name).exists() for name in ("started.json", "ending.json", "exit.json")):
        return 0
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # A handler, not "ignore": an ignored signal would be ignored in the worker too.
        signal.signal(number, lambda *_: None)
    log = folder / "worker.log"
    with log.open("ab", buffering=0) as output:
        write_json(folder / "started.json", {"pid": os.getpid(), "worker": None})
        try:
            worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        except OSError as error:
            output.write(f"The worker could not be started: {error}\n".encode())
            write_json(folder / "exit.json", {"code": NOT_STARTED, "at": datetime.now(UTC).isoformat()})
            return 0
    write_json(folder / "started.json", {"pid": os.getpid(), "worker": worker.pid})
    ended = threading.Event()
    bound = threading.Thread(target=_bound_log, args=(log, ended), daemon=True)
    bound.start()
    code = worker.wait()
    ended.set()
    bound.join()
    write_json(folder / "exit.json", {"code": code, "at": datetime.now(UTC).isoformat()})
    return 0


def _take(lock: int) -> bool:
    """Takes the lock unless another keeper has it. Who only asks whether a keeper lives holds it for a moment: hence the tries."""
    for _ in range(TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(0.01)
        else:
            return True
    return False


def write_json(path: Path, content: dict[str, object]) -> None:
    """Replaces a file whole and durably."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _bound_log(log: Path, ended: threading.Event) -> None:
    """Copies and cuts, since the worker keeps writing to the same open file; a full disk must not end the keeper."""
    while not ended.wait(LOOK_EVERY_S):
        with contextlib.suppress(OSError):
            cut_log(log, LOG_LIMIT)


def cut_log(log: Path, limit: int) -> None:
    """Past `limit` bytes the newest `limit` of them become `worker.log.1` and the log starts anew."""
    size = log.stat().st_size
    if size <= limit:
        return
    part = log.with_name("worker.log.part")
    with log.open("rb") as source, part.open("wb") as target:
        source.seek(size - limit)
        shutil.copyfileobj(source, target)
    part.replace(log.with_name("worker.log.1"))
    os.truncate(log, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
