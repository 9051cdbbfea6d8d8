"""Putting a saved adapter back on its base, whatever kind it is."""

import json
from pathlib import Path
from typing import Any

from peft import PeftModel

from kriptik.engine.adaptations import longlora, lora_moe, mora


def attach(model: Any, folder: str | Path) -> Any:
    """The base with the adapter in `folder` on it. `model` is the plain base, which may be changed in place.

    The own formats of MoRA and of experts, and LongLoRA's scaled positions are known here; everything else is PEFT's.
    """
    folder = Path(folder)
    if (folder / mora.CONFIG).is_file():
        return mora.attach(model, folder)
    if (folder / lora_moe.CONFIG).is_file():
        return lora_moe.attach(model, folder)
    if (folder / longlora.POSITIONS).is_file():
        longlora.scale_positions(model, json.loads((folder / longlora.POSITIONS).read_text())["rope_parameters"])
    return PeftModel.from_pretrained(model, str(folder))
