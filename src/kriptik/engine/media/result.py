"""Leaving a result: the adapter, and the whole model by the library that will read it, with a card; all or nothing."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from kriptik.engine.interfaces import Adaptation, Bundle, Exported
from kriptik.engine.text.card import write_card
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import TrainJob


def leave(
    bundle: Bundle,
    adaptation: Adaptation,
    run_dir: Path,
    job: TrainJob,
    whole: Callable[[Path], None] | None,
    adapter: Callable[[Path], None] | None = None,
) -> Exported:
    """Writes `result/adapter` (where one on the plain base says it all) and `result/model` by `whole`; the trainee stays as it is.

    `adapter` writes it where the ecosystem's format is not the adaptation's own. Raises WorkerError `disk_full`.
    """
    part, result = run_dir / ".result", run_dir / "result"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    alone = adaptation.adapter and (len(job.stages) == 1 or not adaptation.merges)
    merges = adaptation.merges and whole is not None
    try:
        if alone:
            (part / "adapter").mkdir()
            adapter(part / "adapter") if adapter else adaptation.save(bundle, part / "adapter")
            write_card(part / "adapter", job, adapter=True)
        if merges and whole is not None:
            whole(part / "model")
            write_card(part / "model", job, adapter=False)
        shutil.rmtree(result, ignore_errors=True)
        part.rename(result)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise WorkerError("disk_full", f"The result could not be written: {error}.", "Free disk space, then retry.") from error
    size = sum(file.stat().st_size for file in result.rglob("*") if file.is_file())
    return Exported("result/adapter" if alone else None, "result/model" if merges else None, size)


def say(run_dir: Path, exported: Exported, title: str, lines: Sequence[str]) -> None:
    """Adds a section to the cards of what was left. Raises WorkerError `disk_full`."""
    section = "\n".join(["", f"## {title}", *(f"- {one}" for one in lines)]) + "\n"
    for path in (exported.adapter_path, exported.model_path):
        if path is None:
            continue
        card = run_dir / path / "README.md"
        part = card.with_suffix(".part")
        try:
            part.write_text(card.read_text(encoding="utf-8") + section, encoding="utf-8")
            part.replace(card)
        except OSError as error:
            raise WorkerError("disk_full", f"The card could not be written: {error}.", "Free disk space, then retry.") from error
