"""Music that learns from scores: answers are drawn from the decoder's own distribution, valued step by step and scored at
the end; a reward model is what a run left.
"""

from pathlib import Path

import lives
import pytest
import tiny
import tiny_sound
import torch
import toy
from test_music import opened
from transformers import MusicgenForConditionalGeneration

from kriptik.engine.media import sounding
from kriptik.engine.scorer import PART
from kriptik.engine.train import train
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.job import LoraSettings, StageSettings

FRAMES = 6


def job_in(folder, objective="ppo", *, rows=None, reward=True, **told):
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "base").exists():
        tiny_sound.tiny_musicgen(folder / "base")
    if objective == "ppo":
        told = {"max_new_tokens": FRAMES, "ppo_epochs": 2, **told}
        if reward:
            told["reward_model"] = str(tiny_sound.tiny_reward_model(folder / "reward"))
    made = rows if rows is not None else (tiny_sound.pair_rows if objective == "reward" else tiny_sound.tone_rows)(folder, 6)
    chosen = {"micro_batch": 2, "accumulation": 2, "packing": False, "learning_rate": 1e-2, "lora": LoraSettings(rank=4, alpha=8)}
    return tiny.tiny_job(
        folder, rows=made, eval_rows=made[:2], adaptation="lora", objective=objective, modality="music",
        capability="music_generation", settings=StageSettings(**chosen, objective=told),
    )  # fmt: skip


def answers(session, count=2, **settings):
    prompts = session.rows.encoded[:3]
    with session.quiet():
        asked = {"count": count, "max_new_tokens": FRAMES, "temperature": 1.0, **settings}
        return session.modality.generate(session.bundle, prompts, asked)


def test_answers_are_drawn_from_the_decoders_own_distribution(tmp_path, monkeypatch):
    """The probability of every code as it was drawn is what a forward over the whole answer says of it, at that temperature."""
    session, _ = opened(job_in(tmp_path))
    drawn, draw = [], torch.multinomial

    def noted(likely, count, generator=None):
        found = draw(likely, count, generator=generator)
        drawn.append(likely.gather(1, found).log())
        return found

    monkeypatch.setattr(torch, "multinomial", noted)
    found = answers(session, temperature=0.7)
    assert [one.row for one in found] == [0, 0, 1, 1, 2, 2]
    assert all(one.fields["made"].shape == (tiny_sound.BOOKS, FRAMES) for one in found)
    micro = session.modality.collate(session.bundle, [[one] for one in found], 0, 0)
    micro.extra["temperature"] = 0.7
    with session.quiet():
        said, mask = session.modality.token_log_probs(session.modality.forward(session.bundle.trainee, micro), micro)
    steps = torch.stack([one.view(len(found), -1) for one in drawn], 2)
    real = micro.extra["labels"] != -100
    assert torch.allclose(said, (steps * real).sum(1), atol=1e-4)
    assert mask.all() and said.shape[1] == FRAMES + tiny_sound.BOOKS - 1


def test_at_temperature_0_answers_are_the_same_and_the_dice_stay(tmp_path):
    session, _ = opened(job_in(tmp_path))
    before = torch.get_rng_state()
    one, other = (torch.stack([row.fields["made"] for row in answers(session, 1, temperature=0.0)]) for _ in range(2))
    assert torch.equal(one, other) and torch.equal(before, torch.get_rng_state())
    assert not torch.equal(*(torch.stack([row.fields["made"] for row in answers(session, 1)]) for _ in range(2)))


def test_in_stereo_left_and_right_go_together():
    class Config:
        num_codebooks, audio_channels, pad_token_id = 4, 2, 9

    class Decoder:
        def __call__(self, input_ids, past_key_values, use_cache):
            seen.append(input_ids.view(2, 4))
            return type("Said", (), {"past_key_values": None, "logits": torch.zeros(8, 1, 9)})

    seen = []

    class Still(Decoder):
        def __call__(self, input_ids, encoder_hidden_states, past_key_values, use_cache):
            return super().__call__(input_ids, past_key_values, use_cache)

    made = sounding.codes(Still(), Config, {"encoder_hidden_states": torch.zeros(2, 1, 1)}, 3, 1.0, seed=1)
    assert sounding.behind(Config) == [0, 0, 1, 1] and made.shape == (2, 4, 3) and (made < 9).all()
    given = torch.stack(seen, 2)
    assert (given[:, :, 0] == 9).all() and (given[:, 2:, 1] == 9).all() and torch.equal(given[:, :2, 1:4], made[:, :2])


def test_values_stand_at_every_step_and_scores_at_the_end(tmp_path):
    rows = [*tiny_sound.pair_rows(tmp_path, 1, 1), *tiny_sound.pair_rows(tmp_path, 1, 2, seconds=0.9)]
    session, _ = opened(job_in(tmp_path, "reward", rows=rows))
    micro = session.modality.collate(session.bundle, [[row] for row in session.rows.encoded], 0, 0)
    with session.quiet():
        output = session.modality.forward(session.bundle.trainee, micro)
        alone = [
            session.modality.forward(session.bundle.trainee, session.modality.collate(session.bundle, [[row]], 0, 0)).values
            for row in session.rows.encoded
        ]
    assert output.values.shape == (4,) and torch.allclose(output.values, torch.cat(alone), atol=1e-5), (
        "what lies beside does not count"
    )
    policy, _ = opened(job_in(tmp_path / "policy"))
    found = answers(policy)
    with policy.quiet():
        micro = policy.modality.collate(policy.bundle, [[one] for one in found], 0, 0)
        assert policy.modality.forward(policy.bundle.trainee, micro).values.shape == (sum(micro.extra["counts"]),)


def test_a_run_of_reward_model_leaves_what_ppo_asks(tmp_path):
    job = job_in(tmp_path, "reward")
    train(job, lambda body: None, toy.running)
    left = Path(job.run_dir) / "result" / "model"
    session, _ = opened(
        job_in(tmp_path / "policy", rows=tiny_sound.tone_rows(tmp_path / "policy", 6), reward=False, reward_model=str(left))
    )
    scores = session.bundle.scorer.of(answers(session), session)
    assert len(scores) == 6 and len({round(one, 5) for one in scores}) > 1
    assert MusicgenForConditionalGeneration.from_pretrained(left).decoder.num_codebooks == tiny_sound.BOOKS, (
        "the library reads it too"
    )


def test_the_tiny_listener_likes_what_it_was_taught_to_like(tmp_path):
    session, _ = opened(job_in(tmp_path))
    found = answers(session, 8)
    share = torch.tensor([float((one.fields["made"] < tiny_sound.CODES // 2).float().mean()) for one in found])
    scores = torch.tensor(session.bundle.scorer.of(found, session))
    assert torch.corrcoef(torch.stack([share, scores]))[0, 1] > 0.8


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no weights"), "reward_model_not_loadable"),
        (lambda folder: tiny_sound.tiny_musicgen(folder), "no_reward_model"),
        (lambda folder: folder.rename(folder.with_name("away")), "no_reward_model"),
    ],
)
def test_what_is_no_reward_model_is_said(tmp_path, spoil, code):
    job = job_in(tmp_path)
    spoil(tmp_path / "reward")
    with pytest.raises(WorkerError) as error:
        opened(job)
    assert error.value.code == code and error.value.next_step


def test_a_reward_model_of_another_codec_is_refused(tmp_path):
    session, _ = opened(job_in(tmp_path))
    found = answers(session)
    session.bundle.parts[PART].config.num_codebooks = 4
    with pytest.raises(WorkerError) as error:
        session.bundle.scorer.of(found, session)
    assert error.value.code == "other_codec"


def test_a_prompt_is_a_description_alone(tmp_path):
    rows = [{"prompt": [{"role": "user", "content": "a steady low tone"}]}, {"text": "a pulsing high tone"}]
    job, said = job_in(tmp_path, rows=rows), []
    train(job, said.append, toy.running)
    assert [body.custom["reward"] for body in said if body.type == "eval"] and lives.newest(job.run_dir)
    assert {body.content for body in said if body.type == "current_sample"} <= {"a steady low tone", "a pulsing high tone"}
    with pytest.raises(DataError) as error:
        opened(job_in(tmp_path / "empty", rows=[{"text": " "}]))
    assert error.value.code == "bad_row" and error.value.fields == {"row": 0}
