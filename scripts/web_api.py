"""Writes `web/src/api/schema.d.ts` from the server's own OpenAPI document: `scripts/web_api.py [--check]`.

The first line of the file holds a hash of the document it was made from; `--check` and the tests compare it without node.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from kriptik.server.app import create_app
from kriptik.server.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "web" / "src" / "api" / "schema.d.ts"
WORKER_PREFIX = "/api/worker/"
"""Not the page's business."""


def document() -> dict:
    """The OpenAPI document of an app on an empty home, without the worker's routes."""
    with tempfile.TemporaryDirectory() as home:
        app = create_app(Settings.from_env(home=Path(home)), providers={})
        found = app.openapi()
        app.state.core.db.close()
        app.state.lock.close()
    found["paths"] = {path: item for path, item in found["paths"].items() if not path.startswith(WORKER_PREFIX)}
    found["info"] = {"title": "KripTik", "version": "0"}
    return found


def first_line(found: dict) -> str:
    """What the first line of an up-to-date schema file says."""
    return f"// OpenAPI {hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()}"


def main() -> None:
    """Writes the file, or with --check says whether it is current (exit code 1 if not)."""
    found = document()
    line = first_line(found)
    if "--check" in sys.argv:
        current = SCHEMA.is_file() and SCHEMA.read_text().splitlines()[0] == line
        raise SystemExit(0 if current else "web/src/api/schema.d.ts is stale: run `make web-api`.")
    from build_web import install

    node, env = install()
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "openapi.json", Path(folder) / "schema.d.ts"
        source.write_text(json.dumps(found))
        generator = ROOT / "web" / "node_modules" / "openapi-typescript" / "bin" / "cli.js"
        subprocess.run([node, str(generator), str(source), "-o", str(target)], check=True, cwd=ROOT / "web", env=env)
        SCHEMA.parent.mkdir(parents=True, exist_ok=True)
        SCHEMA.write_text(f"{line}\n{target.read_text()}")


if __name__ == "__main__":
    main()
