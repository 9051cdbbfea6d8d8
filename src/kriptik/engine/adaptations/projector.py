"""Cross-modal alignment: the projector alone is trained, so that the language model reads what the encoder sees.

Source: Liu et al. 2023, "Visual Instruction Tuning", section 4.2, stage 1: encoder and language model stay frozen. The language
model may be held in few bits; the projector never is.
"""

from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from kriptik.engine.interfaces import Adaptation, Bundle
from kriptik.spec.errors import WorkerError


class Projector(Adaptation):
    """What lies between encoder and language model (`Bundle.projector`) moves; all else is frozen."""

    needs: ClassVar[frozenset[str]] = frozenset({"projector"})

    def apply(self, bundle: Bundle) -> None:
        """See Adaptation. Raises WorkerError where the model has no projector."""
        found = {name for name, _ in _trained(bundle.trainee, bundle.projector)}
        if not found:
            raise WorkerError("no_such_layers", "The model has no projector to train.", "Choose another method.")
        for name, parameter in bundle.trainee.named_parameters():
            parameter.requires_grad_(name in found)

    def finish(self, bundle: Bundle) -> None:
        """See Adaptation. Plain weights that are made for a quantised base later on get this projector too."""
        trained = [one for _, one in _trained(bundle.trainee, bundle.projector)]
        for one in trained:
            one.requires_grad_(False)
        bundle.touch(*trained)
        plain = bundle.unquantised
        if plain is not None:
            bundle.unquantised = lambda: _given(plain(), bundle.projector, trained)

    def save(self, bundle: Bundle, folder: Path) -> None:
        """See Adaptation: a whole model in Hugging Face format."""
        whole: Any = self.merged(bundle)
        whole.save_pretrained(folder)

    def merged(self, bundle: Bundle) -> nn.Module:
        """See Adaptation: of a quantised base the plain weights that it stands for, with this projector."""
        if bundle.unquantised is None:
            return bundle.trainee
        trained = [one for _, one in _trained(bundle.trainee, bundle.projector)]
        return _given(bundle.unquantised(), bundle.projector, trained)


def _trained(model: nn.Module, names: tuple[str, ...]) -> list[tuple[str, nn.Parameter]]:
    return [pair for pair in model.named_parameters() if pair[0].startswith(tuple(f"{one}." for one in names))] if names else []


def _given(model: nn.Module, names: tuple[str, ...], weights: list[nn.Parameter]) -> nn.Module:
    """The model with these weights in its projector."""
    for (_, mine), other in zip(_trained(model, names), weights, strict=True):
        mine.data.copy_(other.data)
    return model
