"""Full fine-tuning: every floating-point parameter of the trainee is trained."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

from kriptik.engine.interfaces import Adaptation, Bundle
from kriptik.spec.errors import WorkerError


class Full(Adaptation):
    """All weights move. The reference is a frozen copy, made only for an objective that asks for it all along."""

    provides: ClassVar[frozenset[str]] = frozenset({"reference"})

    def apply(self, bundle: Bundle) -> None:
        """See Adaptation. Raises WorkerError on a quantised base: its weights cannot move."""
        for name, parameter in bundle.trainee.named_parameters():
            if not parameter.is_floating_point():
                raise WorkerError(
                    "cannot_train", f"{name} is quantised and cannot be trained in full.", "Choose fp32 or bf16, or a LoRA method."
                )
            parameter.requires_grad_(True)
        if self.keep_reference:
            bundle.parts[Bundle.REFERENCE] = deepcopy(bundle.trainee).requires_grad_(False).eval()

    def finish(self, bundle: Bundle) -> None:
        """See Adaptation: the trainee is already plain; all of it differs from the base."""
        bundle.touch(*bundle.trainee.parameters())
        bundle.parts.pop(Bundle.REFERENCE, None)

    @contextmanager
    def reference(self, bundle: Bundle) -> Iterator[Any]:
        """See Adaptation: the frozen copy takes the trainee's place."""
        if not self.has_reference(bundle):
            raise WorkerError("no_reference", "The frozen copy of the model was not kept.", "Report this as a fault.")
        trainee, bundle.trainee = bundle.trainee, bundle.parts[Bundle.REFERENCE]
        try:
            yield bundle.trainee
        finally:
            bundle.trainee = trainee

    def has_reference(self, bundle: Bundle) -> bool:
        """See Adaptation."""
        return Bundle.REFERENCE in bundle.parts

    def save(self, bundle: Bundle, folder: Path) -> None:
        """See Adaptation: a whole model in Hugging Face format."""
        bundle.trainee.save_pretrained(folder)
