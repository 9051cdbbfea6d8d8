"""Text as it comes: which encoding a file has, and the normal form in which two texts count as the same."""

import codecs
import hashlib
import re
import unicodedata
from pathlib import Path

CHUNK = 1 << 20
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
FALLBACK = "cp1252"
_NOT_WORD = re.compile(r"[\W_]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def detect_encoding(path: Path) -> str | None:
    """The file's encoding as Python names it; None when it is not text at all.

    A byte order mark decides; then zero bytes (UTF-16 without a mark); then UTF-8 if every byte obeys it; else Windows-1252,
    which contains Latin-1's letters. The whole file is read once, in pieces.
    """
    with path.open("rb") as handle:
        head = handle.read(4096)
        for mark, name in BOMS:
            if head.startswith(mark):
                return name
        if b"\0" in head:
            return _utf16_without_mark(head)
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            decoder.decode(head)
            while chunk := handle.read(CHUNK):
                if b"\0" in chunk:
                    return None
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return FALLBACK
    return "utf-8"


def normal(text: str) -> str:
    """The form in which two texts count as the same: compatibility form, case folded, letters and digits only."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NOT_WORD.sub(" ", folded).strip() or " ".join(folded.split())


def hash64(text: str) -> int:
    """64 bits of BLAKE2b over the text: the same on every machine and in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def clean(text: str) -> str:
    """Text that UTF-8 can hold: half surrogate pairs, which JSON escapes may smuggle in, become the replacement mark."""
    return _SURROGATE.sub("\ufffd", text)


def shorten(text: str, limit: int = 160) -> str:
    """One line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def estimate_tokens(text: str) -> int:
    """Tokens a byte-pair vocabulary of 32–150 k would make of `text`, ± 20 % for European languages.

    Latin words cost about one token per 4.2 letters; other scripts about one per character and a half.
    """
    wide = len(text) - len(text.encode("ascii", "ignore"))
    return int((len(text) - wide) / 4.2 + wide / 1.5) + 1 if text else 0


def _utf16_without_mark(head: bytes) -> str | None:
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = max(1, len(head) // 2)
    if odd > 0.4 * half and even < 0.05 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.05 * half:
        return "utf-16-be"
    return None
