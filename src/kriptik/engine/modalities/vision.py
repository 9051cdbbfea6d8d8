"""Vision and language: models that read pictures and answer in text, taught by questions about pictures.

Rows: text rows whose turns have `<image>` where a picture stands, and `images`, their files beside the rows' own; or an image
with its caption. What is trained is the library's whole model; an adapter stands on the language model alone. Objectives and
packing are those of text: documents lie end to end, each with its own pictures. Settings (`settings.objective`): `caption_prompt`,
what is asked of a picture that has a caption alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kriptik.engine.interfaces import Adaptation, Bundle, Encoded, Exported, MicroBatch
from kriptik.engine.media import pictures, seeing
from kriptik.engine.media.library import library, versions
from kriptik.engine.media.result import leave
from kriptik.engine.modalities.text import Text, answer, sample_tokens
from kriptik.engine.text import documents, parity
from kriptik.engine.text.chat import encode_prompt
from kriptik.engine.text.forms import documents_of, encode_form
from kriptik.engine.text.heads import TextOutput, defer, plain
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.export import Parity
from kriptik.spec.job import SamplePrompt, StageSettings

SHOWN_SIDE = 384
"""Pixels of a picture that is shown while it is trained on."""
CUT = frozenset({"fsdp", "deepspeed"})
"""Strategies under which ranks that look at no picture would leave the others waiting in the encoder."""
PROBED = [{"role": "user", "content": f"{seeing.MARK}\nWhat do you see?"}]


class Vision(Text):
    """Language models that see."""

    provides: ClassVar[frozenset[str]] = frozenset({"tokens", "projector"})
    sample_suffix: ClassVar[str] = ".png"
    kind: ClassVar[str] = "a vision-language model"
    shares: ClassVar[bool] = False

    def load(self) -> Bundle:
        """See Modality. Raises WorkerError for a precision or a family that cannot be trained, and without what it needs."""
        bundle = super().load()
        family = seeing.family_of(bundle.trainee.config, self.job.base_model.id)
        bundle.pipeline = seeing.Kit(bundle.tokenizer, family, bundle.trainee)
        bundle.tokenizer = bundle.pipeline.tokenizer
        bundle.targets, bundle.projector = family.targets, family.projector
        bundle.info["library"] = versions("pillow")
        return bundle

    def _reads(self, folder: Path) -> Any:
        return library("transformers").AutoProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)

    def _model(self, folder: Path, dtype: torch.dtype, options: dict[str, Any]) -> Any:
        from transformers import AutoConfig, AutoModelForImageTextToText

        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        family = seeing.family_of(config, self.job.base_model.id)
        if quantised := options.get("quantization_config"):
            quantised.llm_int8_skip_modules = family.whole
        model: Any = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, attn_implementation={"text_config": documents.NAME}, trust_remote_code=False,
            use_safetensors=True, **options,
        )
        defer(model)
        model.name_or_path = model.config._name_or_path = self.job.base_model.id
        return model

    def encode(self, bundle: Bundle, row: dict[str, Any], index: int, form: str, settings: StageSettings) -> Encoded:
        """See Modality: token ids with each picture's places among them, and the names of the pictures."""
        asked = self.job.stages[0].settings.objective.get("caption_prompt", seeing.CAPTION_PROMPT)
        row, files = seeing.pictured(row, index, str(asked))
        if not files and any(stage.point.strategy in CUT for stage in self.job.stages):
            what = f"Row {index + 1} has no picture, and where weights are cut over GPUs all must look at one together."
            raise DataError("row_without_picture", what, "Leave such rows out, or train on one GPU.", fields={"row": index + 1})
        seen = [bundle.pipeline.see(self._root() / file, index) for file in files]
        found = encode_form(seeing.Reader(bundle.pipeline, seen), row, index, form, settings.max_seq_len)
        places = sum(one.places for one in seen)
        for document in documents_of(found):
            if document["ids"].count(bundle.pipeline.token_id) != places:
                what = f"Row {index + 1} does not fit {settings.max_seq_len} tokens: its pictures alone take {places}."
                step = "Raise max_seq_len, or use fewer pictures in a row."
                raise DataError("picture_too_long", what, step, fields={"row": index + 1})
            document["images"] = files
        return found

    def collate(self, bundle: Bundle, bins: Sequence[Sequence[Encoded]], seed: int, epoch: int) -> MicroBatch:
        """See Modality: as text, with the numbers of all pictures in the order of their documents."""
        micro = super().collate(bundle, bins, seed, epoch)
        rows = [row for one in bins for row in one]
        shown = [[self._seen(bundle, row, file) for file in one["images"]] for row in rows for one in documents_of(row)]
        micro.inputs |= seeing.joined([one for several in shown for one in several], self._like(bundle))
        positions = bundle.pipeline.family.positions
        if positions is not None:
            model, found = plain(bundle.trainee), []
            texts = [one["ids"] for row in rows for one in documents_of(row)]
            for ids, seen in zip(texts, shown, strict=True):
                found.append(positions(model, torch.tensor(ids), seeing.joined(seen, torch.zeros(()))))
            micro.inputs["position_ids"] = torch.cat(found, dim=1)[:, None].to(micro.inputs["input_ids"].device)
        return micro

    def forward(self, module: nn.Module, micro: MicroBatch) -> TextOutput:
        """See Modality. Without any picture, what looks at them still takes part, with a gradient of zero."""
        output = super().forward(module, micro)
        if torch.is_grad_enabled() and "pixel_values" not in micro.inputs:
            for name, one in module.named_parameters():
                if one.requires_grad and ".language_model." not in name and ".text_model." not in name and "lm_head" not in name:
                    output.hidden = output.hidden + 0.0 * one.flatten()[0].to(output.hidden)
        return output

    def generate(self, bundle: Bundle, prompts: Sequence[Encoded], settings: dict[str, Any]) -> list[Encoded]:
        """Raises WorkerError: answers are sampled of text alone so far."""
        what = "Answers about pictures cannot be sampled for training yet."
        raise WorkerError("not_available", what, "Choose supervised fine-tuning or DPO.")

    def sample(self, bundle: Bundle, prompt: SamplePrompt, settings: StageSettings) -> str:
        """See Modality."""
        seen = [self._root() / file for file in prompt.images]
        return self.answer(bundle, list(prompt.messages), seen, max_new_tokens=sample_tokens(settings))[0]

    def answer(
        self, bundle: Bundle, messages: list[dict[str, Any]], files: Sequence[Path], **options: Any
    ) -> tuple[str, int, int]:
        """(text, tokens read, tokens made) of a conversation about pictures; `options` as those of text's `answer`."""
        turns, _ = seeing.pictured({"messages": messages, "images": [str(one) for one in files]}, 0)
        seen = [bundle.pipeline.looked(pictures.opened(file, 0)) for file in files]
        ids = encode_prompt(seeing.Reader(bundle.pipeline, seen), turns["messages"])
        inputs = seeing.joined(seen, self._like(bundle))
        if bundle.pipeline.family.positions is not None:
            kinds = torch.tensor([ids], device=self._like(bundle).device) == bundle.pipeline.token_id
            inputs["mm_token_type_ids"] = kinds.int()
        said, made = answer(bundle, ids, inputs=inputs, **options)
        return said, len(ids), made

    def thumbnail(self, row: dict[str, Any]) -> bytes | None:
        """See Modality: its first picture."""
        _, files = seeing.pictured(row, 0)
        if not files:
            return None
        picture = pictures.opened(self._root() / files[0], 0)
        picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
        return pictures.png(picture)

    def preview(self, row: dict[str, Any]) -> str:
        """See Modality."""
        return super().preview(seeing.pictured(row, 0)[0])

    def layers(self, bundle: Bundle, stages: int) -> list[nn.Module]:
        """Raises WorkerError: a model that sees is not cut into a pipeline."""
        raise WorkerError("cannot_cut", "A model that sees cannot be cut into a pipeline.", "Choose another strategy.")

    def export(self, bundle: Bundle, adaptation: Adaptation, run_dir: Path) -> Exported:
        """See Modality: an adapter by PEFT, and the library's whole model with its processor."""

        def whole(folder: Path) -> None:
            merged: Any = adaptation.merged(bundle)
            if merged is not bundle.trainee:
                parity.must_pass(self.same(bundle, merged, "the merged model against the adapter on its base"))
            merged.save_pretrained(folder)
            bundle.pipeline.processor.save_pretrained(folder)

        return leave(bundle, adaptation, run_dir, self.job, whole)

    def same(self, bundle: Bundle, other: Any, what: str) -> Parity:
        """Whether another model says of a drawn picture what the trained one says."""
        one, two = self._probed(bundle, bundle.trainee), self._probed(bundle, other)
        exact = parity.exactly(bundle.trainee, other)
        return parity.same_merged(what, [one], [two], exact)

    def _probed(self, bundle: Bundle, model: Any) -> Tensor:
        """[tokens, vocabulary]: logits of a question about a drawn picture, fp32 on the CPU, wherever the model is."""
        from PIL import Image

        like = torch.empty(0, dtype=self._like(bundle).dtype, device=next(model.parameters()).device)
        seen = bundle.pipeline.looked(Image.linear_gradient("L").convert("RGB"))
        ids = torch.tensor([encode_prompt(seeing.Reader(bundle.pipeline, [seen]), PROBED)], device=like.device)
        inputs = seeing.joined([seen], like)
        if bundle.pipeline.family.positions is not None:
            inputs["mm_token_type_ids"] = (ids == bundle.pipeline.token_id).int()
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            with torch.no_grad():
                return model(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs).logits[0].float().cpu()
        finally:
            for module, training in modes:
                module.training = training

    def _seen(self, bundle: Bundle, row: Encoded, file: str) -> seeing.Seen:
        return bundle.pipeline.see(self._root() / file, row.row)

    def _like(self, bundle: Bundle) -> Tensor:
        """A weight of what looks at pictures: their device and type of number."""
        return next(plain(bundle.trainee).get_submodule(bundle.pipeline.family.encoder).parameters())

    def _root(self) -> Path:
        return Path(self.job.data.train_path).parent if self.job.data else Path(self.job.run_dir)
