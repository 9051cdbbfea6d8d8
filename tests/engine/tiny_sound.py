"""Tiny but structurally true models of music and of a voice, made on the spot, and recordings with words that they can learn.

`tiny_musicgen(folder)` writes MusicGen with a codec whose codebooks are fitted to the sounds of `tone_rows`: a random codec gives
one code for everything, and then a loss falls on nothing.
"""

import atexit
import io
import random
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import sentencepiece
import soundfile
import torch
from sklearn.cluster import KMeans
from tiny_diffusion import t5
from transformers import (
    EncodecConfig,
    EncodecFeatureExtractor,
    EncodecModel,
    MusicgenDecoderConfig,
    MusicgenForCausalLM,
    MusicgenForConditionalGeneration,
    MusicgenProcessor,
    SpeechT5Config,
    SpeechT5FeatureExtractor,
    SpeechT5ForTextToSpeech,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    SpeechT5Processor,
    SpeechT5Tokenizer,
)

RATE = 4000
CODES, BOOKS = 32, 2
TONES = {"low": 150.0, "middle": 300.0, "high": 700.0}
SHAPES = ("steady", "pulsing")


def wave(tone, shape, seconds, rate, seed=0):
    """A tone with two overtones, steady or pulsing, and a little noise."""
    dice = np.random.default_rng(seed)
    times = np.arange(round(seconds * rate)) / rate
    sound = sum(np.sin(2 * np.pi * TONES[tone] * k * times + dice.uniform(0, 6)) / k for k in (1, 2, 3))
    if shape == "pulsing":
        sound = sound * (np.sin(2 * np.pi * 6 * times) > 0)
    return (0.25 * sound + 0.005 * dice.standard_normal(len(times))).astype(np.float32)


def tone_rows(folder, count, seed=0, seconds=0.6, rate=RATE):
    """Recordings under `folder`/media and their rows."""
    media = Path(folder) / "media"
    media.mkdir(parents=True, exist_ok=True)
    rows, kinds = [], [(tone, shape) for tone in TONES for shape in SHAPES]
    for number in range(count):
        tone, shape = kinds[(number + seed) % len(kinds)]
        name = f"media/{seed}-{number}.flac"
        soundfile.write(Path(folder) / name, wave(tone, shape, seconds, rate, seed * 1000 + number), rate)
        rows.append({"audio": name, "text": f"a {shape} {tone} tone", "seconds": seconds, "rate": rate})
    return rows


def pair_rows(folder, count, seed=0, seconds=0.6):
    """Pairs of recordings: a clean one, and the same with much noise."""
    rows = []
    for number, good in enumerate(tone_rows(folder, count, seed, seconds)):
        sound, rate = soundfile.read(Path(folder) / good["audio"], dtype="float32")
        noise = np.random.default_rng(seed * 1000 + number).standard_normal(len(sound))
        worse = good["audio"].replace(".flac", "-noisy.flac")
        soundfile.write(Path(folder) / worse, (0.3 * sound + 0.2 * noise).clip(-1, 1), rate)
        rows.append({"chosen_audio": good["audio"], "rejected_audio": worse, "text": good["text"]})
    return rows


def codec(fitted=True):
    """An EnCodec of some 20,000 weights, 50 frames a second, two codebooks."""
    config = EncodecConfig(
        sampling_rate=RATE, num_filters=4, hidden_size=16, codebook_size=CODES, codebook_dim=16, upsampling_ratios=[5, 4, 4],
        target_bandwidths=[0.5], num_residual_layers=1, num_lstm_layers=1, audio_channels=1, normalize=False,
    )
    model = EncodecModel(config).eval()
    if fitted:
        sounds = [wave(tone, shape, 0.6, RATE, seed) for tone in TONES for shape in SHAPES for seed in (1, 2)]
        with torch.no_grad():
            rest = torch.cat([model.encoder(torch.from_numpy(one)[None, None])[0].T for one in sounds])
            for layer in model.quantizer.layers[:BOOKS]:
                found = KMeans(CODES, n_init=1, random_state=0).fit(rest.double().numpy()).cluster_centers_
                book = torch.tensor(found, dtype=torch.float32)
                layer.codebook.embed.copy_(book)
                rest = rest - book[torch.cdist(rest, book).argmin(1)]
    return model


def tiny_musicgen(folder, *, fitted=True):
    """Writes the folder; the same bytes every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer, encoder = t5()
        decoder = MusicgenForCausalLM(MusicgenDecoderConfig(
            vocab_size=CODES, num_codebooks=BOOKS, hidden_size=48, ffn_dim=96, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=256, dropout=0.1, attention_dropout=0.0, activation_dropout=0.0, pad_token_id=CODES,
            bos_token_id=CODES, initializer_factor=0.1,
        ))
        model = MusicgenForConditionalGeneration(text_encoder=encoder, audio_encoder=codec(fitted), decoder=decoder)
        for name, one in model.named_parameters():  # else a random model hardly hears the description
            if "encoder_attn" in name or "enc_to_dec_proj.weight" in name:
                one.data.mul_(3)
    settings = model.generation_config
    settings.decoder_start_token_id = settings.pad_token_id = settings.bos_token_id = CODES
    settings.eos_token_id = None
    settings.max_length = 64
    settings.guidance_scale, settings.do_sample = 3.0, True
    model.config.decoder.decoder_start_token_id = CODES
    model.save_pretrained(folder)
    MusicgenProcessor(EncodecFeatureExtractor(feature_size=1, sampling_rate=RATE), tokenizer).save_pretrained(folder)
    return Path(folder)


def tiny_reward_model(folder):
    """Writes a reward model that likes codes of the lower half; the same bytes every time."""
    shutil.copytree(taught_to_score(), folder, dirs_exist_ok=True)
    return Path(folder)


@cache
def taught_to_score():
    """By some steps of plain regression on codes at random; of every description it thinks the same."""
    folder = Path(mkdtemp(prefix="tiny-listener-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    model = MusicgenForConditionalGeneration.from_pretrained(tiny_musicgen(folder))
    decoder, dice = model.decoder, torch.Generator().manual_seed(0)
    head = torch.nn.Linear(decoder.config.hidden_size, 1, bias=False)
    torch.nn.init.zeros_(head.weight)
    optimizer = torch.optim.Adam([*decoder.parameters(), *head.parameters()], 3e-3)
    for _ in range(300):
        codes = torch.randint(0, CODES, (16, BOOKS, 10), generator=dice)
        given = torch.full((16, BOOKS, 12), CODES)
        for book in range(BOOKS):
            given[:, book, 1 + book : 11 + book] = codes[:, book]
        with torch.no_grad():
            asked = torch.randint(3, model.config.text_encoder.vocab_size, (16, 5), generator=dice)
            states = model.enc_to_dec_proj(model.text_encoder(asked).last_hidden_state)
        told = decoder(input_ids=given.flatten(0, 1), encoder_hidden_states=states, output_hidden_states=True)
        wanted = 10 * ((codes < CODES // 2).float().mean((1, 2)) - 0.5)
        loss = (head(told.hidden_states[-1][:, -1])[:, 0] - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.25, "it hears the codes"
    model.save_pretrained(folder, state_dict=model.state_dict() | {"decoder.score.weight": head.weight.detach()})
    return folder


VOICE_RATE, BANDS = 8000, 20
SYLLABLES = {"ba": 500.0, "di": 1500.0, "gu": 900.0, "mo": 2400.0}


def syllables(words, rate=VOICE_RATE, pitch=120.0, seed=0, width=150.0, loud=0.2):
    """A buzz at a pitch, coloured by one resonance per syllable: words that can be heard in a spectrum."""
    dice, parts = np.random.default_rng(seed), []
    for word in words:
        times = np.arange(round(0.12 * rate)) / rate
        tones = np.arange(1, int(rate / 2 / pitch)) * pitch
        weights = 1 / (1 + ((tones - SYLLABLES[word]) / width) ** 2)
        buzz = (weights[:, None] * np.sin(2 * np.pi * tones[:, None] * times)).sum(0)
        parts.append(loud * buzz * np.hanning(len(times)) ** 0.3)
    sound = np.concatenate(parts)
    return (sound + 0.001 * dice.standard_normal(len(sound))).astype(np.float32)


def speech_rows(folder, count, seed=0, rate=VOICE_RATE, pitch=120.0):
    """Sentences of a few syllables under `folder`/media, and their rows."""
    media = Path(folder) / "media"
    media.mkdir(parents=True, exist_ok=True)
    dice, rows = random.Random(seed), []
    for number in range(count):
        words = [dice.choice(list(SYLLABLES)) for _ in range(dice.randint(3, 5))]
        name = f"media/v{seed}-{number}.flac"
        soundfile.write(Path(folder) / name, syllables(words, rate, pitch, seed * 1000 + number), rate)
        rows.append({"audio": name, "text": " ".join(words)})
    return rows


def _teach(model, tokenizer, extractor, steps, size=6):
    """Plain training by the library's own loss on a voice of twice the pitch, softer and less clear."""
    dice, optimizer = random.Random(5), torch.optim.AdamW(model.parameters(), 4e-3)
    print_ = torch.nn.functional.normalize(torch.randn(1, model.config.speaker_embedding_dim), dim=1)
    model.config.use_guided_attention_loss = False
    model.train()
    for step in range(steps):
        words = [[dice.choice(list(SYLLABLES)) for _ in range(dice.randint(3, 5))] for _ in range(size)]
        texts = tokenizer([" ".join(one) for one in words], padding=True, return_tensors="pt")
        sounds = [syllables(one, pitch=240.0, seed=step, width=500.0, loud=0.04) for one in words]
        mels = [extractor(audio_target=one, sampling_rate=VOICE_RATE)["input_values"][0] for one in sounds]
        mels = [torch.from_numpy(one[: len(one) // 2 * 2]) for one in mels]
        labels = torch.nn.utils.rnn.pad_sequence(mels, batch_first=True, padding_value=-100.0)
        model(**texts, labels=labels, speaker_embeddings=print_.expand(size, -1)).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.config.use_guided_attention_loss = True
    model.eval()


def letters(folder):
    """A character tokenizer as SpeechT5 has it."""
    sink = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["ba di gu mo hello voice"] * 4 + ["abcdefghijklmnopqrstuvwxyz"] * 4), model_writer=sink,
        model_type="char", vocab_size=32, hard_vocab_limit=False, bos_id=0, pad_id=1, eos_id=2, unk_id=3, minloglevel=2,
    )
    file = Path(folder) / "spm_char.model"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(sink.getvalue())
    return SpeechT5Tokenizer(str(file))


@cache
def taught_speecht5(steps):
    """A base that has learnt another, higher voice, so that there is something to adapt."""
    folder = Path(mkdtemp(prefix="tiny-speecht5-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return _speecht5(folder / "base", steps)


def tiny_speecht5(folder, *, vocoder=True, steps=80, **changes):
    """Writes the folder; the same bytes every time."""
    if changes:
        _speecht5(Path(folder), steps, **changes)
    else:
        shutil.copytree(taught_speecht5(steps), folder)
    if not vocoder:
        shutil.rmtree(Path(folder) / "vocoder")
    return Path(folder)


def _speecht5(folder, steps, **changes):
    tokenizer = letters(folder.with_name(f"{folder.name}-letters"))
    extractor = SpeechT5FeatureExtractor(num_mel_bins=BANDS, sampling_rate=VOICE_RATE, fmax=3900)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = SpeechT5Config(
            vocab_size=len(tokenizer), hidden_size=48, encoder_layers=1, encoder_attention_heads=4, encoder_ffn_dim=96,
            decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=96, num_mel_bins=BANDS, speaker_embedding_dim=32,
            speech_decoder_prenet_units=32, speech_decoder_postnet_units=32, speech_decoder_postnet_layers=2,
            encoder_layerdrop=0.0, decoder_layerdrop=0.0, max_text_positions=64, max_speech_positions=256, positional_dropout=0.1,
        )
        config.update(changes)
        model = SpeechT5ForTextToSpeech(config)
        _teach(model, tokenizer, extractor, steps)
        model.save_pretrained(folder)
        SpeechT5HifiGan(SpeechT5HifiGanConfig(
            model_in_dim=BANDS, sampling_rate=VOICE_RATE, upsample_initial_channel=16, upsample_rates=[4, 4, 4, 2],
            upsample_kernel_sizes=[8, 8, 8, 4], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]],
            normalize_before=False,
        )).save_pretrained(folder / "vocoder")
    SpeechT5Processor(extractor, tokenizer).save_pretrained(folder)
    return folder
