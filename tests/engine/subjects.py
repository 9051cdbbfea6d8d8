"""What the conformance suite needs of each modality: a tiny base, rows of each kind, and what a model gives, however it was loaded.

A modality that is not here is not proved. `trained`, `adapter` and `whole` give one tensor each: of the model as it was trained, of
the saved adapter on its base, of the saved whole model, the last two read by the ecosystem's own classes.
"""

from pathlib import Path

import diffusers
import tiny
import tiny_audio
import tiny_diffusion
import tiny_encoder
import tiny_sound
import tiny_video
import tiny_vision
import torch
from peft import PeftModel
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSequenceClassification,
    AutoProcessor,
    MusicgenForConditionalGeneration,
    SpeechT5ForTextToSpeech,
)

from kriptik.engine.adaptations import lora_moe, moe
from kriptik.engine.adapters import attach
from kriptik.engine.media import seeing
from kriptik.engine.media.families import FAMILIES
from kriptik.engine.media.listener import Listener
from kriptik.engine.media.noise_experts import denoisers, joined
from kriptik.engine.media.sound_families import SOUND_FAMILIES
from kriptik.engine.media.states import bare
from kriptik.engine.media.video_families import VIDEO_FAMILIES
from kriptik.engine.modalities.text import DTYPES
from kriptik.engine.text import quantised
from kriptik.engine.text.heads import SCORE, ValueHead, plain, value_head
from kriptik.spec.consent import Consent


class Text:
    """Language models."""

    modality = "text"
    precisions = frozenset({None, "fp32", "bf16", "fp16", "nf4"})
    rows = {
        "supervised": lambda folder, *asked: tiny.chat_rows(*asked),
        "prompts": lambda folder, *asked: tiny.chat_rows(*asked),
        "prompts_with_check": lambda folder, *asked: tiny.chat_rows(*asked),
        "feedback": lambda folder, *asked: tiny.feedback_rows(*asked),
        "preferences": lambda folder, *asked: tiny.preference_rows(*asked),
    }
    """Kinds of rows made here, from a folder for their files, a count and a seed; a method that needs others stays planned.

    A method of several kinds gets the last of them, which serves the earlier stages too.
    """
    counts = (24, 8)
    sizes = {"micro_batch": 1, "accumulation": 2, "epochs": 2}
    rates = {}
    """Learning rates where those of the suite do not fit."""
    told = {}
    """What an objective is told besides, so that a tiny model can do it."""
    changes = {}
    """Fields of the job that this modality asks for."""
    positions = {"longlora": 48}
    """Context of the base where that of `tiny_model` would leave nothing to stretch."""

    def reward(self, folder):
        """A reward model to ask."""
        return tiny.tiny_reward_model(folder)

    def base(self, folder, adaptation):
        """Writes the base model."""
        tiny.tiny_model(folder, positions=self.positions.get(adaptation, 512))

    def trained(self, run, job):
        """Logits of the trainee."""
        return _logits(run.bundle.trainee)

    def adapter(self, job, folder):
        """Logits of the adapter on its base."""
        if job.precision != "nf4":
            base = self._load(job, job.base_model.path)
        else:
            base = self._load(job, job.base_model.path, quantised.options(torch.float32, "cpu"))
            quantised.settle(base)
        return _logits(attach(base, folder))

    def whole(self, job, folder):
        """Logits of the whole model."""
        return _logits(self._load(job, folder))

    def _load(self, job, path, options=()):
        dtype = DTYPES.get(job.precision, torch.float32)
        if job.stages[-1].point.objective == "reward":
            return AutoModelForSequenceClassification.from_pretrained(path, dtype=dtype, num_labels=1, **dict(options))
        return AutoModelForCausalLM.from_pretrained(path, dtype=dtype, **dict(options))


class Embedding:
    """Sentence-transformers models."""

    modality = "embedding"
    precisions = frozenset({None, "fp32"})
    rows = {
        "supervised": lambda folder, count, seed=0: tiny_encoder.pair_rows(count, seed, negatives=1),
        "pairs": lambda folder, count, seed=0: tiny_encoder.pair_rows(count, seed, negatives=1),
    }
    counts = (32, 16)
    sizes = {"micro_batch": 4, "accumulation": 2, "epochs": 4}
    rates = {"lora": 2e-2, "dora": 2e-2}
    told = {}
    changes = {}
    texts = ("json hash", "braces digest", "random list value", "a")

    def base(self, folder, adaptation):
        """Writes the base model."""
        tiny_encoder.tiny_encoder(folder)

    def trained(self, run, job):
        """Vectors of the trainee, by the library: put into the base's own frame."""
        library = SentenceTransformer(job.base_model.path, device="cpu")
        library[0].model = run.bundle.trainee.eval()
        return self._vectors(library)

    def adapter(self, job, folder):
        """Vectors of the base with the adapter by PEFT."""
        library = SentenceTransformer(job.base_model.path, device="cpu")
        library[0].model = PeftModel.from_pretrained(library[0].model, folder).eval()
        return self._vectors(library)

    def whole(self, job, folder):
        """Vectors of the saved folder."""
        return self._vectors(SentenceTransformer(str(folder), device="cpu"))

    def _vectors(self, library):
        return torch.tensor(library.encode(list(self.texts), show_progress_bar=False))


class Image:
    """Diffusion pipelines: a transformer of flows, unless a method or an adaptation is proved on another family."""

    modality = "image"
    precisions = frozenset({None, "fp32"})
    rows = {
        "supervised": tiny_diffusion.shape_rows,
        "captioned_media": tiny_diffusion.shape_rows,
        "subject_images": lambda folder, count, seed=0: tiny_diffusion.shape_rows(folder, count, seed, False, ("gold", "disc")),
        "preferences": tiny_diffusion.pair_rows,
    }
    counts = (8, 3)
    pairs = (16, 8)
    """As many pairs as it takes to say how many of those held out are won."""
    sizes = {"micro_batch": 2, "accumulation": 2, "epochs": 4}
    rates = {"lora": 5e-2, "dora": 5e-2, "moe": 2e-2, "textual_inversion": 5e-2}
    told = {"watched_pictures": 2, "judged": False}
    changes = {}
    families = {"textual_inversion": "StableDiffusionPipeline", "dpo": "StableDiffusionPipeline"}

    def base(self, folder, adaptation):
        """Writes the base model."""
        tiny_diffusion.tiny_pipeline(folder, self.families.get(adaptation, "FluxPipeline"))

    def trained(self, run, job):
        """A picture by the trained model."""
        pipe, family = run.bundle.pipeline, FAMILIES[run.bundle.info["family"]]
        setattr(pipe, family.part, bare(run.bundle.trainee).eval())
        return self._picture(pipe, run.bundle.words)

    def adapter(self, job, folder):
        """A picture by the base with the adapter, both read by the pipeline's own class."""
        pipe = diffusers.DiffusionPipeline.from_pretrained(job.base_model.path)
        if (folder / moe.CONFIG).is_file():
            moe.attach(pipe.transformer, folder).eval()
        elif (folder / lora_moe.CONFIG).is_file():
            attach(pipe.transformer, folder).eval()
        elif (folder / "learned_embeds.safetensors").is_file():
            pipe.load_textual_inversion(str(folder), weight_name="learned_embeds.safetensors")
        else:
            pipe.load_lora_weights(str(folder), weight_name="pytorch_lora_weights.safetensors")
        return self._picture(pipe)

    def whole(self, job, folder):
        """A picture by the saved pipeline."""
        return self._picture(diffusers.DiffusionPipeline.from_pretrained(folder))

    def _picture(self, pipe, words=()):
        pipe.set_progress_bar_config(disable=True)
        prompt = "a gold disc <subject>"
        for word, text in dict(words).items():
            prompt = prompt.replace(word, text)
        made = pipe(
            prompt=prompt, height=16, width=16, num_inference_steps=3, generator=torch.Generator().manual_seed(3), output_type="pt"
        )
        return made.images.float()


class Video:
    """Video transformers: Wan 2.2 with two experts, unless an adaptation is proved on another family."""

    modality = "video"
    precisions = frozenset({None, "fp32"})
    rows = {"supervised": tiny_video.motion_rows, "captioned_media": tiny_video.motion_rows, "preferences": tiny_video.pair_rows}
    counts = (12, 3)
    pairs = (16, 8)
    sizes = {"micro_batch": 2, "accumulation": 2, "epochs": 5}
    rates = {"lora": 5e-2, "dora": 5e-2, "temporal": 1e-1, "moe": 2e-2}
    told = {"resolution": 24, "frames": 9, "fps": 8, "watched_clips": 1}
    changes = {}
    families = {"dora": "LTXPipeline"}

    def base(self, folder, adaptation):
        """Writes the base model."""
        tiny_video.tiny_pipeline(folder, self.families.get(adaptation, "WanPipeline-two"))

    def trained(self, run, job):
        """A clip by the trained model."""
        pipe, family = run.bundle.pipeline, VIDEO_FAMILIES[run.bundle.info["family"]]
        for part, one in denoisers(bare(run.bundle.trainee).eval(), family).items():
            setattr(pipe, part, one)
        return self._clip(pipe)

    def adapter(self, job, folder):
        """A clip by the base with the adapter, both read by the pipeline's own class; experts of ours by `attach`."""
        pipe = diffusers.DiffusionPipeline.from_pretrained(job.base_model.path)
        if (folder / moe.CONFIG).is_file():
            moe.attach(joined(pipe, VIDEO_FAMILIES["WanPipeline"]), folder).eval()
            return self._clip(pipe)
        if (folder / lora_moe.CONFIG).is_file():
            attach(joined(pipe, VIDEO_FAMILIES["WanPipeline"]), folder).eval()
            return self._clip(pipe)
        pipe.load_lora_weights(str(folder), weight_name="pytorch_lora_weights.safetensors")
        if (folder / "low_noise.safetensors").is_file():
            pipe.load_lora_weights(str(folder), weight_name="low_noise.safetensors", load_into_transformer_2=True)
        return self._clip(pipe)

    def whole(self, job, folder):
        """A clip by the saved pipeline."""
        return self._clip(diffusers.DiffusionPipeline.from_pretrained(folder))

    def _clip(self, pipe):
        pipe.set_progress_bar_config(disable=True)
        made = pipe(
            prompt="a gold disc moves up", height=32, width=32, num_frames=9, num_inference_steps=3, output_type="pt",
            guidance_scale=2.0, max_sequence_length=16, generator=torch.Generator().manual_seed(3),
        )
        return made.frames.float()


class Music:
    """MusicGen."""

    modality = "music"
    precisions = frozenset({None, "fp32"})
    rows = {"supervised": tiny_sound.tone_rows, "prompts": tiny_sound.tone_rows, "preferences": tiny_sound.pair_rows}
    counts = (12, 6)
    sizes = {"micro_batch": 2, "accumulation": 2, "epochs": 4}
    rates = {"lora": 2e-2, "dora": 2e-2}
    told = {}
    changes = {}
    scored = {"reward": {"learning_rate": 5e-3, "epochs": 12}, "ppo": {"learning_rate": 1e-2}}
    """Where a run makes the reward model that it asks: a dozen pairs must first be told apart clearly."""

    def base(self, folder, adaptation):
        """Writes the base model."""
        tiny_sound.tiny_musicgen(folder)

    def reward(self, folder):
        """A reward model to ask."""
        return tiny_sound.tiny_reward_model(folder)

    def trained(self, run, job):
        """Logits of the whole model around the trained decoder, and scores where it has a head for them."""
        model = run.bundle.pipeline.model
        model.decoder = bare(run.bundle.trainee)  # a stage before this one may have put another in its place
        return self._told(model, value_head(run.bundle.trainee))

    def adapter(self, job, folder):
        """Logits of the library's model with the adapter on it, as PEFT reads both; PEFT does not know experts."""
        base = MusicgenForConditionalGeneration.from_pretrained(job.base_model.path)
        if (folder / "adapter_config.json").is_file():
            name, file = "base_model.model.decoder.score.weight", folder / "adapter_model.safetensors"
            weight = load_file(file).get(name)
            head = None if weight is None else ("score", ValueHead(weight.shape[1], weight, 0.0))
            if head:
                head[1].weight.data.copy_(weight)
            return self._told(PeftModel.from_pretrained(base, folder), head)
        base.decoder = attach(base.decoder, folder)
        return self._told(base)

    def whole(self, job, folder):
        """Logits of the saved model, and scores as a run that asks it has them."""
        model = MusicgenForConditionalGeneration.from_pretrained(folder)
        if job.stages[-1].point.objective == "reward":
            model.decoder = Listener().load(folder, torch.device("cpu"))
        return self._told(model, value_head(model))

    def _told(self, model, head=None):
        codes = torch.arange(2 * 2 * 9).reshape(4, 9) % tiny_sound.CODES
        with torch.no_grad():
            told = model.eval()(
                input_ids=torch.tensor([[5, 9, 1], [7, 1, 0]]), attention_mask=torch.tensor([[1, 1, 1], [1, 1, 0]]),
                decoder_input_ids=codes, output_hidden_states=True,
            )  # fmt: skip
            scores = head[1](told.decoder_hidden_states[-1][:, -1]) if head and head[0] == SCORE else torch.zeros(0)
        return torch.cat([told.logits.flatten(), scores])


class Sound:
    """Stable Audio, unless an adaptation or a method is proved on another family."""

    modality = "sound"
    precisions = frozenset({None, "fp32"})
    rows = {"supervised": tiny_sound.tone_rows, "captioned_media": tiny_sound.tone_rows, "preferences": tiny_audio.pair_rows}
    counts = (12, 3)
    pairs = (16, 8)
    sizes = {"micro_batch": 2, "accumulation": 2, "epochs": 4}
    rates = {"lora": 2e-2, "dora": 2e-2, "moe": 2e-2}
    told = {"sample_steps": 2, "heard_clips": 2, "heard_seconds": 0.4}
    changes = {}
    families = {"dora": "AceStepPipeline", "full_finetune": "AudioLDM2Pipeline"}

    def base(self, folder, adaptation):
        """Writes the base model."""
        tiny_audio.tiny_pipeline(folder, self.families.get(adaptation, "StableAudioPipeline"))

    def trained(self, run, job):
        """A sound by the trained model."""
        pipe, family = run.bundle.pipeline, SOUND_FAMILIES[run.bundle.info["family"]]
        setattr(pipe, family.part, bare(run.bundle.trainee).eval())
        return self._heard(pipe)

    def adapter(self, job, folder):
        """A sound by the library's pipeline with the adapter on its denoiser by PEFT; experts of ours by `attach`."""
        pipe = tiny_audio.library_pipeline(job.base_model.path)
        part = SOUND_FAMILIES[type(pipe).__name__].part
        if (folder / "pytorch_lora_weights.safetensors").is_file():
            pipe.load_lora_weights(str(folder), weight_name="pytorch_lora_weights.safetensors")
        elif (folder / "adapter_config.json").is_file():
            PeftModel.from_pretrained(getattr(pipe, part), folder)
        elif (folder / moe.CONFIG).is_file():
            moe.attach(getattr(pipe, part), folder).eval()
        else:
            setattr(pipe, part, attach(getattr(pipe, part), folder).eval())
        return self._heard(pipe)

    def whole(self, job, folder):
        """A sound by the saved pipeline."""
        return self._heard(tiny_audio.library_pipeline(folder))

    def _heard(self, pipe):
        asked = {SOUND_FAMILIES[type(pipe).__name__].asks: 0.4, "output_type": "pt"}
        made = pipe("a pulsing high tone", num_inference_steps=3, generator=torch.Generator().manual_seed(3), **asked)
        return made.audios.float()


class Voice:
    """SpeechT5, which has learnt another voice before."""

    modality = "voice"
    precisions = frozenset({None, "fp32"})
    rows = {"supervised": tiny_sound.speech_rows, "transcribed_speech": tiny_sound.speech_rows}
    counts = (12, 4)
    sizes = {"micro_batch": 2, "accumulation": 2, "epochs": 20}
    rates = {"lora": 2e-2, "dora": 2e-2, "full": 3e-3}
    told = {"judged": False}
    changes = {"consent": Consent(person="A Buzz", statement="My voice may be learnt by this test.")}

    def base(self, folder, adaptation):
        """Writes the base model, taught long enough that low ranks can bend its voice whatever the processor rounds."""
        tiny_sound.tiny_speecht5(folder, steps=200)

    def trained(self, run, job):
        """A spectrogram by the trained model."""
        return self._spectrogram(run.bundle.pipeline.model)

    def adapter(self, job, folder):
        """A spectrogram by the base with the adapter by PEFT."""
        base = SpeechT5ForTextToSpeech.from_pretrained(job.base_model.path)
        return self._spectrogram(PeftModel.from_pretrained(base, folder).get_base_model())

    def whole(self, job, folder):
        """A spectrogram by the saved model."""
        return self._spectrogram(SpeechT5ForTextToSpeech.from_pretrained(folder))

    def _spectrogram(self, model):
        torch.manual_seed(3)  # the dropout of its first layers never sleeps
        labels = torch.linspace(-3, 1, 12 * tiny_sound.BANDS).reshape(1, 12, tiny_sound.BANDS)
        speaker = torch.linspace(-1, 1, 32)[None]
        asked = {"input_ids": torch.tensor([[4, 5, 6, 7, 2]]), "decoder_input_values": labels[:, 1::2]}
        with torch.no_grad():
            return model.eval()(**asked, speaker_embeddings=speaker).spectrogram


class Vision:
    """LLaVA."""

    modality = "vision_language"
    precisions = frozenset({None, "fp32", "nf4"})
    rows = {"supervised": tiny_vision.question_rows, "preferences": tiny_vision.preference_rows}
    counts = (24, 8)
    sizes = {"micro_batch": 1, "accumulation": 2, "epochs": 3}
    rates = {"projector": 1e-2}
    told = {}
    changes = {}

    def base(self, folder, adaptation):
        """Writes the base model."""
        tiny_vision.tiny_llava(folder)

    def trained(self, run, job):
        """Logits of the trainee."""
        return self._logits(run.bundle.trainee, job.base_model.path)

    def adapter(self, job, folder):
        """Logits of the library's model with the adapter on it by PEFT."""
        options = {}
        if job.precision == "nf4":
            options = quantised.options(torch.float32, "cpu")
            options["quantization_config"].llm_int8_skip_modules = seeing.FAMILIES["llava"].whole
        base = AutoModelForImageTextToText.from_pretrained(job.base_model.path, dtype=torch.float32, **options)
        if job.precision == "nf4":
            quantised.settle(base)
        return self._logits(PeftModel.from_pretrained(base, folder), job.base_model.path)

    def whole(self, job, folder):
        """Logits of the saved model, asked through its saved processor."""
        return self._logits(AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32), folder)

    def _logits(self, model, folder):
        processor = AutoProcessor.from_pretrained(folder)
        parts = [{"type": "image"}, {"type": "text", "text": "What is this?"}]
        asked = processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
        inputs = processor(images=[tiny_vision.picture()], text=[asked], return_tensors="pt")
        with torch.no_grad():
            return model.eval()(**inputs).logits


SUBJECTS = {one.modality: one() for one in (Text, Embedding, Image, Video, Music, Sound, Voice, Vision)}


def _logits(model):
    """Of a few tokens; with a score head, the score of the last of them."""
    ids = torch.tensor([[5, 17, 40, 101, 7, 63, 211, 30]])
    found = value_head(model.eval())
    with torch.no_grad():
        if found and found[0] == SCORE:
            return found[1](plain(model).get_decoder()(input_ids=ids).last_hidden_state[0, -1:])[None]
        return model(input_ids=ids).logits


def result_of(job):
    """The folder in which a run leaves what it made."""
    return Path(job.run_dir) / "result"
