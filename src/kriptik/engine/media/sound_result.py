"""What a run on a sound model leaves: an adapter in PEFT's format, and the whole pipeline as the library's folder.

Not all of the library's pipelines of sound have a format of adapters of their own; PEFT puts one on the pipeline's denoiser.
"""

import json
import shutil
from pathlib import Path

from peft import PeftModel

from kriptik.engine.interfaces import Adaptation, Bundle, Exported
from kriptik.engine.media.diffusers_result import save_pipeline
from kriptik.engine.media.families import Family
from kriptik.engine.media.result import leave, say
from kriptik.spec.job import TrainJob

INDEX, SAMPLER = "model_index.json", "scheduler"
SAMPLER_NEEDS = "The library's sampler of this pipeline needs a package more: `pip install torchsde`."


def write(bundle: Bundle, adaptation: Adaptation, run_dir: Path, job: TrainJob, family: Family, base: Path | None) -> Exported:
    """See Modality.export; `base`: the folder of the base model, where its sampler was not read."""

    def whole(folder: Path) -> None:
        save_pipeline(bundle, adaptation, family, folder)
        if base:
            own_sampler(folder, base)

    made = leave(bundle, adaptation, run_dir, job, whole)
    how = "PeftModel.from_pretrained" if isinstance(bundle.trainee, PeftModel) else "attach"
    lines = [f"An adapter goes on the pipeline's {family.part}, which is changed in place: `{how}(pipe.{family.part}, folder)`."]
    say(run_dir, made, "How it is used", [*lines, *([SAMPLER_NEEDS] if base else [])])
    return made


def own_sampler(folder: Path, base: Path) -> None:
    """Puts the base's sampler back in the place of the one that samples were made with on the way."""
    shutil.rmtree(folder / SAMPLER)
    shutil.copytree(base / SAMPLER, folder / SAMPLER)
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    index[SAMPLER] = json.loads((base / INDEX).read_text(encoding="utf-8"))[SAMPLER]
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
