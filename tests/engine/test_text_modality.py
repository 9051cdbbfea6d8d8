"""Text: what is learnt of a row, packing without contamination, and the loss against transformers' own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import chat_rows, tiny_job, tiny_model
from torch.nn import functional
from transformers import AutoModelForCausalLM

from kriptik.engine.modalities.text import Text, answer
from kriptik.engine.objectives.causal_lm import CausalLm
from kriptik.engine.text.chat import encode_prompt, encode_row, fit
from kriptik.engine.text.heads import TextOutput, log_probs, loss_sum
from kriptik.engine.text.packing import pack, single_rows
from kriptik.spec.errors import DataError
from kriptik.spec.job import StageSettings


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    job = tiny_job(tmp_path_factory.mktemp("text"))
    modality = Text(job)
    return modality, modality.load(), job


def learnt_text(tokenizer, tokens):
    return tokenizer.decode([i for i, on in zip(tokens.ids, tokens.learnt, strict=True) if on])


def test_only_answers_and_their_end_are_learnt(loaded):
    tokenizer = loaded[1].tokenizer
    row = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": "Two?"},
            {"role": "assistant", "content": "No."},
        ]
    }
    tokens = encode_row(tokenizer, row, 0, 500)
    assert learnt_text(tokenizer, tokens) == "Yes.<|im_end|>No.<|im_end|>"
    assert tokenizer.decode(tokens.ids) == tokenizer.apply_chat_template(row["messages"], tokenize=False)


def test_training_sees_the_tokens_of_the_prompt(loaded):
    tokenizer = loaded[1].tokenizer
    for row in chat_rows(12):
        prompt = encode_prompt(tokenizer, row["messages"][:-1])
        assert encode_row(tokenizer, row, 0, 500).ids[: len(prompt)] == prompt


def test_raw_text_ends_and_all_of_it_is_learnt(loaded):
    tokens = encode_row(loaded[1].tokenizer, {"text": "json and text"}, 0, 500)
    assert all(tokens.learnt) and tokens.ids[-1] == loaded[1].tokenizer.eos_token_id
    assert tokens.supervised == len(tokens.ids) - 1


def test_a_row_that_is_neither_names_itself(loaded):
    with pytest.raises(DataError) as refused:
        encode_row(loaded[1].tokenizer, {"prompt": "x"}, 6, 500)
    assert refused.value.fields == {"row": 7}


def test_an_empty_row_names_itself(loaded):
    tokenizer = loaded[1].tokenizer
    with pytest.raises(DataError, match="Row 3 "):
        encode_row(tokenizer, {"messages": []}, 2, 500)
    kept, tokenizer.chat_template = tokenizer.chat_template, "{{ '' }}"
    try:
        with pytest.raises(DataError, match="Row 3 is empty"):
            encode_row(tokenizer, {"messages": [{"role": "user", "content": "One?"}]}, 2, 500)
    finally:
        tokenizer.chat_template = kept


def test_a_template_that_rewrites_earlier_turns_is_refused(loaded):
    tokenizer = loaded[1].tokenizer
    kept = tokenizer.chat_template
    tokenizer.chat_template = "{% for m in messages %}{{ loop.length }}{{ m['content'] }}<|im_end|>{% endfor %}"
    try:
        with pytest.raises(DataError, match="changes earlier turns"):
            encode_row(tokenizer, {"messages": [{"role": r, "content": r} for r in ("user", "assistant") * 2]}, 0, 500)
    finally:
        tokenizer.chat_template = kept


def test_a_cut_leaves_something_to_learn(loaded):
    row = {"messages": [{"role": "user", "content": "list " * 80}, {"role": "assistant", "content": "value"}]}
    tokens = encode_row(loaded[1].tokenizer, row, 0, 40)
    assert len(tokens.ids) == 40 and tokens.supervised > 0 and tokens.cut > 0
    assert fit(tokens, 100) is tokens


@given(st.lists(st.integers(1, 60), min_size=1, max_size=200), st.integers(0, 3), st.integers(1, 8))
def test_every_row_is_packed_exactly_once(lengths, epoch, micro):
    bins = pack(lengths, 64, 5, epoch)
    assert sorted(row for one in bins for row in one) == list(range(len(lengths)))
    assert all(sum(lengths[row] for row in one) <= 64 for one in bins)
    assert bins == pack(lengths, 64, 5, epoch)
    assert sorted(row for (row,) in single_rows(lengths, 5, epoch, micro)) == list(range(len(lengths)))


def test_packing_wastes_little():
    lengths = [10 + (n * 37) % 90 for n in range(400)]
    bins = pack(lengths, 512, 1, 0)
    assert sum(lengths) / (512 * len(bins)) > 0.93


def test_a_packed_row_loses_what_it_loses_alone(loaded):
    modality, bundle, job = loaded
    settings = job.stages[0].settings
    rows = [modality.encode(bundle, row, n, "completion", settings) for n, row in enumerate(chat_rows(9))]
    together = modality.collate(bundle, [rows[:4], rows[4:]], 0, 0)
    bundle.trainee.eval()
    with torch.no_grad():
        packed = log_probs(modality.forward(bundle.trainee, together), together.extra["targets"]).split(together.extra["counts"])
        for row, line in zip(rows, packed, strict=True):
            alone = modality.collate(bundle, [[row]], 0, 0)
            torch.testing.assert_close(
                log_probs(modality.forward(bundle.trainee, alone), alone.extra["targets"]), line, atol=1e-5, rtol=1e-5
            )


@pytest.mark.parametrize("tied", [True, False])
def test_loss_and_gradient_equal_those_of_transformers(tmp_path, tied, monkeypatch):
    monkeypatch.setattr("kriptik.engine.text.heads.CHUNK_BYTES", 16 * 4 * 512)  # several chunks
    tiny_model(tmp_path / "base", tied=tied)
    job = tiny_job(tmp_path)
    modality = Text(job)
    bundle = modality.load()
    row = modality.encode(bundle, chat_rows(3)[2], 0, "completion", job.stages[0].settings)
    micro = modality.collate(bundle, [[row], [row]], 0, 0)
    value, _ = CausalLm(StageSettings()).loss(modality.forward(bundle.trainee, micro), micro)
    value.backward()
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base", attn_implementation="eager")
    ids = torch.tensor([row.fields["ids"]] * 2)
    labels = torch.where(torch.tensor([row.fields["learnt"]] * 2), ids, -100)
    logits = plain(input_ids=ids).logits[:, :-1]
    expected = functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum", ignore_index=-100)
    expected.backward()
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
    theirs = dict(plain.named_parameters())
    for name, mine in bundle.trainee.named_parameters():
        torch.testing.assert_close(mine.grad, theirs[name].grad, rtol=2e-4, atol=1e-5)


def test_chunks_and_log_probabilities_agree():
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 50)
    hidden = torch.randn(40, 8, requires_grad=True)
    targets = torch.randint(0, 50, (40,))
    output = TextOutput(hidden, head)
    one = torch.autograd.grad(loss_sum(output, targets), hidden)[0]
    two = torch.autograd.grad(-log_probs(output, targets).sum(), hidden)[0]
    torch.testing.assert_close(one, two)


def test_answers_are_repeatable(loaded):
    _modality, bundle, _job = loaded
    ids = encode_prompt(bundle.tokenizer, [{"role": "user", "content": "value"}])
    bundle.trainee.eval()
    assert answer(bundle, ids, max_new_tokens=8) == answer(bundle, ids, max_new_tokens=8)
    hot = [answer(bundle, ids, max_new_tokens=8, temperature=2.0, seed=s)[0] for s in (1, 1, 2)]
    assert hot[0] == hot[1] != hot[2]


def test_generated_rows_are_prompt_and_learnt_completion(loaded):
    modality, bundle, job = loaded
    prompts = [modality.encode(bundle, row, n, "prompt", job.stages[0].settings) for n, row in enumerate(chat_rows(2))]
    torch.manual_seed(0)
    rows = modality.generate(bundle, prompts, {"count": 2, "max_new_tokens": 6})
    assert [row.row for row in rows] == [0, 0, 1, 1]
    for row, prompt in zip(rows, [prompts[0], prompts[0], prompts[1], prompts[1]], strict=True):
        assert row.fields["ids"][: prompt.length] == prompt.fields["ids"]
        assert 1 <= row.weight <= 6 and isinstance(modality.decode(bundle, row), str)
    micro = modality.collate(bundle, [[row] for row in rows], 0, 0)
    values, mask = modality.token_log_probs(modality.forward(bundle.trainee, micro), micro)
    assert values.shape == mask.shape and mask.sum() == sum(row.weight for row in rows)
