"""The encoder in numpy does what the trained one in torch does; packing into four bits loses nothing that had four bits."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from kriptik.pipeline.intent.encoder import Encoder, packed, unpacked

sys.path.insert(0, str(Path(__file__).parents[3] / "bench" / "intent"))
import encoder as trained
from teacher import Pieces

WORDS, WIDTH, CLASSES = 40, 96, 5


def _four_bit(shape, seed):
    rng = np.random.default_rng(seed)
    whole = rng.integers(-8, 8, shape).astype(np.float32).reshape(shape[0], -1, 32)
    whole[:, :, 0] = -8
    scales = rng.uniform(0.001, 0.05, whole.shape[:2]).astype(np.float16).astype(np.float32)
    return (whole * scales[:, :, None]).reshape(shape)


@pytest.mark.parametrize("shape", [(7, 64), (3, 384)])
def test_four_bits_are_kept_exactly(shape):
    weights = _four_bit(shape, seed=1)
    assert np.array_equal(unpacked(*packed(weights)), weights)


@pytest.fixture
def both():
    """The trained form with every part moved away from where it begins, and the shipped form of it."""
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=WORDS, hidden_size=WIDTH, num_hidden_layers=trained.LAYERS, num_attention_heads=12, intermediate_size=192
    )
    base = BertModel(config, add_pooling_layer=False).eval()
    for place, parameter in enumerate(base.parameters()):
        if parameter.ndim == 2:
            parameter.data = torch.from_numpy(_four_bit(tuple(parameter.shape), seed=place))
    pieces = Pieces([], np.zeros(0), {}, unknown=3, first=1, last=2)
    model = trained.Encoder(base, pieces, list(range(4, WORDS)), CLASSES).eval()
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model, Encoder(model.arrays())


@pytest.mark.parametrize("ids", [[], [5], [3, 1, 4, 1, 5, 9, 2, 6]])
def test_numpy_and_torch_agree(both, ids):
    model, shipped = both
    with torch.inference_mode():
        wanted = model(*model.batch([np.array(ids, np.int64)]))[0].numpy()
    assert np.allclose(shipped.judged(ids)[0], wanted, atol=1e-3)


def test_of_a_long_text_the_ends_are_read(both):
    _, shipped = both
    head, tail = [1] * 64, [2] * 24
    for short, long in zip(shipped.judged([*head, *tail]), shipped.judged([*head, *([7] * 500), *tail]), strict=True):
        assert np.array_equal(short, long)
