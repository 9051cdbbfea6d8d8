"""The encoder of the offline parser as it is trained: the teacher's lower layers, a low-rank change beside each matrix.

The same sums as `kriptik.pipeline.intent.encoder`, in torch. What is learned: the low-rank matrices, biases, norms and the head.
"""

import numpy as np
import torch
from teacher import Pieces
from torch import nn

from kriptik.pipeline.intent.encoder import FIRST, HEADS, LAST, packed

LAYERS, RANK = 9, 16
DROP, LOSE = 0.2, 0.1
MATRICES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "o": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}
NORMS = {"first": "attention.output.LayerNorm", "second": "output.LayerNorm"}


class Changed(nn.Module):
    """A matrix that stays, and a product of two thin ones that is added to it."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("kept", base.weight.detach().clone(), persistent=False)
        self.bias = nn.Parameter(base.bias.detach().clone())
        outer, inner = self.kept.shape
        self.a = nn.Parameter(torch.randn(RANK, inner) / inner**0.5)
        self.b = nn.Parameter(torch.zeros(outer, RANK))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.kept, self.bias) + (x @ self.a.T) @ self.b.T


class Layer(nn.Module):
    """Attention and feed-forward of one layer, norms behind each."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        for name, path in MATRICES.items():
            setattr(self, name, Changed(base.get_submodule(path)))  # type: ignore[arg-type]
        for name, path in NORMS.items():
            norm = base.get_submodule(path)
            copy = nn.LayerNorm(norm.weight.shape[0], eps=norm.eps)  # type: ignore[union-attr,arg-type]
            copy.load_state_dict(norm.state_dict())
            setattr(self, name, copy)

    def forward(self, x: torch.Tensor, shut: torch.Tensor) -> torch.Tensor:
        count, length, width = x.shape
        q, k, v = (m(x).view(count, length, HEADS, width // HEADS).transpose(1, 2) for m in (self.q, self.k, self.v))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=shut)
        x = self.first(x + self.o(mixed.transpose(1, 2).reshape(count, length, width)))
        return self.second(x + self.down(nn.functional.gelu(self.up(x), approximate="tanh")))


class Encoder(nn.Module):
    """Ids of pieces → log odds of each class. Rows of the table behind the pieces: beginning, end, a piece that was lost."""

    def __init__(self, base: nn.Module, pieces: Pieces, ids: list[int], count: int) -> None:
        super().__init__()
        found = base.embeddings
        words = found.word_embeddings.weight.detach()[[*ids, pieces.first, pieces.last, pieces.unknown]].clone()
        self.register_buffer("words", words, persistent=False)
        places = found.position_embeddings.weight + found.token_type_embeddings.weight[0]
        self.places = nn.Parameter(places.detach()[: FIRST + LAST + 2].clone())
        self.norm = nn.LayerNorm(words.shape[1], eps=found.LayerNorm.eps)
        self.norm.load_state_dict(found.LayerNorm.state_dict())
        self.layers = nn.ModuleList(Layer(layer) for layer in base.encoder.layer[:LAYERS])
        self.outer = nn.Linear(3 * words.shape[1], count)
        self.drop = nn.Dropout(DROP)

    @staticmethod
    def is_given(name: str) -> bool:
        """Whether a parameter came with the teacher: biases and norms of the layers, places."""
        return not name.startswith("outer") and name.rsplit(".", 1)[-1] not in ("a", "b")

    def batch(self, found: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids, whether there is one) of texts of unlike length."""
        begin = len(self.words) - 3
        length = 2 + max(map(len, found))
        ids, there = np.full((len(found), length), begin + 1), np.zeros((len(found), length), bool)
        for row, pieces in enumerate(found):
            ids[row, 0] = begin
            ids[row, 1 : len(pieces) + 1] = pieces
            there[row, : len(pieces) + 2] = True
        return torch.from_numpy(ids), torch.from_numpy(there)

    def forward(self, ids: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        if self.training:
            lost = (torch.rand(ids.shape) < LOSE) & (ids < len(self.words) - 3)
            ids = torch.where(lost, len(self.words) - 1, ids)
        start = self.norm(self.words[ids] + self.places[: ids.shape[1]])
        x = start
        for layer in self.layers:
            x = layer(x, there[:, None, None, :])
        mask = there[:, :, None].float()
        mean = (x * mask).sum(dim=1) / mask.sum(dim=1)
        most = (x - 1e4 * (1 - mask)).amax(dim=1)
        plain = (start * mask).sum(dim=1) / mask.sum(dim=1)
        return self.outer(self.drop(torch.cat([mean, most, plain], dim=1)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by the names of `kriptik.pipeline.intent.encoder`, the matrices that stayed packed into four bits."""
        found: dict[str, np.ndarray] = {}
        kept = {"words": self.words[:-1]}
        for place, layer in enumerate(self.layers):
            kept |= {f"l{place}.{name}": getattr(layer, name).kept for name in MATRICES}
        for name, whole in kept.items():
            found[f"{name}.nibbles"], found[f"{name}.scales"] = packed(whole.numpy())
        for name, value in self.named_parameters():
            found[name.replace("layers.", "l", 1)] = value.detach().numpy()
        return found
