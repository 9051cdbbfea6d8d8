"""A GGUF file, read back: its vocabulary and template as a tokenizer, its weights as a model. What parity is checked on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import torch
from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from kriptik.engine.text.gguf_write import splits


@dataclass(frozen=True)
class GgufVocabulary:
    """The tokenizer that the file describes, built from nothing else, and whether a text begins with BOS."""

    tokenizer: Any
    begins: bool
    eos_token_id: int | None


def read_vocabulary(path: Path) -> GgufVocabulary:
    """Tokens, merges, splitting, special tokens and chat template as llama.cpp reads them from the file."""
    reader = GGUFReader(path)
    tokens = _value(reader, gguf.Keys.Tokenizer.LIST)
    types = _value(reader, gguf.Keys.Tokenizer.TOKEN_TYPE)
    merges = [tuple(pair.split(" ", 1)) for pair in _value(reader, gguf.Keys.Tokenizer.MERGES)]
    how = splits(_value(reader, gguf.Keys.Tokenizer.PRE))
    built = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges, ignore_merges=how.whole))
    steps: list[Any] = []
    if how.digits:
        steps.append(pre_tokenizers.Digits(individual_digits=True))
    if how.split:
        steps.append(pre_tokenizers.Split(Regex(how.split), "isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=how.split is None))
    built.pre_tokenizer = pre_tokenizers.Sequence(steps)
    built.decoder = decoders.ByteLevel()
    built.add_tokens(
        [
            AddedToken(token, special=kind == gguf.TokenType.CONTROL, normalized=False)
            for token, kind in zip(tokens, types, strict=True)
            if kind in (gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED)
        ]
    )
    named = {
        name: tokens[number]
        for name, key in (("bos_token", gguf.Keys.Tokenizer.BOS_ID), ("eos_token", gguf.Keys.Tokenizer.EOS_ID))
        if (number := _value(reader, key)) is not None
    }
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=built, **named)
    tokenizer.chat_template = _value(reader, gguf.Keys.Tokenizer.CHAT_TEMPLATE)
    return GgufVocabulary(
        tokenizer, bool(_value(reader, gguf.Keys.Tokenizer.ADD_BOS)), _value(reader, gguf.Keys.Tokenizer.EOS_ID)
    )


def read_model(path: Path, config: Any) -> Any:
    """The file's weights, de-quantised to fp32, in a model of transformers; what a GGUF cannot say is taken from `config`."""
    model: Any = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, config=config, dtype=torch.float32)
    return model.eval()


def _value(reader: GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()
