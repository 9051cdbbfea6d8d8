"""What a run on MusicGen leaves: an adapter that PEFT puts on the library's whole model, and the whole model as a folder.

A reward model is the same with one weight more, that of its score head, which the library leaves aside.
"""

import json
from pathlib import Path

from peft import PeftModel
from safetensors.torch import load_file, save_file

from kriptik.engine.interfaces import Adaptation, Bundle, Exported
from kriptik.engine.media.result import leave
from kriptik.engine.text.heads import SCORE, value_head
from kriptik.spec.job import TrainJob

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX, PART = "base_model.model.", "decoder."


def write(bundle: Bundle, adaptation: Adaptation, run_dir: Path, job: TrainJob) -> Exported:
    """See Modality.export."""
    model = bundle.pipeline.model

    def adapter(folder: Path) -> None:
        adaptation.save(bundle, folder)
        if isinstance(bundle.trainee, PeftModel):
            for_the_whole(folder)
            with_score(bundle, folder)

    def whole(folder: Path) -> None:
        before, model.decoder = model.decoder, adaptation.merged(bundle)
        found = value_head(model.decoder)
        try:
            state = model.state_dict()
            if found and found[0] != SCORE:  # a policy's is no part of what a run leaves
                state = {name: one for name, one in state.items() if not name.startswith(f"{PART}{found[0]}.")}
            model.save_pretrained(folder, safe_serialization=True, state_dict=state)
        finally:
            model.decoder = before
        bundle.pipeline.processor.save_pretrained(folder)

    made = leave(bundle, adaptation, run_dir, job, whole, adapter)
    if made.adapter_path is not None and not isinstance(bundle.trainee, PeftModel):
        card = run_dir / made.adapter_path / "README.md"
        card.write_text(card.read_text(encoding="utf-8") + "- It goes on the model's decoder: `attach(model.decoder, folder)`.\n")
    return made


def with_score(bundle: Bundle, folder: Path) -> None:
    """The score head of a reward model goes into its adapter."""
    found = value_head(bundle.trainee)
    if found is not None and found[0] == SCORE:
        state = load_file(folder / WEIGHTS)
        save_file(state | {f"{PREFIX}{PART}{SCORE}.weight": found[1].weight.detach().cpu().contiguous()}, folder / WEIGHTS)


def for_the_whole(folder: Path) -> None:
    """Names in a decoder's adapter become those in the whole model; its targets are found there as they are."""
    state = load_file(folder / WEIGHTS)
    save_file({f"{PREFIX}{PART}{name.removeprefix(PREFIX)}": one for name, one in state.items()}, folder / WEIGHTS)
    config = json.loads((folder / CONFIG).read_text())
    config["task_type"] = None
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True))
