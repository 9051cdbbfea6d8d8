"""Common beginnings are computed once: every token in its place, and losses, gradients and scores of separate documents."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import chat_rows, preference_rows, tiny_job

from kriptik.engine.modalities.text import Text
from kriptik.engine.text import documents, sharing
from kriptik.engine.text.heads import log_probs

# few different tokens and long repeats, so that beginnings are alike, nested and whole documents equal
DOCUMENTS = st.lists(
    st.tuples(st.integers(0, 40), st.lists(st.integers(0, 1), max_size=20)).map(lambda one: [7] * one[0] + one[1]), max_size=12
)


@given(DOCUMENTS)
def test_every_token_of_every_document_is_where_the_tree_says(docs):
    tree = sharing.shared(docs)
    assert sum(tree.lengths) == len(tree.ids) == len(tree.positions)
    segment = [number for number, length in enumerate(tree.lengths) for _ in range(length)]
    for document, places in zip(docs, tree.places, strict=True):
        assert [tree.ids[at] for at in places] == document
        assert [tree.positions[at] for at in places] == list(range(len(document)))
        line = list(dict.fromkeys(segment[at] for at in places))
        assert [tree.parents[one] for one in line] == [-1, *line[:-1]][: len(line)], "a segment goes on from the one before it"
        assert all(tree.lengths[one] == sum(segment[at] == one for at in places) for one in line), "no segment is cut in two"


@given(DOCUMENTS)
def test_no_two_segments_of_one_parent_begin_alike(docs):
    tree = sharing.shared(docs)
    starts = [sum(tree.lengths[:number]) for number in range(len(tree.lengths))]
    heads = [
        (parent, *tree.ids[start : start + sharing.LEAST])
        for parent, start, length in zip(tree.parents, starts, tree.lengths, strict=True)
        if length >= sharing.LEAST
    ]
    assert len(heads) == len(set(heads))


@pytest.mark.parametrize("window", [None, 6])
def test_attention_over_segments_is_that_of_whole_documents(window):
    docs = [[1] * 10 + [2, 3], [1] * 10 + [4] * 9, [1] * 10 + [4] * 9 + [5, 5], [7, 8], [7, 8]]
    tree = sharing.shared(docs)
    torch.manual_seed(0)
    whole = [torch.randn(1, heads, len(tree.ids), 8) for heads in (4, 2, 2)]
    module = torch.nn.Module()
    found, _ = documents.attend(module, *whole, None, doc_lengths=tree.lengths, doc_parents=tree.parents, sliding_window=window)
    for places in tree.places:
        alone, _ = documents.attend(
            module, *(one[:, :, places] for one in whole), None, doc_lengths=[len(places)], sliding_window=window
        )
        torch.testing.assert_close(found[:, places], alone)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    job = tiny_job(tmp_path_factory.mktemp("sharing"))
    modality = Text(job)
    return modality, modality.load(), job.stages[0].settings


@pytest.mark.parametrize(
    ("rows", "form"),
    [(chat_rows, "completion"), (preference_rows, "preference"), (preference_rows, "ranked")],
    ids=["completion", "preference", "ranked"],
)
def test_losses_and_gradients_are_those_of_separate_documents(loaded, monkeypatch, rows, form):
    modality, bundle, settings = loaded
    encoded = [modality.encode(bundle, row, number, form, settings) for number, row in enumerate(rows(6))]
    found = []
    for least in (10**6, 8):
        monkeypatch.setattr(sharing, "LEAST", least)
        micro = modality.collate(bundle, [encoded], 0, 0)
        bundle.trainee.zero_grad()
        output = modality.forward(bundle.trainee, micro)
        mixed = output.hidden @ torch.linspace(-1, 1, output.hidden.shape[-1])
        value = mixed if form == "ranked" else log_probs(output, micro.extra["targets"])
        value.square().mean().backward()
        gradients = {name: one.grad.clone() for name, one in bundle.trainee.named_parameters() if one.grad is not None}
        found.append((micro, value.detach(), gradients))
    (apart, one, first), (shared, two, second) = found
    assert shared.inputs["input_ids"].numel() < 0.8 * apart.inputs["input_ids"].numel(), "there is something to share"
    assert (shared.tokens, shared.weight, shared.rows) == (apart.tokens, apart.weight, apart.rows)
    torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-6)
    for name, gradient in first.items():
        torch.testing.assert_close(second[name], gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max()))


def test_shifted_attention_gets_whole_documents(loaded, monkeypatch):
    modality, bundle, settings = loaded
    encoded = [modality.encode(bundle, row, number, "completion", settings) for number, row in enumerate(chat_rows(6))]
    monkeypatch.setattr(bundle.trainee.config, "_attn_implementation_internal", "kriptik_shifted")
    assert "doc_parents" not in modality.collate(bundle, [encoded], 0, 0).inputs
