"""What the catalogue says of a method's families is what the engine's tables say, for every family that trains."""

import pytest
import tiny_audio
import tiny_diffusion
import tiny_video

from kriptik.catalogue.load import load_catalogue
from kriptik.engine.media.families import FAMILIES
from kriptik.engine.media.sound_families import SOUND_FAMILIES
from kriptik.engine.media.video_families import VIDEO_FAMILIES
from kriptik.engine.pieces import adaptation, missing, modality, objective, strategy
from kriptik.pipeline.plan.known import model_of, unfit

TABLES = {**FAMILIES, **VIDEO_FAMILIES, **SOUND_FAMILIES}
CLASSES = {
    "sd15": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline", "sd3": "StableDiffusion3Pipeline",
    "flux1": "FluxPipeline", "flux2": "Flux2KleinPipeline", "qwen_image": "QwenImagePipeline", "z_image": "ZImagePipeline",
    "wan": "WanPipeline", "ltx": "LTXPipeline", "cogvideox": "CogVideoXPipeline", "hunyuan_video": "HunyuanVideoPipeline",
    "stable_audio": "StableAudioPipeline", "ace_step15": "AceStepPipeline", "audioldm2": "AudioLDM2Pipeline",
}  # fmt: skip
"""The catalogue's family → the library's class. Others that train make codes, not noise into something."""
MEDIA = {"image_generation", "video_generation", "music_generation"}
MODELS = {one.trainable_family: one.id for one in load_catalogue().models.values() if MEDIA & set(one.capabilities)}
MODELS.pop(None)


def test_every_family_that_trains_is_in_a_table_and_has_a_tiny_model():
    assert set(CLASSES.values()) == set(TABLES) and MODELS.keys() - CLASSES.keys() == {"musicgen"}
    assert CLASSES.keys() <= MODELS.keys()
    tiny = (*tiny_diffusion.MAKERS, *tiny_video.MAKERS, *tiny_audio.MAKERS)
    assert {name.partition("-")[0] for name in tiny} == set(TABLES)


@pytest.mark.parametrize("family", sorted(MODELS))
def test_the_catalogue_and_the_engine_agree(family):
    """That experts can be made of each denoiser, and are used, `test_moe.py` shows by the same tables."""
    model, known = model_of(MODELS[family]), TABLES.get(CLASSES.get(family, ""))
    assert (unfit("textual_inversion", model) is None) == (known is not None and known.inverts)
    assert (unfit("moe_diffusion", model) is None) == (known is not None)
    assert all(unfit(method, model) is None for method in ("lora", "dora", "full_finetune", "dreambooth", "temporal_adaptation"))


def test_a_model_of_codes_knows_no_noise():
    assert missing(modality("music"), adaptation("moe"), objective("denoise"), strategy("single")) == {"noise"}
