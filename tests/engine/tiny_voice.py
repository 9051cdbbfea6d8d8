"""A tiny CSM, made on the spot: text and the codes of a Mimi whose codebooks are fitted to the syllables of `tiny_sound`.

A random codec gives one code for everything, and then a loss falls on nothing.
"""

from pathlib import Path

import numpy as np
import tiny
import torch
from sklearn.cluster import KMeans
from tiny_sound import SYLLABLES, VOICE_RATE, syllables
from transformers import (
    CsmConfig,
    CsmForConditionalGeneration,
    CsmProcessor,
    EncodecFeatureExtractor,
    MimiConfig,
    MimiModel,
)

BOOKS, CODES = 4, 32
START, END, SOUND, SOUND_END = "<|begin_of_text|>", "<|end_of_text|>", "<|AUDIO|>", "<|audio_eos|>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|begin_of_text|>[' + message['role'] + ']' }}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] + '<|end_of_text|>' }}{% else %}{{ '<|AUDIO|><|audio_eos|>' }}{% endif %}"
    "{% endfor %}{% endfor %}"
)
"""As the makers' own: an answer is the sound and the mark of its end."""


def mimi(fitted=True):
    """A codec of some 30,000 weights, 25 frames a second, one codebook for meaning and three for sound."""
    config = MimiConfig(
        sampling_rate=VOICE_RATE, hidden_size=16, num_filters=4, upsampling_ratios=[8, 5, 4], codebook_size=CODES, codebook_dim=16,
        num_quantizers=BOOKS, vector_quantization_hidden_dimension=16, upsample_groups=16, num_hidden_layers=1,
        intermediate_size=32, num_attention_heads=2, num_key_value_heads=2, sliding_window=50,
    )
    model = MimiModel(config).eval()
    if fitted:
        said = [[word, other] for word in SYLLABLES for other in SYLLABLES]
        sounds = [syllables(words, pitch=pitch, seed=3) for words in said for pitch in (120, 240)]
        with torch.no_grad():
            states = torch.cat([_states(model, torch.from_numpy(one)[None, None])[0].T for one in sounds])
            for half in (model.quantizer.semantic_residual_vector_quantizer, model.quantizer.acoustic_residual_vector_quantizer):
                rest = states
                for layer in half.layers:
                    found = KMeans(CODES, n_init=1, random_state=0).fit(rest.double().numpy()).cluster_centers_
                    book = torch.tensor(np.asarray(found), dtype=torch.float32)
                    layer.codebook.embed_sum.copy_(book)
                    rest = rest - book[torch.cdist(rest, book).argmin(1)]
    return model


def _states(model, sound):
    """What the codec's quantizer sees: [1, size, frames]."""
    seen, encode = [], model.quantizer.encode

    def watched(states, *more):
        seen.append(states)
        return encode(states, *more)

    model.quantizer.encode = watched
    try:
        model.encode(sound)
    finally:
        del model.quantizer.encode
    return seen[-1]


def tiny_csm(folder, *, fitted=True):
    """Writes the folder; the same bytes every time."""
    tokenizer = tiny.tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": [START, END, SOUND, SOUND_END]})
    ids = tokenizer.convert_tokens_to_ids
    small = {"vocab_size": CODES + 3, "num_codebooks": BOOKS, "num_attention_heads": 4, "num_key_value_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = mimi(fitted)
        config = CsmConfig(
            **small, text_vocab_size=len(tokenizer), hidden_size=48, intermediate_size=96, num_hidden_layers=2,
            max_position_embeddings=256, initializer_range=0.1, codebook_pad_token_id=CODES + 2, codebook_eos_token_id=CODES + 1,
            bos_token_id=ids(START), pad_token_id=ids(SOUND), audio_token_id=ids(SOUND), audio_eos_token_id=ids(SOUND_END),
            codec_config=codec.config.to_dict(),
            depth_decoder_config={
                **small, "backbone_hidden_size": 48, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
                "max_position_embeddings": BOOKS + 1, "initializer_range": 0.1,
            },
        )
        model = CsmForConditionalGeneration(config)
    model.codec_model.load_state_dict(codec.state_dict())
    settings = model.generation_config
    settings.do_sample, settings.max_length = True, 250
    model.depth_decoder.generation_config.do_sample = True
    model.save_pretrained(folder)
    extractor = EncodecFeatureExtractor(feature_size=1, sampling_rate=VOICE_RATE)
    CsmProcessor(extractor, tokenizer, chat_template=TEMPLATE).save_pretrained(folder)
    return Path(folder)
