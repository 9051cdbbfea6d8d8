"""Leaving the result in the ecosystem's format: the adapter, and the whole model with it merged, with a model card."""

import shutil
from pathlib import Path
from typing import Any

from kriptik.engine.interfaces import Adaptation, Bundle, Exported
from kriptik.engine.text import parity, scoring
from kriptik.engine.text.card import write_card
from kriptik.spec.errors import WorkerError
from kriptik.spec.export import Parity
from kriptik.spec.job import TrainJob


def write_result(bundle: Bundle, adaptation: Adaptation, run_dir: Path, job: TrainJob) -> Exported:
    """Writes `result/adapter` (where one on the plain base says it all) and `result/model`; the trainee stays bit-unchanged.

    After an earlier stage an adapter would be right only on weights that nobody has; one that never merges left them as they were.
    """
    part, result = run_dir / ".result", run_dir / "result"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    alone = adaptation.adapter and (len(job.stages) == 1 or not adaptation.merges)
    try:
        if alone:
            adaptation.save(bundle, part / "adapter")
            scoring.complete_adapter(bundle.trainee, part / "adapter")
            write_card(part / "adapter", job, adapter=True)
        if adaptation.merges:
            _write_model(bundle, adaptation, part / "model")
            write_card(part / "model", job, adapter=False)
        shutil.rmtree(result, ignore_errors=True)
        part.rename(result)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise WorkerError("disk_full", f"The result could not be written: {error}.", "Free disk space, then retry.") from error
    size = sum(file.stat().st_size for file in result.rglob("*") if file.is_file())
    return Exported("result/adapter" if alone else None, "result/model" if adaptation.merges else None, size)


def _write_model(bundle: Bundle, adaptation: Adaptation, folder: Path) -> None:
    merged: Any = adaptation.merged(bundle)
    if merged is not bundle.trainee:
        parity.must_pass(merged_parity(bundle.trainee, merged, bundle.tokenizer))
    scoring.save_model(merged, bundle.tokenizer, folder)
    bundle.tokenizer.save_pretrained(folder)


def merged_parity(trainee: Any, merged: Any, tokenizer: Any) -> Parity:
    """Whether the merged model answers as the adapted one does, wherever each of them is."""
    rows = parity.token_rows(tokenizer)
    one, two = (parity.logits_of(model, rows) for model in (trainee, merged))
    return parity.same_merged("the merged model against the adapter on its base", one, two, parity.exactly(trainee, merged))
