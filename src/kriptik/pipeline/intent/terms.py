"""Where the result will be used, and which licences of the base model are ruled in or out. Read by cue words alone.

These stay out of the batch interface's fields: they move the choice of a model, and nothing else.
"""

import re
from functools import cache
from itertools import chain

from kriptik.catalogue.load import load_catalogue
from kriptik.pipeline.intent.cues import negated
from kriptik.pipeline.intent.text import Reading
from kriptik.pipeline.intent.vocabulary import phrase, phrases, plain, tables
from kriptik.spec.intent import TermsMention

OPEN = ("apache-2.0", "mit")
NEVER = {
    "never_llama": ("llama3.1", "llama3.2", "llama3.3"),
    "never_gemma": ("gemma",),
    "never_openrail": ("openrail++-m",),
    "never_stability": ("stability-community",),
}
ONLY = {"only_open": OPEN, "only_apache_mit": OPEN, "only_apache": ("apache-2.0",), "only_mit": ("mit",)}
_STRICT = re.compile(r"(?:only|must|strictly|permissive|fully|nothing but|no other)(?![a-z])")
REACH = 24


def terms(reading: Reading) -> TermsMention | None:
    """The territory and licences that the text determines; None where it says nothing of either."""
    found: dict[str, object] = {}
    if place := _territory(reading):
        found["territory"] = place
    if only := _only(reading):
        found["only"] = list(only)
    never = list(chain.from_iterable(ids for name, ids in NEVER.items() if _pattern(f"licence.{name}").search(reading.text)))
    if _pattern("licence.never_community").search(reading.text):
        never += [one for one, licence in load_catalogue().licences.items() if "ommunity" in licence.name]
    if never:
        found["never"] = list(dict.fromkeys(never))
    if _pattern("licence.not_gated").search(reading.text):
        found["gated"] = False
    return TermsMention.model_validate(found) if found else None


def _only(reading: Reading) -> tuple[str, ...]:
    """The licences that alone will do: named with a word that makes it a condition, not as a remark about some model."""
    for name, ids in ONLY.items():
        for match in _pattern(f"licence.{name}").finditer(reading.text):
            near = reading.text[max(0, match.start() - REACH) : match.end() + 8]
            if _STRICT.search(near) and not negated(reading, match.start(), match.end()):
                return ids
    return ()


def _territory(reading: Reading) -> str | None:
    """The last place named as one where the result is used."""
    hits = []
    for name in _lists():
        if name.startswith("territory."):
            for match in _pattern(name).finditer(reading.text):
                lead, tail = reading.text[max(0, match.start() - 48) : match.start()], reading.text[match.end() :].lstrip(" -")
                cued = _ends(lead) or _pattern("territory_cue.after").match(tail)
                if cued and not negated(reading, match.start(), match.end()):
                    hits.append((match.start(), name.removeprefix("territory.")))
    return max(hits)[1] if hits else None


def _ends(lead: str) -> bool:
    return bool(_before().search(lead))


@cache
def _before() -> re.Pattern[str]:
    cues = "|".join(phrase(plain(entry)) for entry in _lists()["territory_cue.before"])
    return re.compile(rf"(?:{cues})[\s:,'\"(]*(?:the)?\s*\Z")


@cache
def _lists() -> dict[str, list[str]]:
    read = tables("terms")
    return {f"{group}.{name}": entries for group, table in read.items() for name, entries in table.items()}


@cache
def _pattern(name: str) -> re.Pattern[str]:
    return phrases([plain(entry) for entry in _lists()[name]])
