"""Reads the edits with what they must do and scores the batch view of edits on them.

A line is `start | words ||| tiles;expectation;…`. Tiles: the ones that must be among the changed, comma-separated, first and
optional. Expectations: `name<`, `name>` (which way a figure moves), `name=value`, `name~part`, `name!part`, and `ask` (nothing
changes, it is asked back). A figure that stands as asked already needs no move. Model, method and data never move unless they are
named: "nothing unrelated moves". `start` is one of STARTS.
"""

import re
from pathlib import Path

from kriptik.pipeline.modify_batch import modify_one

CHAT = {"capability": "chat", "base_model": "Llama 3.1 8B", "gpu": "A100-80GB"}
TEXT = {"capability": "text_generation", "base_model": "Qwen 2.5 14B", "gpu": "2x A100-80GB"}
STARTS = {
    "C": {**CHAT, "tier": "consumer", "method": "lora"},
    "D": {**CHAT, "tier": "professional", "method": "hybrid_lora_dpo"},
    "P": {**TEXT, "tier": "professional", "method": "dora"},
    "I": {"capability": "image_generation", "tier": "consumer", "base_model": "SDXL", "gpu": "RTX4090", "method": "dreambooth"},
}
TILES = {"model", "method", "data", "gpu", "config", "budget"}
OWN = {"model": ("base_model", "params"), "method": ("method",), "data": ("data_amount",)}
"""Tiles that move only when they are spoken of, with the figures they show."""
SHOWN = {"provider": "gpu", "gpu": "gpu", "gpu_count": "gpu", "budget_max_usd": "budget", "data_amount": "data", "method": "method"}
"""Figure → the tile that shows it; the rest is shown by the settings."""
FREE_WORDS = ("tier", "quality", "better", "cost", "time", "vram", "budget_max_usd")
"""Expectations that any tile may serve: a cheaper plan may have a smaller model."""
_PART = re.compile(r"(?P<name>[a-z_]+)(?P<op>[<>=~!])(?P<value>.*)")


def rows(name):
    """(start, words, tiles, expectations, whether in another language than English)."""
    other = False
    for line in (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("##"):
            other = line == "## other"
        elif line.strip() and not line.startswith("#"):
            head, _, wanted = line.partition("|||")
            start, _, words = head.partition("|")
            parts = [p.strip() for p in wanted.strip().split(";") if p.strip()]
            tiles = set(parts[0].split(",")) if parts and set(parts[0].split(",")) <= TILES else set()
            yield start.strip(), words.strip(), tiles, parts[1:] if tiles else parts, other


def judge(start, words, tiles, wanted):
    """What is wrong with what the edit did; empty where all is right."""
    contract = modify_one({"id": "x", "start": STARTS[start], "modification": words})
    before, after, changed = contract["before"], contract["after"], set(contract["changed_tiles"])
    if "ask" in wanted:
        return [] if contract["needs_clarification"] and before == after else ["did not ask"]
    if contract["needs_clarification"]:
        return [f"asked: {contract.get('question', '')[:60]}"]
    there = {SHOWN.get(_name(p), "config") for p in wanted if "=" in p and _met(p, before, before) and _met(p, before, after)}
    wrong = [f"{tile} did not move" for tile in sorted(tiles - changed - there)]
    if not changed and not there:
        wrong.append("nothing moved")
    wrong += [f"{part}: {before.get(_name(part))} → {after.get(_name(part))}" for part in wanted if not _met(part, before, after)]
    named = {_name(part) for part in wanted}
    if tiles and not named & set(FREE_WORDS):
        wrong += [f"{tile} moved" for tile in OWN if tile in changed and tile not in tiles]
    if "data" not in tiles and before["data_amount"] != after["data_amount"]:
        wrong.append("data moved")
    return wrong


def _name(part):
    return _PART.fullmatch(part)["name"]


def _met(part, before, after):
    name, op, value = _PART.fullmatch(part).group("name", "op", "value")
    was, now = before.get(name), after.get(name)
    if op == "<":
        return now < was
    if op == ">":
        return now > was
    if op == "~":
        return _plain(value) in _plain(now)
    if op == "!":
        return _plain(value) not in _plain(now)
    try:
        return abs(float(now) - float(value)) <= 0.005 * abs(float(value))
    except (TypeError, ValueError):
        return _plain(now) == _plain(value)


def _plain(value):
    return "".join(filter(str.isalnum, str(value).lower()))


def score(name):
    """({"all": (right, counted), "other": …}, [(words, what is wrong)])."""
    counts, misses = {"all": [0, 0], "other": [0, 0]}, []
    for start, words, tiles, wanted, other in rows(name):
        wrong = judge(start, words, tiles, wanted)
        for key in ("all", "other") if other else ("all",):
            counts[key][0] += not wrong
            counts[key][1] += 1
        if wrong:
            misses.append((words, wrong))
    return {k: tuple(v) for k, v in counts.items()}, misses
