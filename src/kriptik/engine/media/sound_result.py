"""What a run on a sound model leaves: an adapter in PEFT's format, and the whole pipeline as the library's folder.

The library's pipelines of sound have no format of adapters of their own; PEFT puts one on the pipeline's denoiser.
"""

import json
import shutil
from pathlib import Path

from peft import PeftModel

from kriptik.engine.interfaces import Adaptation, Bundle, Exported
from kriptik.engine.media.diffusers_result import save_pipeline
from kriptik.engine.media.families import Family
from kriptik.engine.media.result import leave
from kriptik.spec.job import TrainJob

INDEX, SAMPLER = "model_index.json", "scheduler"


def write(bundle: Bundle, adaptation: Adaptation, run_dir: Path, job: TrainJob, family: Family, base: Path) -> Exported:
    """See Modality.export; `base`: the folder of the base model."""

    def whole(folder: Path) -> None:
        save_pipeline(bundle, adaptation, family, folder)
        own_sampler(folder, base)

    made = leave(bundle, adaptation, run_dir, job, whole)
    if made.model_path is not None:
        _say(run_dir / made.model_path, "The library's sampler of this pipeline needs a package more: `pip install torchsde`.")
    if made.adapter_path is not None:
        how = "PeftModel.from_pretrained" if isinstance(bundle.trainee, PeftModel) else "attach"
        where = f"It goes on the pipeline's {family.part}, which is changed in place: `{how}(pipe.{family.part}, folder)`."
        _say(run_dir / made.adapter_path, where)
    return made


def _say(folder: Path, line: str) -> None:
    card = folder / "README.md"
    card.write_text(f"{card.read_text(encoding='utf-8')}- {line}\n", encoding="utf-8")


def own_sampler(folder: Path, base: Path) -> None:
    """Puts the base's sampler back in the place of the one that samples were made with on the way."""
    shutil.rmtree(folder / SAMPLER)
    shutil.copytree(base / SAMPLER, folder / SAMPLER)
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    index[SAMPLER] = json.loads((base / INDEX).read_text(encoding="utf-8"))[SAMPLER]
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
