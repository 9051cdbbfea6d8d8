"""Leaving the result in the ecosystem's format: the adapter, and the whole model with it merged, with a model card."""

import shutil
from pathlib import Path
from typing import Any

import torch

from kriptik.engine.interfaces import Adaptation, Bundle, Exported
from kriptik.engine.text import scoring
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import TrainJob

PARITY = 1e-3
"""Largest difference of logits between adapter and merged model, relative to the largest logit; fp32 rounding is far below."""


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
            _write_card(part / "adapter", job, adapter=True)
        if adaptation.merges:
            _write_model(bundle, adaptation, part / "model")
            _write_card(part / "model", job, adapter=False)
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
        _must_agree(bundle.trainee, merged, bundle.tokenizer)
    scoring.save_model(merged, bundle.tokenizer, folder)
    bundle.tokenizer.save_pretrained(folder)


def _must_agree(trainee: Any, merged: Any, tokenizer: Any) -> None:
    """Raises WorkerError if the merged model does not answer as the adapted one does."""
    ids = tokenizer("The quick brown fox jumps over the lazy dog.", add_special_tokens=False)["input_ids"][:32] or [0]
    modes = [(module, module.training) for module in trainee.modules()]
    trainee.eval()
    merged.eval()
    try:
        with torch.no_grad():
            one, two = (_logits(model, ids) for model in (trainee, merged))
    finally:
        for module, training in modes:
            module.training = training
    off = float((one - two).float().abs().max() / one.float().abs().max().clamp_min(1e-6))
    if off > (PARITY if one.dtype == two.dtype == torch.float32 else 0.05):
        step = "Use the adapter with its base; report this as a fault."
        raise WorkerError("merge_differs", f"The merged model's logits are off by {off:.1e}.", step)


def _logits(model: Any, ids: list[int]) -> torch.Tensor:
    return model(input_ids=torch.tensor([ids], device=next(model.parameters()).device)).logits.cpu()


def _write_card(folder: Path, job: TrainJob, *, adapter: bool) -> None:
    methods = " → ".join(stage.method for stage in job.stages)
    own = adapter and [one.name for one in folder.glob("*.json") if one.name != "adapter_config.json"]
    library = "transformers" if not adapter else "peft" if (folder / "adapter_config.json").is_file() else None
    data = job.data
    lines = [
        "---",
        f"base_model: {job.base_model.id}",
        *([f"library_name: {library}"] if library else []),
        "---",
        f"# {job.base_model.id}, fine-tuned ({methods})",
        "",
        f"- Base model: {job.base_model.id}; its licence goes on to apply.",
        f"- Method: {methods}",
    ]
    if data:
        lines.append(f"- Data: {data.source or 'own rows'}, {data.train_rows} rows. Licence: {data.licence or 'not stated'}.")
    if job.precision == "nf4":
        then = "quantise the base alike under this adapter" if adapter else "these are the numbers they stand for, the update added"
        lines.append(f"- Trained on a base in 4 bits (NF4, double quantisation): {then}.")
    if own:
        lines.append(f"- Not PEFT alone ({', '.join(sorted(own))}): load it with `kriptik.engine.adapters.attach(base, folder)`.")
    lines.append("- Made with KripTik; the run's report has the measured losses.")
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
