"""How names as people write them are compared: normalised keys, sizes in the name, small typing errors."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from kriptik.spec.catalogue import ModelEntry

_SIZE = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)\s*([bm])(?![a-z])")
_WEIGHTS = (".safetensors", ".gguf", ".ckpt", ".bin", ".pt", ".pth")
_SMALL_WORDS = {"the", "model", "models", "by", "from", "meta", "metas", "openai", "google", "mistralai", "latest"}
_CLOSE = 0.86


def key_of(name: str) -> str:
    """Lower case, letters and digits only."""
    return re.sub(r"[^\w]|_", "", name.casefold())


def is_path(name: str) -> bool:
    """True for a file, a folder or a bucket address: such a name is used as it is."""
    text = name.strip()
    return "://" in text or "\\" in text or text.startswith(("/", "./", "../", "~")) or text.casefold().endswith(_WEIGHTS)


def sized_name(name: str, models: Iterable[ModelEntry]) -> str | None:
    """The model whose title holds every word of the name and whose size is the one in it ("qwen 7b"); None if none does.

    Of several, the recommended one, else the newest, else the more general.
    """
    text = name.casefold()
    size = _SIZE.search(text)
    if size is None:
        return None
    billions = float(size[1]) / (1000 if size[2] == "m" else 1)
    words = [w for w in re.split(r"[^\w.]+", text[: size.start()] + " " + text[size.end() :]) if w and w not in _SMALL_WORDS]
    if not words:
        return None
    fits = [
        m
        for m in models
        if abs(m.params_b - billions) <= 0.12 * billions and all(key_of(w) in key_of(m.id + m.title) for w in words)
    ]
    best = max(fits, key=lambda m: (m.recommended, m.released or "", len(m.capabilities), m.instruct, m.id), default=None)
    return best.id if best else None


def close_name(key: str, names: dict[str, str]) -> str | None:
    """The id behind the nearest known name; numbers must agree, so that 3.1 never turns into 3.3."""
    if len(key) < 5:
        return None
    digits = re.findall(r"\d+", key)
    near = get_close_matches(key, [n for n in names if re.findall(r"\d+", n) == digits], n=1, cutoff=_CLOSE)
    return names[near[0]] if near else None
