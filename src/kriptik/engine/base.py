"""Finding base models: a folder, the cache, the hub where it can be reached, else a package that ships the weights.

What was found once stays in the cache: a run must never continue on other base weights. Only safetensors are read, no code of a
model's repository is run.
"""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from kriptik.engine import packaged
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import ModelRef, TrainJob

FACTS = "kriptik.json"
HUB_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt"]
PIPELINE_FILES = ["model_index.json", *(f"*/{name}" for name in HUB_FILES)]
"""Of a diffusers folder: not the single files that lie beside it."""
OTHER_FORMS = ["*.fp16.*", "*.bf16.*", "*.non_ema.*", "*onnx*", "*openvino*", "*flax*"]
INDEX = "model_index.json"
NOT_LOADABLE = (ValueError, OSError, TypeError, KeyError, ImportError, AttributeError, RuntimeError, SafetensorError)
"""What the libraries raise over a folder of which they can make no model."""
HUB_WAIT_S = 5.0


@dataclass(frozen=True)
class Base:
    """A base model on this machine: its folder in Hugging Face format, and the SHA-256 over its weight files."""

    folder: Path
    sha256: str
    source: str


def find_base(job: TrainJob) -> Base:
    """The job's base model. Raises WorkerError where it is nowhere to be had."""
    return find(job.base_model, Path(job.cache_dir))


def find(ref: ModelRef, cache: Path, *, pipeline: bool = False) -> Base:
    """A model by its name, kept under `cache`; `pipeline`: of several parts. Raises WorkerError where it is nowhere to be had."""
    if ref.path or Path(ref.id).is_absolute():
        folder = Path(ref.path or ref.id)
        _must_be_model(folder, ref.id)
        return Base(folder, weights_sha256(folder), "folder")
    kept = cache / "models" / _name_of(ref)
    if not is_kept(ref, cache):
        _fetch(ref, kept, pipeline=pipeline)
    facts = json.loads((kept / FACTS).read_text())
    return Base(kept, facts["sha256"], facts["source"])


def is_kept(ref: ModelRef, cache: Path) -> bool:
    """Whether a model lies whole in the cache."""
    return (cache / "models" / _name_of(ref) / FACTS).is_file()


def _fetch(ref: ModelRef, kept: Path, *, pipeline: bool) -> None:
    """Puts a model into the cache as a whole; two processes may do so at once."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{kept.name}-", dir=kept.parent))
    try:
        source = _from_hub(ref, part, pipeline=pipeline) if packaged.on_hub(ref.id) else None
        if source is None:
            source = packaged.put(ref.id, part)
        _must_be_model(part, ref.id)
        (part / FACTS).write_text(json.dumps({"id": ref.id, "source": source, "sha256": weights_sha256(part)}))
        if not (kept / FACTS).is_file():
            shutil.rmtree(kept, ignore_errors=True)
            part.rename(kept)
    except OSError as error:
        if not (kept / FACTS).is_file():
            sentence = f"The base model could not be stored: {error}."
            raise WorkerError("disk_full", sentence, "Free disk space, then retry.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _from_hub(ref: ModelRef, part: Path, *, pipeline: bool) -> str | None:
    """Downloads from the hub; None where it cannot be reached or is switched off. Raises WorkerError where access is refused."""
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return None
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", str(int(HUB_WAIT_S)))
    import httpx
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:  # one short look first, so that a machine without network waits seconds, not minutes
        httpx.head(constants.ENDPOINT, timeout=HUB_WAIT_S, follow_redirects=True)
        wanted, unwanted = (PIPELINE_FILES, OTHER_FORMS) if pipeline else (HUB_FILES, None)
        snapshot_download(ref.id, revision=ref.revision, allow_patterns=wanted, ignore_patterns=unwanted, local_dir=part)
    except GatedRepoError as error:
        raise WorkerError(
            "model_gated", f"The hub asks to accept the terms of {ref.id} first.", "Accept them on its page, then set HF_TOKEN."
        ) from error
    except RepositoryNotFoundError:
        return None
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, httpx.HTTPError, OSError, ValueError):
        return None
    shutil.rmtree(part / ".cache", ignore_errors=True)
    return f"hub {ref.revision or 'main'}"


def _must_be_model(folder: Path, name: str) -> None:
    if (folder / INDEX).is_file():
        found = list(folder.glob("*/*.safetensors"))
    else:
        found = (folder / "config.json").is_file() and list(folder.glob("*.safetensors"))
    if not found:
        raise WorkerError(
            "model_not_found",
            f"{name} has no configuration with safetensors weights.",
            "Choose another base model, or convert it to safetensors.",
        )


def weights_sha256(folder: Path) -> str:
    """SHA-256 over the weight files of a model's folder."""
    return packaged.sha256_of(sorted(folder.glob("*/*.safetensors" if (folder / INDEX).is_file() else "*.safetensors")))


def _name_of(ref: ModelRef) -> str:
    name = "".join(c if c.isalnum() or c in "-._" else "--" for c in ref.id).lstrip(".") or "model"
    return f"{name}@{ref.revision}" if ref.revision else name
