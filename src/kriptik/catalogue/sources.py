"""The fingerprint of the code behind a point: what must not have changed since the point was proved.

Files are read, never imported: the engine lies above the catalogue. Comments, docstrings and layout do not count.
"""

import ast
import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path

from kriptik.spec.catalogue import Point
from kriptik.spec.errors import KriptikError

ENGINE = Path(__file__).resolve().parents[1] / "engine"
CORE = (
    "train.py",
    "average.py",
    "checkpoint.py",
    "interfaces.py",
    "cursor.py",
    "rng.py",
    "schedule.py",
    "lock.py",
    "snapshot.py",
    "stage.py",
    "packed.py",
    "made.py",
    "ranks.py",
    "strategies/optim.py",
)
"""The loop itself: part of every proof."""
AXES = {"adaptation": "ADAPTATIONS", "objective": "OBJECTIVES", "strategy": "STRATEGIES", "modality": "MODALITIES"}
PACKAGE = "kriptik.engine"
_ONE_AT_A_TIME = threading.Lock()
"""Python 3.11 counts how deep it is in a syntax tree for all threads together: of two that parse at once, one fails."""


def pieces_hash(points: Sequence[Point], modality: str, engine: Path = ENGINE) -> str:
    """SHA-256 over the syntax trees of all code that trains these points, and over the points themselves.

    Counted are the loop's core, the pieces, and whatever engine modules the pieces import. Raises KriptikError
    `piece_missing` where a piece is not built.
    """
    roots = {engine / name for name in CORE if (engine / name).is_file()}
    pieces: set[Path] = set()
    for kind, name in names_of(points, modality):
        file = piece_file(kind, name, engine)
        if file is None:
            raise KriptikError("piece_missing", f"The {kind} '{name}' is not built.", "Choose another method.", status=409)
        pieces.add(file)
    total = hashlib.sha256(json.dumps([point.document() for point in points], sort_keys=True).encode())
    for file in sorted(roots | _reached(pieces, engine)):
        total.update(f"\n{file.relative_to(engine).as_posix()} {_read(file)[0]}".encode())
    return total.hexdigest()


def names_of(points: Sequence[Point], modality: str) -> list[tuple[str, str]]:
    """(axis, name) of every piece that filled points use, each once."""
    found = {("modality", modality): None}
    for point in points:
        for axis in ("adaptation", "objective", "strategy"):
            name = getattr(point, axis)
            if name is None:
                raise KriptikError("axis_open", f"A point leaves its {axis} open.", "Fill it from the capability.", status=500)
            found[axis, name] = None
    return list(found)


def piece_file(axis: str, name: str, engine: Path = ENGINE) -> Path | None:
    """The file of a piece, as the engine's table names it; None where there is none."""
    file = engine / "pieces.py"
    target = _tables(file, _stamp(file)).get(AXES[axis], {}).get(name) if file.is_file() else None
    return _module_file(target.partition(":")[0], engine) if target else None


def _reached(files: set[Path], engine: Path) -> set[Path]:
    """These files and every engine module they import, at any depth; the table of pieces leads nowhere."""
    seen: set[Path] = set()
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            reached = (_module_file(module, engine) for module in _read(file)[1])
            waiting += [f for f in reached if f is not None and f != engine / "pieces.py"]
    return seen


def _module_file(module: str, engine: Path) -> Path | None:
    parts = module.removeprefix(PACKAGE).strip(".").split(".")
    if not module.startswith(f"{PACKAGE}.") or not all(parts):
        return None
    candidates = (engine.joinpath(*parts[:-1], f"{parts[-1]}.py"), engine.joinpath(*parts, "__init__.py"))
    return next((file for file in candidates if file.is_file()), None)


def _stamp(file: Path) -> tuple[int, int]:
    state = file.stat()
    return state.st_mtime_ns, state.st_size


def _read(file: Path) -> tuple[str, tuple[str, ...]]:
    return _digest(file, _stamp(file))


@lru_cache(maxsize=512)
def _digest(file: Path, stamp: tuple[int, int]) -> tuple[str, tuple[str, ...]]:
    """(hash of the syntax tree, engine modules it imports) of one file in one state."""
    tree = _parsed(file)
    imports = tuple(sorted(set(_imports(tree))))
    return hashlib.sha256(canonical(tree).encode()).hexdigest(), imports


def _parsed(file: Path) -> ast.Module:
    with _ONE_AT_A_TIME:
        return ast.parse(file.read_text(encoding="utf-8"))


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(PACKAGE))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def canonical(node: object) -> str:
    """A syntax tree as text, without docstrings and without empty fields, which differ between versions of Python."""
    if isinstance(node, list):
        return "[" + ",".join(canonical(item) for item in node) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = []
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(value, list):
            value = [item for item in value if not _is_text(item)]
        if value is None or value == []:
            continue
        fields.append(f"{name}={canonical(value)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _is_text(node: object) -> bool:
    """A bare string: a docstring of a module, class or function, or of an attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def _tables(file: Path, stamp: tuple[int, int]) -> dict[str, dict[str, str]]:
    """The engine's tables of pieces, read from the text of their module."""
    tables: dict[str, dict[str, str]] = {}
    for node in _parsed(file).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if isinstance(target, ast.Name) and target.id in AXES.values():
            tables[target.id] = ast.literal_eval(node.value)
    return tables
