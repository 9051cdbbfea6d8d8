"""Running code that a model wrote: in a process of its own, in a folder of its own, without network, with little time and memory.

Layers, outermost first: resource limits (processor time, memory, file size, no new processes); where the kernel allows it to a
plain user, a name space without network; an audit hook that refuses sockets, new processes, native code, and files outside the
folder except for reading Python's own. To have ended is proved by an exit code that is read only then, so that leaving early is
no way to pass. All this stops what is not meant to escape; against an attacker, run the worker in a container besides.
"""

import random
import subprocess
import sys
import tempfile
from pathlib import Path

BOOT = r"""
import ctypes, os, resource, sys
seconds, memory, home = float(sys.argv[1]), int(sys.argv[2]) << 20, os.path.realpath(os.getcwd())
told = os.dup(0)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def ended(read=os.read, leave=os._exit):
    leave(int(read(told, 8)))


library = ctypes.CDLL(None, use_errno=True)
library.unshare(0x10000000 | 0x40000000)  # a user name space, in it one without network; refused here and there
resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
code = open("program.py", encoding="utf-8").read()
program = compile(code, "program.py", "exec")
READABLE = tuple(os.path.realpath(one) for one in sys.path if one) + (os.path.realpath(sys.base_prefix), home)
NEVER = ("socket.", "subprocess.", "ctypes.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.kill",
         "os.chmod", "os.chown", "os.link", "os.symlink", "os.setxattr", "pty.", "signal.", "sys.addaudithook", "mmap.")
MOVES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.chdir", "os.utime")
LISTS = ("os.listdir", "os.scandir")


def inside(path, roots):
    if isinstance(path, int):
        return path > 2
    if path is None:
        return True
    real = os.path.realpath(os.fsdecode(path))
    return any(real == root or real.startswith(root + os.sep) for root in roots)


def watch(event, arguments):
    if event.startswith(NEVER):
        raise PermissionError(event)
    if event == "open":
        path, mode, flags = arguments
        writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not inside(path, (home,) if writes else READABLE):
            raise PermissionError(path)
    roots = (home,) if event in MOVES else READABLE if event in LISTS else None
    if roots and not all(inside(one, roots) for one in arguments if isinstance(one, str | bytes)):
        raise PermissionError(event)


del ctypes, library
for name in [one for one in sys.modules if one.startswith("ctypes")]:
    del sys.modules[name]
sys.addaudithook(watch)
exec(program, {"__name__": "__main__"})
ended()
"""
MOST_TEXT = 200_000
"""A longer program is not run."""


def passes(program: str, *, seconds: float = 5.0, memory_mb: int = 512) -> bool:
    """Whether the program runs to its end in time without an error. Its output is thrown away."""
    if len(program) > MOST_TEXT:
        return False
    with tempfile.TemporaryDirectory(prefix="kriptik-sandbox-") as folder:
        Path(folder, "program.py").write_text(program, encoding="utf-8", errors="replace")
        secret = random.SystemRandom().randint(64, 127)
        command = [sys.executable, "-I", "-S", "-B", "-c", BOOT, str(seconds), str(memory_mb)]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env={"PYTHONHASHSEED": "0", "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"},
                input=f"{secret}\n".encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=seconds + 2,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == secret
