"""Spectrogram prediction: distance of each frame, before and after the model's last layers, and where speech ends (SpeechT5).

The loss is the library's own, a mean over frames; the modality provides `speech`: a forward gives it as `loss`, a micro-batch's
weight is its frames, and `heard` makes speech and measures it. Settings (`settings.objective`): `heard_clips` (3), how many
held-out sentences are spoken at each evaluation (0: none); `judged` (true): whether models that hear say how near they are;
`reference`: one print of the voice for all rows, not each row's own.
"""

from typing import Any, ClassVar

from torch import Tensor

from kriptik.engine.interfaces import Metrics, MicroBatch, Objective


class Speech(Objective):
    """Sum over frames of |spectrogram − target| (two times: before and after the postnet) and of the end mark's cross-entropy."""

    needs: ClassVar[frozenset[str]] = frozenset({"speech"})
    form: ClassVar[str] = "speech"
    makes: ClassVar[bool] = True

    def loss(self, output: Any, micro: MicroBatch) -> tuple[Tensor, Metrics]:
        """See Objective."""
        return output.loss.float() * micro.weight, {}
