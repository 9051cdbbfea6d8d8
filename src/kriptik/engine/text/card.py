"""The model card: what the model came from, how it was trained, what was measured, where its limits are, how to run it."""

import json
from pathlib import Path
from typing import Any

from kriptik.catalogue.load import load_catalogue
from kriptik.spec.export import ExportOrder, Parity, UseCommand
from kriptik.spec.job import TrainJob

LIMITS = (
    "It was measured on held-out rows of its own data only: not on other tasks, languages or for safety.",
    "What its base gets wrong, it may get wrong too; check its answers before anybody relies on them.",
)


def write_card(
    folder: Path,
    job: TrainJob,
    *,
    adapter: bool,
    order: ExportOrder | None = None,
    parity: list[Parity] | None = None,
    commands: list[UseCommand] | None = None,
) -> None:
    """Writes README.md into `folder`. `order` has what was measured; without it the run's report has."""
    base, methods = base_name(job), " → ".join(stage.method for stage in job.stages)
    licence = _licence(job)
    own = [one.name for one in folder.glob("*.json") if one.name not in ("adapter_config.json", "export.json")] if adapter else []
    library = "transformers" if not adapter else "peft" if (folder / "adapter_config.json").is_file() else None
    front = {"base_model": base, "library_name": library, "license": licence.id if licence else None, "tags": ["kriptik"]}
    lines = [
        "---",
        *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items() if value),
        "---",
        f"# {base}, fine-tuned ({methods})",
        "",
        f"- Base model: {base}. {_licence_line(licence)}",
        f"- Method: {methods}{_settings(job)}",
        *_data(job),
        *_precision(job, adapter=adapter),
    ]
    if adapter and own:
        lines.append(f"- Not PEFT alone ({', '.join(sorted(own))}): load it with `kriptik.engine.adapters.attach(base, folder)`.")
    lines += _measured(order)
    if parity:
        lines += ["", "## Checked at export", *(f"- {one.sentence}" for one in parity)]
    lines += ["", "## Limits", *(f"- {one}" for one in LIMITS)]
    if commands:
        lines += ["", "## Run it", *(f"\n```sh\n{one.command}\n```" for one in commands)]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def base_name(job: TrainJob) -> str:
    """The base model as others know it: never a folder of this machine."""
    return "a local model" if Path(job.base_model.id).is_absolute() else _line(job.base_model.id)


def _licence(job: TrainJob) -> Any:
    found = load_catalogue().models.get(job.base_model.id)
    return found.licence if found else None


def _licence_line(licence: Any) -> str:
    if licence is None:
        return "Its licence goes on to apply; see its own card."
    return f"Its licence, {licence.name} (commercial use: {licence.commercial}), goes on to apply."


def _settings(job: TrainJob) -> str:
    last = job.stages[-1].settings
    rank = f", rank {last.lora.rank}" if job.stages[-1].method not in ("full", "full_finetune") else ""
    return f" (learning rate {last.learning_rate:g}{rank}, rows of up to {last.max_seq_len} tokens, seed {job.seed})"


def _data(job: TrainJob) -> list[str]:
    data = job.data
    if data is None:
        return ["- Data: none of the user's own."]
    held = f", {data.eval_rows} held out" if data.eval_rows else ""
    licence = _line(data.licence) or "not stated"
    return [f"- Data: {_line(data.source) or 'own rows'}, {data.train_rows} rows{held}. Licence: {licence}."]


def _precision(job: TrainJob, *, adapter: bool) -> list[str]:
    if job.precision != "nf4":
        return []
    then = "quantise the base alike under this adapter" if adapter else "these are the numbers they stand for, the update added"
    return [f"- Trained on a base in 4 bits (NF4, double quantisation): {then}."]


def _measured(order: ExportOrder | None) -> list[str]:
    if order is None or order.loss_before is None or order.loss_after is None:
        return ["- Made with KripTik; the run's report has the measured losses."]
    rows = f" on {order.eval_rows} held-out rows" if order.eval_rows else ""
    return [f"- Made with KripTik. Loss{rows}: {order.loss_before:.4f} before, {order.loss_after:.4f} after."]


def _line(text: str) -> str:
    """One line without marks that a card would read as its own."""
    return " ".join(text.split()).replace("`", "'").replace("<", "‹").replace("[", "(").replace("]", ")")[:300]
