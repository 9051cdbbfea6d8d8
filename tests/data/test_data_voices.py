"""Whether recordings are of one voice: found on given directions, noted with rows, left out by one fix, repeated by the recipe."""

import json

import numpy as np
import pytest
import soundfile
from media_set import packed, rows_of
from test_data_sounds import encoded, tone

from kriptik.data import prepare, voices
from kriptik.data.transcripts import Transcripts
from kriptik.data.voices import SAME, SHORT_SAME, Voices
from kriptik.spec.errors import DataError

FIX = "drop_other_voice"


def speaker(seed, clips, spread=0.45, width=64):
    """Directions of one voice: about one of its own, as far apart as `spread` says."""
    dice = np.random.default_rng(seed)
    middle = np.abs(dice.standard_normal(width))
    made = middle / np.linalg.norm(middle) + spread * dice.standard_normal((clips, width)) / np.sqrt(width)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def other(seed, clips):
    """Directions that lie as far from `speaker`'s as those of another person."""
    made = speaker(seed, clips)
    made[:, ::2] *= -1
    return made


def unlike(directions, seconds=3.0):
    return voices.unlike(directions, np.broadcast_to(seconds, len(directions)))


def test_clips_of_another_voice_are_told_by_how_like_the_main_one_they_are():
    both = np.concatenate([speaker(1, 20), other(1, 3), speaker(1, 7)[3:]])
    found = unlike(both)
    assert sorted(found) == [20, 21, 22] and all(one < SAME for one in found.values())
    likeness = both @ both[:20].mean(0)
    assert found[20] < 0.3 and likeness[:20].min() > SAME, "far from the limit on both sides"


def test_one_voice_is_left_alone_and_the_limit_is_between_what_was_measured():
    assert unlike(speaker(2, 40)) == {} == unlike(speaker(2, 1))
    assert 0.66 < SAME < 0.81, "docs/decisions/media.md: means of two speakers, and of one"


def test_a_short_clip_has_to_differ_more():
    main, angle = np.eye(8)[:1].repeat(9, 0), np.arccos(0.7)
    between = np.cos(angle) * np.eye(8)[0] + np.sin(angle) * np.eye(8)[1]
    both = np.concatenate([main, [between, between]])
    assert voices.unlike(both, np.array([3.0] * 10 + [1.9])) == {9: 0.7}
    assert sorted(voices.unlike(both[[0] * 5 + [9]], np.ones(6))) == [] and SHORT_SAME < 0.7 < SAME


def test_the_larger_of_two_voices_is_the_main_one_wherever_it_stands():
    few, many = other(3, 8), speaker(3, 9)
    assert sorted(unlike(np.concatenate([few, many]))) == list(range(8))
    assert sorted(unlike(np.concatenate([many, few]))) == list(range(9, 17))


def test_of_very_many_clips_some_are_compared_and_all_are_told(monkeypatch):
    monkeypatch.setattr(voices, "COMPARED", 10)
    many = np.concatenate([speaker(4, 300), other(4, 40), speaker(4, 300)])
    assert sorted(unlike(many)) == list(range(300, 340))


class Ear:
    """A model that tells voices apart by how high a recording sounds: what is above 400 Hz is somebody else."""

    def __init__(self, at_hand=True):
        self.heard, self.at_hand = [], at_hand

    def __call__(self, clip):
        self.heard.append(clip)
        samples, rate = soundfile.read(clip)
        hertz = np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)
        return (other if hertz > 400 else speaker)(1, 8)[len(self.heard) % 8].tolist() if self.at_hand else None


FILES = {f"{n}.wav": encoded(tone(n)) for n in (0, 1, 2, 3, 9, 4)}
SAID = {**FILES, "list.csv": "file_name,text\n" + "".join(f"{name},said {name[0]}\n" for name in FILES)}
SPEECH = prepare.PrepareSettings(speech=True)


def made(folder, words, name="made", **settings):
    source = packed(folder / "set.zip", SAID)
    chosen = SPEECH.model_copy(update=settings)
    return prepare.prepare(source, folder / name, name="set.zip", settings=chosen, transcripts=words)


def found(prepared):
    return {one.code: one for one in prepared.report.findings}


def test_another_voice_is_a_finding_with_its_row_and_one_fix_leaves_it_out(tmp_path):
    words = Transcripts(voices=Voices(ear=Ear()))
    told = found(made(tmp_path, words))
    one = told["other_voice"]
    assert "speakers_unchecked" not in told and one.severity == "warning" and one.count == 1 and one.fix == FIX
    (example,) = one.examples
    assert example.row == 6 and example.file == "9.wav" and example.text.startswith("likeness -0.03: said 9")
    assert len(rows_of(tmp_path / "made")) == 6, "nothing is left out unasked"

    heard, words.voices.ear = dict(words.voices.known), None
    left = made(tmp_path, words, fixes=[FIX])
    assert words.voices.known == heard and found(left)["other_voice"].fixed and found(left)["other_voice"].severity == "info"
    rows = rows_of(tmp_path / "made")
    assert left.report.usable == 5 and {row["text"] for row in rows} == {f"said {n}" for n in (0, 1, 2, 3, 4)}
    files = {f"media/{file.name}" for file in (tmp_path / "made" / "media").iterdir()}
    assert files == {row["audio"] for row in rows}, "nor does the other's recording go along"

    steps = json.loads((tmp_path / "made" / "recipe.json").read_text())
    again = made(tmp_path, Transcripts(voices=Voices(other=steps["other_voices"])), "again", fixes=[FIX])
    assert again.train_sha256 == left.train_sha256 and again.recipe_sha256 == left.recipe_sha256, "no model is needed to repeat it"
    assert made(tmp_path, words, fixes=[FIX]).train_sha256 == left.train_sha256


def test_where_no_model_is_at_hand_it_is_said_and_asked_once(tmp_path):
    ear = Ear(at_hand=False)
    told = found(made(tmp_path, Transcripts(voices=Voices(ear=ear))))
    assert told["speakers_unchecked"].severity == "info" and "other_voice" not in told and len(ear.heard) == 1
    assert "speakers_unchecked" in found(made(tmp_path, None, "plain"))


def test_what_was_heard_is_kept_in_a_file(tmp_path):
    file = tmp_path / "voices.json"
    assert voices.read(file).known == {} and voices.read(file).other == set()
    voices.write(file, Voices({"a": [0.6, 0.8]}, {"a"}))
    back = voices.read(file)
    assert back.known == {"a": [0.6, 0.8]} and back.other == {"a"}
    for content in ("{", "[]", '{"known": {}}'):
        file.write_text(content)
        with pytest.raises(DataError) as error:
            voices.read(file)
        assert error.value.code == "bad_voices"
