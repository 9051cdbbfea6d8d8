"""Tiny but structurally true models of music and of a voice, made on the spot, and recordings with words that they can learn.

`tiny_musicgen(folder)` writes MusicGen with a codec whose codebooks are fitted to the sounds of `tone_rows`: a random codec gives
one code for everything, and then a loss falls on nothing.
"""

from pathlib import Path

import numpy as np
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
