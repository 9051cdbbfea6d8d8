"""A language model as a row of stages for a pipeline: the embedding in the first, final norm and output layer in the last.

Only models whose forward is Llama's are cut: embedding, layers under one rotary embedding, norm, head. Attention stays inside each
document (`documents.py`), so no stage needs a mask.
"""

from typing import Any

from torch import Tensor, nn

from kriptik.engine.text.heads import TextOutput, plain
from kriptik.spec.errors import WorkerError

LIKE_LLAMA = ("llama", "mistral", "qwen2", "qwen3")


class Part(nn.Module):
    """Consecutive layers of a model. The modules are the model's own, so that names and weights stay where they are."""

    def __init__(self, body: Any, layers: list[nn.Module], head: nn.Module | None, *, first: bool) -> None:
        super().__init__()
        self.embed_tokens: nn.Module | None = body.embed_tokens if first else None
        self.layers = nn.ModuleList(layers)
        self.rotary_emb = body.rotary_emb
        self.norm: nn.Module | None = body.norm if head is not None else None
        self.head = head

    def forward(
        self,
        hidden: Tensor | None = None,
        *,
        input_ids: Tensor,
        position_ids: Tensor,
        doc_lengths: list[int],
        doc_parents: list[int] | None = None,
        logits_to_keep: Tensor,
        **unused: Any,
    ) -> Tensor:
        """Hidden states [1, tokens, size]; of the last stage those where something is predicted, [kept, size]."""
        if self.embed_tokens is not None:
            hidden = self.embed_tokens(input_ids)
        assert hidden is not None
        positions = self.rotary_emb(hidden, position_ids=position_ids)
        for layer in self.layers:
            hidden = layer(
                hidden,
                attention_mask=None,
                position_embeddings=positions,
                position_ids=position_ids,
                doc_lengths=doc_lengths,
                doc_parents=doc_parents,
            )
        assert hidden is not None
        return hidden if self.norm is None else self.norm(hidden)[0, logits_to_keep]

    def result(self, output: Tensor) -> TextOutput:
        """What the loss is given in place of the last stage's tensor."""
        assert isinstance(self.head, nn.Linear)
        return TextOutput(output, self.head)


def cut(trainee: Any, stages: int) -> list[nn.Module]:
    """The trainee (plain or with adapters) as `stages` modules, layers as evenly as they go. Raises WorkerError."""
    model: Any = plain(trainee)
    if model.config.model_type not in LIKE_LLAMA:
        raise WorkerError(
            "cannot_cut", f"A {model.config.model_type} model cannot be cut into pipeline stages.", "Choose another strategy."
        )
    layers = list(model.model.layers)
    if stages > len(layers):
        raise WorkerError(
            "too_many_stages", f"{len(layers)} layers cannot be {stages} pipeline stages.", "Use fewer processes."
        )
    ends = [round(len(layers) * number / stages) for number in range(stages + 1)]
    heads = [None] * (stages - 1) + [model.lm_head]
    return [
        Part(model.model, layers[ends[number] : ends[number + 1]], heads[number], first=number == 0) for number in range(stages)
    ]
