"""PPO held to its papers' equations, written out here answer by answer on a plain model: losses, scores, KL control, resume."""

import copy
import json

import near
import numpy
import proving
import pytest
import tiny
import torch
from test_hostile_grpo import token_log_probs
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from kriptik.engine import stage
from kriptik.engine.modalities.text import Text
from kriptik.engine.objectives.ppo import advantages, token_rewards
from kriptik.engine.rng import reseed
from kriptik.engine.schedule import learning_rate
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import LoraSettings, StageSettings

LONGEST = 8
GAMMA, DECAY, CLIP, VALUE_CLIP, VALUE_COEF = 0.9, 0.8, 0.2, 0.05, 0.3


def job_in(folder, adaptation="full", steps=12, rate=1e-3, strategy="single", count=12, accumulation=2, **options):
    folder.mkdir(parents=True, exist_ok=True)
    reward = tiny.tiny_reward_model(folder / "reward")
    settings = StageSettings(
        max_steps=steps,
        micro_batch=2,
        accumulation=accumulation,
        learning_rate=rate,
        schedule="constant",
        max_seq_len=64,
        packing=False,
        lora=LoraSettings(rank=4, alpha=8, dropout=0.1),
        objective={
            "reward_model": str(reward),
            "max_new_tokens": LONGEST,
            "gamma": GAMMA,
            "gae_lambda": DECAY,
            "value_clip": VALUE_CLIP,
            "value_coef": VALUE_COEF,
            "kl_coef": 0.3,
            **options,
        },
    )
    return tiny.tiny_job(
        folder, rows=tiny.chat_rows(count), adaptation=adaptation, objective="ppo", strategy=strategy, settings=settings
    )


class Plain:
    """A policy, its value head, reference and reward model, without anything of the engine's."""

    def __init__(self, job, dtype=torch.float32):
        base = job.base_model.path
        self.words = AutoTokenizer.from_pretrained(base)
        self.policy = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation="eager")
        self.reference = copy.deepcopy(self.policy).requires_grad_(False)
        self.value = torch.nn.Parameter(torch.zeros(1, self.policy.config.hidden_size, dtype=dtype))
        reward = job.stages[0].settings.objective["reward_model"]
        self.reward = AutoModelForSequenceClassification.from_pretrained(reward, dtype=dtype).eval()

    def take(self, trainee):
        """The weights that the engine's policy and its value head have now."""
        weights = trainee.state_dict()
        with torch.no_grad():
            self.value.copy_(weights.pop("value_head.weight"))
        self.policy.load_state_dict(weights)

    def values(self, answer):
        """V(s_t): what is foreseen before each said token."""
        ids = torch.tensor([answer["prompt"] + answer["said"]])
        hidden = self.policy.model(input_ids=ids).last_hidden_state[0, len(answer["prompt"]) - 1 : -1]
        return hidden @ self.value[0]

    def answers(self, rows, prompts):
        """One sampled answer per prompt, with its score."""
        longest = max(map(len, prompts))
        ids = torch.tensor([[self.words.pad_token_id] * (longest - len(one)) + one for one in prompts])
        mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts])
        with torch.no_grad():
            made = self.policy.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=LONGEST,
                pad_token_id=self.words.pad_token_id,
            )
        found = []
        for row, prompt, line in zip(rows, prompts, made[:, longest:].tolist(), strict=True):
            said = line[: line.index(self.words.eos_token_id) + 1] if self.words.eos_token_id in line else line
            found.append(self.scored(row, prompt, said))
        return found

    def scored(self, row, prompt, said):
        """An answer with what the reward model thinks of it."""
        turn = {"role": "assistant", "content": self.words.decode(said, skip_special_tokens=True)}
        whole = self.words.apply_chat_template([*row["messages"][:-1], turn], return_dict=True)["input_ids"]
        with torch.no_grad():
            score = self.reward(input_ids=torch.tensor([whole])).logits[0, 0].item()
        return {"prompt": prompt, "said": said, "score": score}


def told(plain, answer, coefficient):
    """Old log-probabilities, old values, advantages and returns, each sum written out."""
    with torch.no_grad():
        past, before = (token_log_probs(one, answer, 1.0) for one in (plain.policy, plain.reference))
        values = plain.values(answer)
    last = len(answer["said"]) - 1
    rewards = [-coefficient * (past[t] - before[t]).item() + (answer["told"] if t == last else 0.0) for t in range(last + 1)]
    following = [*values[1:].tolist(), 0.0]
    surprise = [rewards[t] + GAMMA * following[t] - values[t].item() for t in range(last + 1)]
    gains = [sum((GAMMA * DECAY) ** (k - t) * surprise[k] for k in range(t, last + 1)) for t in range(last + 1)]
    returns = torch.tensor(gains, dtype=values.dtype) + values
    return {"past": past, "values": values, "gains": gains, "returns": returns, "kl": (past - before).sum().item()}


def facts_of(plain, answers, seen, coefficient):
    """Of every answer what `told` says, scores and advantages normalised; `seen`: all scores so far, which grows."""
    seen += [one["score"] for one in answers]
    for one in answers:
        one["told"] = (one["score"] - numpy.mean(seen)) / (numpy.std(seen) + 1e-8)
    facts = [told(plain, one, coefficient) for one in answers]
    every = numpy.concatenate([one["gains"] for one in facts])
    for one in facts:
        white = (numpy.array(one["gains"]) - every.mean()) / (every.std() + 1e-8)
        one["white"] = torch.tensor(white, dtype=one["values"].dtype)
    return facts


def loss_of(plain, answer, facts):
    """Sum over tokens of one answer."""
    ratio = (token_log_probs(plain.policy, answer, 1.0) - facts["past"]).exp()
    gains = facts["white"]
    surrogate = torch.minimum(ratio * gains, ratio.clamp(1 - CLIP, 1 + CLIP) * gains).sum()
    now, old, returns = plain.values(answer), facts["values"], facts["returns"]
    near = old + (now - old).clamp(-VALUE_CLIP, VALUE_CLIP)
    return -surrogate + VALUE_COEF * torch.maximum((now - returns) ** 2, (near - returns) ** 2).sum() / 2


def by_hand(job, steps, turns, minibatches, coefficient, target=None, horizon=None):
    """(loss, score) of every update."""
    run = stage.load(job, Text)
    session, place = stage.open_stage(run, 0, None)
    plain, found, seen = Plain(job), [], []
    optimizer = torch.optim.AdamW([*plain.policy.parameters(), plain.value], weight_decay=0.0, foreach=False)
    while len(found) < steps:
        _, group = place.cursor.next()
        reseed(job.seed, "refill", 0, len(found), 0)
        numbers = [row for bins in group for one in bins for row in one]
        prompts = [session.rows.encoded[row].fields["ids"] for row in numbers]
        answers = plain.answers([session.rows.raw[row] for row in numbers], prompts)
        facts = facts_of(plain, answers, seen, coefficient)
        if target:
            off = min(0.2, max(-0.2, sum(one["kl"] for one in facts) / len(facts) / target - 1))
            coefficient *= 1 + off * len(facts) / horizon
        for _ in range(turns):
            for part in range(minibatches):
                mine = list(zip(answers, facts, strict=True))[part::minibatches]
                tokens = sum(len(one["said"]) for one, _ in mine)
                loss = sum(loss_of(plain, *one) for one in mine) / tokens
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_([*plain.policy.parameters(), plain.value], 1.0)
                optimizer.param_groups[0]["lr"] = learning_rate(job.stages[0].settings, len(found), steps)
                optimizer.step()
                found.append((loss.item(), [one["score"] for one, _ in mine]))
    return found


@pytest.mark.exactness
def test_losses_are_those_of_the_equations(tmp_path):
    """Frozen at 6 of 12: two of the four updates out of one set of answers wait in the checkpoint; the KL is controlled."""
    options = {"ppo_epochs": 2, "minibatches": 2, "kl_target": 0.5, "kl_horizon": 40}
    said, job = proving.proved(lambda folder: job_in(folder, **options), tmp_path, at=6)
    found = by_hand(job, 12, 2, 2, 0.3, 0.5, 40)
    assert proving.metrics(said) == pytest.approx([loss for loss, _ in found], rel=2e-3, abs=2e-4)
    assert len({round(loss, 3) for loss, _ in found}) > 6
    state = json.loads((tmp_path / "frozen/run/checkpoints/s0-000006-g1/state-r0.json").read_text())
    assert len(state["queue"]) == 2 and state["objective"]["kl_coef"] != 0.3


def jolted(session, generator):
    """Weights somewhere else, those of the value head too."""
    with torch.no_grad():
        for one in session.bundle.trainee.parameters():
            one.add_(0.02 * torch.randn(one.shape, generator=generator))


@pytest.mark.exactness
def test_one_update_is_that_of_the_equations_to_rounding(tmp_path, monkeypatch):
    """Loss and gradient in fp32 against the equations in fp64: of a policy that has left its reference before it answers, and its
    answers before it learns from them, so that ratios and values are clipped."""
    job, made, moves = job_in(tmp_path, accumulation=4, ppo_epochs=1), [], torch.Generator().manual_seed(5)
    session, place = stage.open_stage(stage.load(job, Text), 0, None)
    plain, of = Plain(job, torch.float64), session.objective.rewards.of
    monkeypatch.setattr(session.objective.rewards, "of", lambda answers, session: made.extend(answers) or of(answers, session))
    jolted(session, moves)
    _, group = place.cursor.next()
    reseed(3)
    with torch.no_grad():
        (update,) = session.objective.refill(group, session)
    plain.take(session.bundle.trainee)
    answers = []
    for one in made:
        asked = one.fields["learnt"].index(True)
        answers.append(plain.scored(session.rows.raw[one.row], one.fields["ids"][:asked], one.fields["ids"][asked:]))
    facts = facts_of(plain, answers, [], 0.3)
    jolted(session, moves)
    plain.take(session.bundle.trainee)
    loss = sum(loss_of(plain, *one) for one in zip(answers, facts, strict=True)) / sum(len(one["said"]) for one in answers)
    loss.backward()
    stats = session.objective.run(update, session, update.weight)
    assert stats.loss == pytest.approx(loss.item(), rel=1e-5) and len(answers) == 8
    expected = {**near.gradients(plain.policy), "value_head.weight": plain.value.grad}
    near.assert_near(near.gradients(session.bundle.trainee), expected)
    assert 0 < stats.metrics["clipped"] < 1 and abs(stats.metrics["kl"]) > 1e-2
    apart = torch.cat([plain.values(one) - fact["values"] for one, fact in zip(answers, facts, strict=True)]).abs()
    assert apart.min() < VALUE_CLIP < apart.max()


@pytest.mark.exactness
def test_scores_rise(tmp_path):
    options = {"ppo_epochs": 2, "kl_coef": 0.01, "value_clip": 1.0, "count": 32, "accumulation": 8}
    scores = proving.metrics(proving.lived(job_in(tmp_path, steps=40, rate=1e-2, **options)), "rewardScore")
    assert sum(scores[-8:]) / 8 > sum(scores[:8]) / 8 + 0.2


@pytest.mark.exactness
def test_an_adapter_is_held_to_the_model_without_it(tmp_path):
    said, _ = proving.proved(lambda folder: job_in(folder, "lora", 6, rate=2e-2, ppo_epochs=3), tmp_path, at=4)
    kl = proving.metrics(said, "klDivergence")
    assert kl[:3] == pytest.approx([0.0] * 3, abs=1e-4) and abs(kl[-1]) > 1e-3


@pytest.mark.distributed
@pytest.mark.exactness
def test_two_ranks_whiten_together(tmp_path):
    """Ranks answer with their own random numbers, so only what both must agree on is compared: a resume, and the coefficient."""
    options = {"strategy": "ddp", "accumulation": 1, "count": 14, "ppo_epochs": 3, "kl_target": 0.5, "kl_horizon": 40}
    proving.proved(lambda folder: job_in(folder, **options), tmp_path, at=11, world=2)
    folder = tmp_path / "frozen/run/checkpoints/s0-000011-g1"
    ranks = [json.loads((folder / f"state-r{rank}.json").read_text())["objective"]["kl_coef"] for rank in (0, 1)]
    assert ranks[0] == ranks[1] != 0.3


def test_advantages_end_with_the_answer():
    mask = torch.tensor([[1.0, 1, 1], [1, 0, 0]])
    rewards = token_rewards(torch.zeros(2, 3), torch.zeros(2, 3), mask, torch.tensor([2.0, 5.0]), 0.1)
    assert rewards.tolist() == [[0, 0, 2], [5, 0, 0]]
    found, returns = advantages(rewards, torch.tensor([[1.0, 1, 1], [1, 9, 9]]), mask, 1.0, 1.0)
    assert found.tolist() == [[1, 1, 1], [4, 0, 0]] and returns.tolist() == [[2, 2, 2], [5, 0, 0]]


def test_another_reward_model_does_not_go_on(tmp_path):
    job = job_in(tmp_path, steps=4, ppo_epochs=1)
    proving.lived(job, control=proving.toy.Wish(2))
    start = proving.lives.newest(job.run_dir)
    tiny.tiny_reward_model(tmp_path / "reward", "xyz")
    run = stage.load(job.model_copy(update={"resume_from": start}), Text)
    with pytest.raises(WorkerError, match="reward model is not the one"):
        stage.open_stage(run, 0, start)


def test_without_a_reward_model_nothing_is_trained(tmp_path):
    job = job_in(tmp_path, reward_model=None)
    with pytest.raises(WorkerError, match="no reward model"):
        stage.open_stage(stage.load(job, Text), 0, None)
