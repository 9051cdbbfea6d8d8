"""What the smoke test refuses and tells: weights that stay, losses that do not fall, rows that teach nothing, turns without end."""

import math

import pytest
import tiny
import torch
from peft.tuners.lora import LoraLayer
from transformers import AutoTokenizer

from kriptik.engine import pieces
from kriptik.engine.adaptations.lora import Lora
from kriptik.engine.liveness import FEW, LEAST, Fit, first_rows, roughness
from kriptik.engine.probe import probe
from kriptik.spec.errors import DataError
from kriptik.spec.job import StageSettings

ENDLESS = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
VOWELS = {"verifier": "share", "pattern": "[aeiou]", "group_size": 4, "max_new_tokens": 8}
KINDS = {"causal_lm": (tiny.chat_rows, {}), "reward": (tiny.preference_rows, {}), "grpo": (tiny.chat_rows, VOWELS)}


class Unheard(Lora):
    """Adapters that the forward leaves out: nothing breaks, and nothing is learnt."""

    def apply(self, bundle):
        super().apply(bundle)
        for one in bundle.trainee.modules():
            if isinstance(one, LoraLayer):
                one.scaling["default"] = 0.0


def job_in(folder, objective="causal_lm", adaptation="lora", rows=None, told=None, **changes):
    sizes = {"micro_batch": 2, "accumulation": 2, "learning_rate": 5e-3, "max_seq_len": 96, "packing": False}
    settings = StageSettings(**{**sizes, "objective": told or {}, **changes})
    folder.mkdir(exist_ok=True)
    return tiny.tiny_job(folder, rows=rows, objective=objective, adaptation=adaptation, settings=settings)


@pytest.mark.parametrize("objective", KINDS)
def test_weights_must_move_and_a_loss_must_fall_whatever_is_learnt(tmp_path, monkeypatch, objective):
    """A reward model's head alone lowers the loss, and GRPO's loss says nothing: weights and the model's own answers do."""
    make, told = KINDS[objective]
    sound = probe(job_in(tmp_path / "sound", objective, rows=make(24), told=told))
    assert sound.learns and sound.moved_fraction == 1 and sound.loss_last < sound.loss_first
    assert sound.fitted_updates >= 1 and sound.fitted == ("answers" if objective == "grpo" else "rows")

    monkeypatch.setitem(pieces.ADAPTATIONS, "unheard", f"{__name__}:Unheard")
    frozen = probe(job_in(tmp_path / "frozen", objective, "unheard", make(24), told))
    assert not frozen.learns and frozen.moved_fraction == 0
    assert (frozen.loss_last < frozen.loss_first) == (objective == "reward")


@pytest.mark.parametrize(
    ("objective", "adaptation", "rate", "accumulation"),
    [("causal_lm", "lora", 1e-12, 2), ("causal_lm", "full", 9.0, 2), ("causal_lm", "full", 9.0, 8), ("grpo", "full", 9.0, 2)],
)
def test_a_rate_by_which_nothing_can_be_learnt(tmp_path, objective, adaptation, rate, accumulation):
    """What falls from where the first updates have thrown it is not learnt: the model as it came is what counts."""
    told = KINDS[objective][1]
    result = probe(job_in(tmp_path, objective, adaptation, told=told, learning_rate=rate, accumulation=accumulation))
    assert not result.learns and result.moved_fraction > 0
    if rate < 1:
        assert result.loss_last == pytest.approx(result.loss_first, rel=1e-5)
    elif objective == "causal_lm":
        assert result.loss_last is None or result.loss_last > result.loss_first


def test_pairs_of_equal_answers_teach_nothing(tmp_path):
    rows = [{**row, "rejected": row["chosen"]} for row in tiny.preference_rows(24)]
    result = probe(job_in(tmp_path, "dpo", rows=rows))
    assert not result.learns
    assert result.loss_first == pytest.approx(math.log(2), abs=1e-4) and result.supervised_fraction > 0


def test_eight_rows_of_many_are_learnt_by_heart(tmp_path):
    result = probe(job_in(tmp_path, accumulation=8))
    assert result.fitted_rows == FEW and result.learns and result.loss_last < 0.95 * result.loss_first


@pytest.mark.parametrize("quiet", [24, 23])
def test_rows_of_which_hardly_one_teaches_are_refused(tmp_path, quiet):
    rows = tiny.chat_rows(24)
    for row in rows[:quiet]:
        row["messages"][-1]["weight"] = 0
    with pytest.raises(DataError, match="learnt") as refused:
        probe(job_in(tmp_path, rows=rows))
    assert refused.value.code == "nothing_supervised"


def test_it_is_told_how_many_rows_teach_and_that_turns_end(tmp_path):
    rows = tiny.chat_rows(24)
    for row in rows[:6]:
        row["messages"][-1]["weight"] = 0
    result = probe(job_in(tmp_path, rows=rows))
    assert result.supervised_rows == 0.75 and 0 < result.supervised_fraction < 1 and result.eos_supervised is True


def test_a_template_that_ends_no_turn_is_told(tmp_path):
    base = tiny.tiny_model(tmp_path / "base")
    words = AutoTokenizer.from_pretrained(base)
    words.chat_template = ENDLESS
    words.save_pretrained(base)
    result = probe(job_in(tmp_path))
    assert result.eos_supervised is False and result.learns


def test_plain_text_has_no_turns(tmp_path):
    result = probe(job_in(tmp_path, rows=[{"text": f"{number} is a number, and so is {number + 1}."} for number in range(24)]))
    assert result.eos_supervised is None and result.supervised_rows == 1 and result.supervised_fraction > 0.8


@pytest.mark.parametrize(
    ("losses", "learns", "clear"),
    [
        ([3.0], False, False),
        ([3.0, 2.9], True, False),
        ([3.0, 3.5, 2.0], True, True),
        ([3.0, 3.0 * (1 - LEAST / 10)], False, False),
        ([3.0, 1.0, 4.0], False, False),
        ([3.0, math.nan], False, False),
        ([math.inf, 2.0], False, False),
        ([0.0, 0.0], False, False),
    ],
)
def test_what_counts_as_a_fall(losses, learns, clear):
    fit = Fit(8, list(enumerate(losses)))
    assert (fit.learns, fit.clear) == (learns, clear)


@pytest.mark.parametrize(("last", "learns"), [(3.0, False), (3.01, True), (2.9, True), (3.3, False), (math.nan, False)])
def test_in_half_precision_a_small_rate_is_hidden_by_rounding(last, learns):
    """It is not refused for that; that nothing changes at all, or that the loss rises, is."""
    assert Fit(8, [(0, 3.0), (4, last)], rough=roughness(torch.nn.Linear(2, 2, dtype=torch.bfloat16))).learns == learns


def test_the_first_rows_stay_in_their_micro_batches():
    plan = [[[4, 1, 7], [2]], [[9, 3]], [[5, 6], [8]]]
    assert first_rows(plan, 5) == [[[4, 1, 7], [2]], [[9]]]
    assert first_rows(plan, 9) is plan
