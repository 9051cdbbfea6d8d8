"""What a run on SpeechT5 leaves: PEFT's adapter, the whole model as transformers reads it, the voice's print, and the consent."""

from pathlib import Path

from safetensors.torch import save_file

from kriptik.engine.interfaces import Adaptation, Bundle, Exported
from kriptik.engine.media.result import leave, say
from kriptik.spec.job import TrainJob

SPEAKER, NAME = "speaker_embedding.safetensors", "speaker_embedding"
MEASURES = {"speaker_similarity": "Speaker similarity", "word_error_rate": "Word error rate"}
LIMITS = (
    "The voice's print (speaker_embedding.safetensors, `speaker_embedding`) is made from its spectrum, not by a speaker model.",
    "The speech is not watermarked; say where it is used that it is made.",
)


def write(bundle: Bundle, adaptation: Adaptation, run_dir: Path, job: TrainJob) -> Exported:
    """See Modality.export. Raises WorkerError `disk_full`."""
    kit = bundle.pipeline

    def adapter(folder: Path) -> None:
        adaptation.save(bundle, folder)
        save_file({NAME: kit.speaker.contiguous()}, folder / SPEAKER)

    def whole(folder: Path) -> None:
        merged = adaptation.merged(bundle)
        merged.config.use_guided_attention_loss = kit.guided
        try:
            merged.save_pretrained(folder, safe_serialization=True)  # type: ignore[operator]
        finally:
            merged.config.use_guided_attention_loss = False
        kit.processor.save_pretrained(folder)
        save_file({NAME: kit.speaker.contiguous()}, folder / SPEAKER)
        if kit.vocoder is not None:
            kit.vocoder.save_pretrained(folder / "vocoder", safe_serialization=True)

    made = leave(bundle, adaptation, run_dir, job, whole, adapter)
    sentence = job.consent.sentence.replace("`", "'").replace("<", "‹") if job.consent else ""
    say(run_dir, made, "The voice", [sentence, f"Speech is made by {bundle.info['vocoder']}.", *LIMITS, *_measured(bundle)])
    return made


def _measured(bundle: Bundle) -> list[str]:
    """By which models the speech was judged at evaluations, and what was not measured."""
    judges = bundle.info["judges"]
    return [
        f"{title} was measured by {judges[name]}, as far as it hears the language." if name in judges
        else f"{title} was not measured: no model that could was at hand."
        for name, title in MEASURES.items()
    ]  # fmt: skip
