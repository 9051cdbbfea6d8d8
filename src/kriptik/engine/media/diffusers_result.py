"""What a run on a diffusion model leaves: adapters as the ecosystem's programs read them, and the whole pipeline as a folder.

The files of an adapter hold its strength in the weights themselves (alpha = rank), since not every program reads it from beside
them: `pytorch_lora_weights.safetensors` with the key names of diffusers, which ComfyUI reads for the transformers of images too;
for UNets `kohya.safetensors` with those that ComfyUI and AUTOMATIC1111 expect of that family; `comfyui.safetensors` where
ComfyUI has other names: for Wan and LTX, and for the magnitudes of DoRA on transformers. Its names of HunyuanVideo, CogVideoX and
ACE-Step are not written. Of two denoisers each has files of its own, those for little noise `low_noise.safetensors`
(`load_lora_weights(…, load_into_transformer_2=True)`) and `comfyui_low_noise.safetensors`. Source of ComfyUI's names: its
`comfy/lora.py`, read on 2026-12-01.
"""

import json
import re
from pathlib import Path
from typing import Any

from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from kriptik.engine.interfaces import Adaptation, Bundle, Exported
from kriptik.engine.media.families import Family
from kriptik.engine.media.noise_experts import LOW, denoisers
from kriptik.engine.media.result import leave
from kriptik.engine.media.states import bare
from kriptik.spec.job import TrainJob

WEIGHTS, KOHYA, LOW_NOISE = "pytorch_lora_weights.safetensors", "kohya.safetensors", "low_noise.safetensors"
COMFY, COMFY_LOW = "comfyui.safetensors", "comfyui_low_noise.safetensors"
PREFIX = "base_model.model."
MAGNITUDE = "lora_magnitude_vector"


def write(bundle: Bundle, adaptation: Adaptation, run_dir: Path, job: TrainJob, family: Family) -> Exported:
    """See Modality.export."""

    def adapter(folder: Path) -> None:
        if isinstance(bundle.trainee, PeftModel):
            save_adapter(bundle.trainee, bundle.pipeline, family, folder)
        else:
            adaptation.save(bundle, folder)

    return leave(bundle, adaptation, run_dir, job, lambda folder: save_pipeline(bundle, adaptation, family, folder), adapter)


def save_pipeline(bundle: Bundle, adaptation: Adaptation, family: Family, folder: Path) -> None:
    """Writes the whole pipeline around the trained denoiser; the one in `bundle` stays as it is."""
    pipe = bundle.pipeline
    made = denoisers(adaptation.merged(bundle), family)
    before = {part: getattr(pipe, part) for part in made}
    try:
        for part, module in made.items():
            setattr(pipe, part, module)
        pipe.save_pretrained(folder, safe_serialization=True)
        _forget_where(folder)
    finally:
        for part, module in before.items():
            setattr(pipe, part, module)


def _forget_where(folder: Path) -> None:
    """The library writes down from where on this machine each part was read: nobody else's business."""
    for file in (*folder.glob("*.json"), *folder.glob("*/*.json")):
        told = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(told, dict) and told.pop("_name_or_path", None) is not None:
            file.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def save_adapter(model: PeftModel, pipe: Any, family: Family, folder: Path) -> None:
    """Writes the adapter's files. `model`: the denoiser with PEFT's adapter on it."""
    state, several = lora_state(model), denoisers(bare(model), family)
    for part in several:
        begins = f"{part}." if len(several) > 1 else ""
        mine = {name.removeprefix(begins): one for name, one in state.items() if name.startswith(begins)}
        file = LOW_NOISE if part == LOW else WEIGHTS
        type(pipe).save_lora_weights(folder, **{f"{family.part}_lora_layers": mine}, weight_name=file)
        theirs = _comfy(mine, family)
        if theirs.keys() - {f"{family.part}.{name}" for name in mine}:
            save_file(theirs, folder / (COMFY_LOW if part == LOW else COMFY))
    if family.kohya:
        save_file(_kohya(state, family.part), folder / KOHYA)


def _kohya(state: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The library's names for kohya's readers; DoRA's magnitudes, which it does not rename, as LyCORIS has them: [out, 1]."""
    from diffusers.utils.state_dict_utils import convert_state_dict_to_kohya

    plain = {f"{part}.{name}": one for name, one in state.items() if not name.endswith(MAGNITUDE)}
    found = convert_state_dict_to_kohya(plain)
    for name, one in state.items():
        if name.endswith(MAGNITUDE):
            layer = name.removesuffix(f".{MAGNITUDE}").replace(".", "_")
            found[f"lora_{part}_{layer}.dora_scale"] = one.reshape(-1, 1)
    return {name: one.contiguous().clone() for name, one in found.items()}


def _comfy(state: dict[str, Tensor], family: Family) -> dict[str, Tensor]:
    """ComfyUI's names, where they are known; DoRA's magnitudes as in `_kohya`."""
    found = {}
    for name, one in state.items() if family.comfy else ():
        for pattern, other in family.comfy:
            name = re.sub(pattern, other, name)
        if name.endswith(MAGNITUDE):
            name, one = f"{name.removesuffix(MAGNITUDE)}dora_scale", one.reshape(-1, 1)
        found[name] = one.contiguous().clone()
    return found


def lora_state(model: PeftModel) -> dict[str, Tensor]:
    """Name in the denoiser → numbers, the scale folded into B."""
    config: Any = model.peft_config["default"]
    scale = config.lora_alpha / config.r
    state = {}
    for name, one in get_peft_model_state_dict(model, save_embedding_layers=False).items():
        value = one.detach().cpu()
        state[name.removeprefix(PREFIX)] = value * scale if ".lora_B." in name else value.clone()
    return state
