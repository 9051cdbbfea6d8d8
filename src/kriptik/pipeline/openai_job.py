"""An OpenAI fine-tuning job → what a plan is made of: capability, model, method and the settings stated by hand.

Source: OpenAI's API reference, POST /v1/fine_tuning/jobs. `hyperparameters` is the older place of `method.<type>.hyperparameters`.
"""

import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from kriptik.catalogue.load import find_model
from kriptik.spec.errors import BadInputError

AUTO = "auto"
FIGURES = {"n_epochs": ("epochs", 1, 50), "batch_size": ("batch_size", 1, 4096)}
"""Hyperparameter → the config tile's name, the least and the most that is taken."""
MULTIPLIER, MOST_TIMES = "learning_rate_multiplier", 100.0
DPO_BETA = 0.1


@dataclass
class Imported:
    """`selections` are the wizard's; `settings` the config tile's; `rate_times` multiplies the recommended learning rate.

    `notes` says in sentences what was taken over, replaced or left out."""

    selections: dict[str, Any]
    settings: dict[str, float] = field(default_factory=dict)
    rate_times: float | None = None
    notes: list[str] = field(default_factory=list)


def read_job(job: dict[str, Any]) -> Imported:
    """Reads a job as it is sent to OpenAI or answered by it. Raises BadInputError naming the field that cannot be read."""
    model = job.get("model")
    if not isinstance(model, str) or not model.strip():
        raise _bad("model", "names no model", "Give the model's name, for example gpt-4o-mini.")
    kind, figures = _method(job)
    made = Imported({"capability": "chat", "base_model": _stand_in(model.strip())})
    found = find_model(made.selections["base_model"])
    made.notes.append(
        f"{model} cannot be had as weights; {found.title if found else made.selections['base_model']} stands in for it."
    )
    method = _facts()["methods"][kind]
    if method:
        made.selections["method"] = method
    _settings(made, figures)
    for name, why in _facts()["ignored"].items():
        if job.get(name) is not None:
            made.notes.append(f"{name} was not taken over: {why}.")
    return made


def _method(job: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    method = job.get("method") or {"type": "supervised"}
    kind = method.get("type", "supervised") if isinstance(method, dict) else None
    known = _facts()["methods"]
    if not isinstance(kind, str) or kind not in known:
        raise _bad("method.type", f"is {str(kind)[:40]!r}", f"Use one of: {', '.join(known)}.")
    inner = method.get(kind) or {}
    stated = inner.get("hyperparameters") if isinstance(inner, dict) else None
    figures = stated or job.get("hyperparameters") or {}
    if not isinstance(figures, dict):
        raise _bad("hyperparameters", "is no object", 'Write {"n_epochs": 3, …}.')
    return kind, figures


def _settings(made: Imported, figures: dict[str, Any]) -> None:
    for name, value in figures.items():
        if value is None or value == AUTO:
            made.notes.append(f"{name} is automatic: the recommended value is used.")
        elif name in FIGURES:
            ours, least, most = FIGURES[name]
            made.settings[ours] = _number(name, value, least, most)
            made.notes.append(f"{name} {made.settings[ours]:g} was taken over.")
        elif name == MULTIPLIER:
            made.rate_times = _number(name, value, 1e-4, MOST_TIMES)
            made.notes.append(f"The recommended learning rate is multiplied by {made.rate_times:g}.")
        elif name == "beta" and _number(name, value, 0, 100) == DPO_BETA:
            made.notes.append("beta 0.1 is the method's own.")
        else:
            made.notes.append(f"{str(name)[:40]} was not taken over: it has no counterpart among the settings of a plan.")


def _stand_in(model: str) -> str:
    name = model.removeprefix("ft:").split(":")[0].lower()
    models = _facts()["models"]
    known = max((one for one in models if name.startswith(one)), key=len, default=None)
    if known is None:
        own = find_model(model)
        if own is not None:
            return own.id
        raise _bad(
            "model",
            f"is {model[:60]!r}, for which no stand-in is known",
            f"Known: {', '.join(models)}, or a model of the catalogue.",
        )
    return str(models[known])


def _number(name: str, value: Any, least: float, most: float) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError):
        number = float("nan")
    if not least <= number <= most:
        raise _bad(name, f"is {str(value)[:40]!r}", f"Give a number from {least:g} to {most:g}, or auto.")
    return number


def _bad(name: str, what: str, step: str) -> BadInputError:
    return BadInputError("bad_job", f"The job's field {name!r} {what}.", step, fields={"field": name})


@cache
def _facts() -> dict[str, dict[str, str]]:
    return tomllib.loads(resources.files("kriptik.catalogue").joinpath("openai.toml").read_text("utf-8"))
