"""What a run on a voice model leaves: PEFT's adapter, the whole model as transformers reads it, and the consent."""

from pathlib import Path

from kriptik.engine.interfaces import Adaptation, Bundle, Exported
from kriptik.engine.media.result import leave, say
from kriptik.engine.media.voice_kit import VoiceKit
from kriptik.spec.job import TrainJob

MEASURES = {"speaker_similarity": "Speaker similarity", "word_error_rate": "Word error rate"}
UNMARKED = "The speech is not watermarked; say where it is used that it is made."


def write(bundle: Bundle, adaptation: Adaptation, run_dir: Path, job: TrainJob) -> Exported:
    """See Modality.export. Raises WorkerError `disk_full`."""
    kit: VoiceKit = bundle.pipeline

    def adapter(folder: Path) -> None:
        adaptation.save(bundle, folder)
        kit.keep(folder)

    made = leave(bundle, adaptation, run_dir, job, lambda folder: kit.save(adaptation.merged(bundle), folder), adapter)
    sentence = job.consent.sentence.replace("`", "'").replace("<", "‹") if job.consent else ""
    say(run_dir, made, "The voice", [sentence, f"Speech is made by {kit.made_by}.", *kit.limits, UNMARKED, *_measured(bundle)])
    return made


def _measured(bundle: Bundle) -> list[str]:
    """By which models the speech was judged at evaluations, and what was not measured."""
    judges = bundle.info["judges"]
    return [
        f"{title} was measured by {judges[name]}, as far as it hears the language." if name in judges
        else f"{title} was not measured: no model that could was at hand."
        for name, title in MEASURES.items()
    ]  # fmt: skip
