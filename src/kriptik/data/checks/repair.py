"""Fixes that mend texts and rows. Pure and deterministic: the same row gives the same row."""

import html
import json
import re
from collections.abc import Callable

import ftfy

from kriptik.catalogue.defects import load_defects
from kriptik.data import personal
from kriptik.data.checks.texts import INVISIBLE
from kriptik.spec.data import Row

MACHINE_READ = frozenset({"tests", "schema", "pattern", "task", "tools"})
"""Parts of a row that are no text for people: mending would break them."""
ROUNDS = 6
_KNOWN = load_defects()
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)(?:\s[^<>]*)?/?>")
_BREAKS = frozenset({"p", "br", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "blockquote", "hr"})
_FIX = ftfy.TextFixerConfig(
    unescape_html=False, fix_latin_ligatures=False, fix_character_width=False, uncurl_quotes=False, fix_line_breaks=False,
    normalization=None, explain=False,
)  # fmt: skip


def repair_text(text: str) -> str:
    """Undoes a wrong encoding (ftfy), and takes out control and invisible characters and replacement marks. Again while either
    brings something to light for the other."""
    for _ in range(ROUNDS):
        visible = INVISIBLE.sub(_unless_c1, text)  # a mark in the midst keeps ftfy from seeing one damage; C1 is part of it
        mended = INVISIBLE.sub("", ftfy.fix_text(visible, _FIX)).replace("\ufffd", "")
        if mended == text:
            break
        text = mended
    return text


def _unless_c1(found: re.Match[str]) -> str:
    return found.group() if "\x80" <= found.group() <= "\x9f" else ""


def strip_html(text: str) -> str:
    """Running text of HTML: tags go, blocks become line breaks, entities characters."""
    without = _TAG.sub(lambda found: "\n" if found.group(2).lower() in _BREAKS else "", text)
    return re.sub(r"\n{3,}", "\n\n", html.unescape(without).replace("\u00a0", " ")).strip()


def strip_markup(text: str) -> str:
    """Without a chat template's control marks."""
    return _KNOWN.markup.sub("", text).strip()


def unescape_text(text: str) -> str:
    r"""\n, \t, \" and \u00e4 as characters."""
    plain = text.replace("\\r\\n", "\n").replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"').replace("\\/", "/")
    return re.sub(r"(?:\\u[0-9a-fA-F]{4})+", lambda found: json.loads(f'"{found.group()}"'), plain)


def squeeze_spaces(text: str) -> str:
    """Spaced-out words joined, runs of blanks and empty lines shortened."""
    joined = re.sub(r"(?:(?<!\S)[^\W\d_] ){7,}[^\W\d_]?(?!\S)", lambda found: found.group().replace(" ", ""), text)
    return re.sub(r"\n(?:[^\S\n]*\n){2,}", "\n\n", re.sub(r"[^\S\n]{3,}", " ", joined.replace("\u00a0", " ")))


def mask_secrets(text: str) -> str:
    """Keys and tokens replaced by a mark."""
    return _KNOWN.secret.sub("[secret]", text)


TEXT_REPAIRS: dict[str, Callable[[str], str]] = {
    "repair_text": repair_text,
    "strip_html": strip_html,
    "strip_markup": strip_markup,
    "unescape_text": unescape_text,
    "squeeze_spaces": squeeze_spaces,
    "mask_secrets": mask_secrets,
    "mask_pii": lambda text: personal.mask(text)[0],
}
"""Repairs of single texts, in the order in which several are applied to one row."""


def mend(row: Row, repairs: list[str]) -> Row:
    """A row with the repairs applied to every text of it."""

    def mended(text: str) -> str:
        for name, repair in TEXT_REPAIRS.items():
            text = repair(text) if name in repairs else text
        return text

    made: Row = {}
    for part, value in row.items():
        if isinstance(value, list) and part not in MACHINE_READ:
            made[part] = [{**turn, "content": mended(turn["content"])} for turn in value]
        else:
            made[part] = mended(value) if isinstance(value, str) and part not in MACHINE_READ else value
    return made


def swap(row: Row, repair: str) -> Row:
    """A row with its sides swapped: better and worse answer, or question and answer of a row with one of each."""
    if repair == "swap_pairs":
        return {**row, "chosen": row["rejected"], "rejected": row["chosen"]}
    turns = row["messages"]
    asked, said = turns[-2], turns[-1]
    return {**row, "messages": [*turns[:-2], {**asked, "content": said["content"]}, {**said, "content": asked["content"]}]}
