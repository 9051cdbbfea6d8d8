"""Nested values of tensors and JSON, taken apart into JSON with marks and a flat dictionary of tensors. No pickle."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from kriptik.engine.interfaces import MicroBatch, Update
from kriptik.spec.errors import WorkerError

MARK = "$"


def pack(value: Any, tensors: dict[str, Tensor], name: str) -> Any:
    """JSON of `value`; its tensors go into `tensors` under names that begin with `name`."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach()
        return {MARK: "tensor", "name": name, "home": value.device.type != "cpu"}
    if isinstance(value, dict):
        if all(isinstance(key, str) and key != MARK for key in value):
            return {key: pack(one, tensors, f"{name}/{key}") for key, one in value.items()}
        pairs = [[key, pack(one, tensors, f"{name}/{number}")] for number, (key, one) in enumerate(value.items())]
        return {MARK: "dict", "items": pairs}
    if isinstance(value, list | tuple):
        items = [pack(one, tensors, f"{name}/{number}") for number, one in enumerate(value)]
        return items if isinstance(value, list) else {MARK: "tuple", "items": items}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise WorkerError("not_saved", f"A {type(value).__name__} at {name} cannot go into a checkpoint.", "Report this as a fault.")


def unpack(value: Any, tensors: dict[str, Tensor], device: torch.device) -> Any:
    """Inverse of `pack`; tensors that were not on the CPU go to `device`."""
    if isinstance(value, list):
        return [unpack(one, tensors, device) for one in value]
    if not isinstance(value, dict):
        return value
    match value.get(MARK):
        case "tensor":
            # a copy: a file's tensors lie at any address, and matrix kernels round differently where it is not aligned
            return tensors[value["name"]].to(device if value["home"] else "cpu", copy=True)
        case "tuple":
            return tuple(unpack(one, tensors, device) for one in value["items"])
        case "dict":
            return {key: unpack(one, tensors, device) for key, one in value["items"]}
    return {key: unpack(one, tensors, device) for key, one in value.items()}


def update_to_plain(update: Update) -> dict[str, Any]:
    """An update as a dictionary of tensors and JSON."""
    return {"micros": [_fields(micro) for micro in update.micros], "state": update.state, "fresh": update.fresh}


def update_from_plain(plain: dict[str, Any]) -> Update:
    """Inverse of `update_to_plain`."""
    return Update([MicroBatch(**micro) for micro in plain["micros"]], plain["state"], plain["fresh"])


def settled(update: Update) -> Update:
    """The update as it would come back from a checkpoint: every tensor contiguous, on its own storage."""
    return update_from_plain(_mapped(update_to_plain(update), _own))


def _fields(micro: MicroBatch) -> dict[str, Any]:
    return {one.name: getattr(micro, one.name) for one in fields(micro)}


def _own(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(one, change) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_mapped(one, change) for one in value)
    return value
