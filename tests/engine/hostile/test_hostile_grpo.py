"""GRPO: rollouts, four updates out of each, unused ones in the checkpoint; equal to the formulas on a plain model written here."""

import copy
import json
import re

import proving
import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from kriptik.engine import stage
from kriptik.engine.modalities.text import Text
from kriptik.engine.rng import reseed
from kriptik.engine.schedule import learning_rate
from kriptik.engine.text.verifiers import VERIFIERS
from kriptik.engine.train import train
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import LoraSettings, StageSettings

LONGEST, GROUP = 8, 4
RULE = {"verifier": "share", "pattern": "[aeiou]", "group_size": GROUP, "max_new_tokens": LONGEST, "doctor": 0}
"""No look at answers beforehand: it asks what is wanted many times, and these tests count the questions."""


def job_in(folder, adaptation="full", steps=12, rate=1e-3, strategy="single", accumulation=2, count=12, **options):
    folder.mkdir(parents=True, exist_ok=True)
    settings = StageSettings(
        max_steps=steps,
        micro_batch=2,
        accumulation=accumulation,
        learning_rate=rate,
        schedule="constant",
        max_seq_len=64,
        packing=False,
        lora=LoraSettings(rank=4, alpha=8, dropout=0.1),
        objective={**RULE, **options},
    )
    return tiny.tiny_job(
        folder, rows=tiny.chat_rows(count), adaptation=adaptation, objective="grpo", strategy=strategy, settings=settings
    )


def by_hand(job, kind="grpo", turns=2, minibatches=2, temperature=1.0, steps=12, beta=0.0):
    """(loss, reward) of every update: whole logits, one answer at a time, its own AdamW."""
    run = stage.load(job, Text)
    session, place = stage.open_stage(run, 0, None)
    model = AutoModelForCausalLM.from_pretrained(job.base_model.path, dtype=torch.float32, attn_implementation="eager")
    words = AutoTokenizer.from_pretrained(job.base_model.path)
    before = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0, foreach=False)
    found = []
    while len(found) < steps:
        _, group = place.cursor.next()
        reseed(job.seed, "refill", 0, len(found), 0)
        answers = []
        for bins in group:
            prompts = [session.rows.encoded[row].fields["ids"] for one in bins for row in one]
            answers += sampled(model, words, prompts, kind, temperature)
        with torch.no_grad():
            past = [token_log_probs(model, one, temperature) for one in answers]
        for _ in range(turns):
            for part in range(minibatches):
                mine = [at for at in range(len(answers)) if at // GROUP % minibatches == part]
                gains = []
                for at in mine:
                    now = token_log_probs(model, answers[at], temperature)
                    apart = token_log_probs(before, answers[at], temperature) - now
                    gain = surrogate(now, past[at], answers[at]["advantage"])
                    gains.append(gain - beta * (apart.exp() - apart - 1))
                parts = {"grpo": [one.mean() for one in gains], "dr_grpo": [one.sum() / LONGEST for one in gains]}
                loss = -sum(parts[kind]) / len(mine) if kind != "dapo" else -torch.cat(gains).mean()
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.param_groups[0]["lr"] = learning_rate(job.stages[0].settings, len(found), steps)
                optimizer.step()
                found.append((loss.item(), sum(answers[at]["reward"] for at in mine) / len(mine)))
    return found


def sampled(model, words, prompts, kind, temperature):
    longest = max(map(len, prompts))
    ids = torch.tensor([[words.pad_token_id] * (longest - len(one)) + one for one in prompts]).repeat_interleave(GROUP, 0)
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts]).repeat_interleave(GROUP, 0)
    with torch.no_grad():
        made = model.generate(
            input_ids=ids, attention_mask=mask, do_sample=True, temperature=temperature, top_k=0, top_p=1.0,
            max_new_tokens=LONGEST, pad_token_id=words.pad_token_id,
        )
    answers = []
    for number, line in enumerate(made[:, longest:].tolist()):
        said = line[: line.index(words.eos_token_id) + 1] if words.eos_token_id in line else line
        text = words.decode(said, skip_special_tokens=True)
        reward = sum(one in "aeiou" for one in text) / max(1, len(text))
        answers.append({"prompt": prompts[number // GROUP], "said": said, "reward": reward})
    for start in range(0, len(answers), GROUP):
        group = answers[start : start + GROUP]
        mean = sum(one["reward"] for one in group) / GROUP
        deviation = (sum((one["reward"] - mean) ** 2 for one in group) / GROUP) ** 0.5
        for one in group:
            one["advantage"] = (one["reward"] - mean) / (1 if kind == "dr_grpo" else deviation + 1e-4)
    return answers


def token_log_probs(model, answer, temperature):
    logits = model(input_ids=torch.tensor([answer["prompt"] + answer["said"]])).logits[0] / temperature
    said = torch.tensor(answer["said"])
    return logits[len(answer["prompt"]) - 1 : -1].log_softmax(-1).gather(1, said[:, None])[:, 0]


def surrogate(now, past, advantage):
    ratio = torch.exp(now - past)
    return torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)


@pytest.mark.exactness
def test_losses_are_those_of_the_formulas(tmp_path):
    """Frozen at 6 of 12: two of a rollout's four updates wait in the checkpoint."""
    said, job = proving.proved(lambda folder: job_in(folder, iterations=2, minibatches=2), tmp_path, at=6)
    losses, rewards = zip(*by_hand(job), strict=True)
    assert proving.metrics(said, "rewardScore") == pytest.approx(rewards, abs=1e-6)
    assert proving.metrics(said) == pytest.approx(losses, rel=1e-3, abs=2e-5)
    assert max(map(abs, losses)) > 1e-2
    state = json.loads((tmp_path / "frozen/run/checkpoints/s0-000006-g1/state-r0.json").read_text())
    assert len(state["queue"]) == 2


@pytest.mark.exactness
@pytest.mark.parametrize(("kind", "temperature", "beta"), [("dr_grpo", 1.0, 0.0), ("dapo", 0.7, 0.0), ("grpo", 1.0, 0.5)])
def test_other_losses(tmp_path, kind, temperature, beta):
    job = job_in(tmp_path / "run", iterations=3, steps=6, rate=3e-3, loss=kind, temperature=temperature, beta=beta)
    said = proving.lived(job)
    losses, rewards = zip(*by_hand(job, kind, 3, 1, temperature, 6, beta), strict=True)
    assert proving.metrics(said, "rewardScore") == pytest.approx(rewards, abs=1e-6)
    assert proving.metrics(said) == pytest.approx(losses, rel=1e-3, abs=2e-5)


@pytest.mark.exactness
def test_kl_to_the_model_before(tmp_path):
    """LoRA with dropout: the reference is the same weights with the adapter off, so the KL begins at 0 and grows."""
    said, _ = proving.proved(
        lambda folder: job_in(folder, "lora", 6, rate=2e-2, iterations=3, beta=0.04), tmp_path, at=4
    )
    kl = proving.metrics(said, "klDivergence")
    assert 0 <= kl[0] < 0.5 * kl[-1]


@pytest.mark.exactness
def test_rewards_rise(tmp_path):
    said = proving.lived(job_in(tmp_path, steps=20, rate=3e-3, group_size=8))
    rewards = proving.metrics(said, "rewardScore")
    assert sum(rewards[-5:]) > 1.3 * sum(rewards[:5])


@pytest.mark.parametrize(("pattern", "told"), [(".*", "100% pass, mean reward 1"), ("never said", "0% pass, mean reward 0")])
def test_what_always_or_never_passes_is_not_begun(tmp_path, pattern, told):
    job = job_in(tmp_path, verifier="regex", pattern=pattern, doctor=64)
    with pytest.raises(WorkerError, match="All 48 answers") as refused:
        train(job, lambda body: None, proving.toy.running)
    assert refused.value.code == "nothing_to_learn"
    assert f"{told}; 12 of 12 groups" in refused.value.sentence


def test_what_is_begun_is_told_before_and_prompts_are_drawn_by_seed(tmp_path, caplog):
    def looked_at(seed):
        job = job_in(tmp_path / str(seed), count=40, doctor=16).model_copy(update={"seed": seed})
        session, _ = stage.open_stage(stage.load(job, Text), 0, None)
        asked, answered = [], session.objective._answered

        def noted(prompts, session):
            asked.extend(one.row for one in prompts)
            return answered(prompts, session)

        session.objective._answered = noted
        with caplog.at_level("INFO", logger="kriptik.engine"):
            session.objective.begin(session, lambda: None)
        return asked

    first = looked_at(7)
    assert len(set(first)) == 4 and max(first) >= 4, "not the first rows of the file"
    assert first == looked_at(7) and first != looked_at(8)
    (said, *_) = caplog.messages
    assert re.fullmatch(r"Before training, of 16 answers: \d+% pass, mean reward 0\.\d+; [0-3] of 4 groups .*\.", said)


def test_a_kl_needs_a_reference(tmp_path):
    job = job_in(tmp_path, "relora", beta=0.1)
    run = stage.load(job, Text)
    with pytest.raises(WorkerError, match="beta"):
        stage.open_stage(run, 0, None)


@pytest.mark.parametrize(
    ("name", "said", "row", "options", "score"),
    [
        ("answer", " 144 ", {"answer": "144"}, {}, 1.0),
        ("answer", "It is 144.0", {"answer": "144"}, {}, 1.0),
        ("answer", "a gross", {"answer": "144"}, {}, 0.0),
        ("answer", "Paris", {"messages": [{"role": "assistant", "content": "paris"}]}, {}, 1.0),
        ("number", "12 + 2 = 1,400", {"answer": "1400"}, {}, 1.0),
        ("number", "no number", {"answer": "7"}, {}, 0.0),
        ("regex", "ab", {}, {"pattern": "a.?"}, 1.0),
        ("regex", "abc", {}, {"pattern": "a.?"}, 0.0),
        ("share", "abce", {}, {"pattern": "[aeiou]"}, 0.5),
        ("json_object", '{"a": 1}', {}, {"keys": ["a"]}, 1.0),
        ("json_object", "[1]", {}, {}, 0.0),
    ],
)
def test_verifiers(name, said, row, options, score):
    assert VERIFIERS[name](said, row, options) == score


@pytest.mark.distributed
@pytest.mark.exactness
def test_two_ranks_each_keep_their_own_rollouts(tmp_path):
    """The last group of an epoch has prompts for one rank alone; the other goes through its updates empty-handed."""

    def make(folder):
        return job_in(folder, strategy="ddp", iterations=3, accumulation=1, steps=12, count=14)

    said, _ = proving.proved(make, tmp_path, at=11, world=2)
    assert len(proving.metrics(said)) == 12
    folder = tmp_path / "frozen/run/checkpoints/s0-000011-g1"
    rows = [json.loads((folder / f"state-r{rank}.json").read_text())["queue"][0]["micros"] for rank in (0, 1)]
    assert rows[0] and not rows[1]
