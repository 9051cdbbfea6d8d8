"""What the finished model is to run on: a phone, a board, a browser, a card."""

import re

from kriptik.pipeline.intent.cues import negated
from kriptik.pipeline.intent.details import on_run_side
from kriptik.pipeline.intent.text import Reading

_ONLY_TARGETS = (
    "jetson",
    "raspberry pi",
    "microcontroller",
    "iphone",
    "android",
    "smartwatch",
    "phone",
    "browser",
    "tablet",
    "steam deck",
    "rog ally",
    "quest",
    "orange pi",
    "coral",
)
"""Nobody trains on these: as a clause by itself such a name says where the result runs."""
_BOARDS = ("jetson", "raspberry pi", "microcontroller", "steam deck", "rog ally", "quest", "orange pi", "coral")
"""Nothing is recorded with these either: wherever one is named the result runs on it."""
_MADE_WITH = re.compile(
    r"(?:voices?|talk\w*|speak\w*|call\w*|record|photograph|shot|shoot|taken|took|take|film|snap|typ|made|from|with|via|off|of"
    r"|my|over)\w*(?: (?:on|with|by|from))?"
    r"(?: (?:my|our|an?|the|his|her|their|old))* ?$"
)
_RUNS_THERE = re.compile(
    r"\s*(?:apps?|demo|version|yes|must|has to|have to|speaks?|aboard|only|afterwards|later|after(?: training)?)\b"
    r"|\s*(?:で|上で|上)(?:動|使|走|実行|运行|跑|用|部署)|\s*(?:pe|par|पर) (?:\w+ )?(?:chal|चल)"
)
_THERE = re.compile(
    r"(?:\b(?:offline(?: on)?|result on|into|in|on|(?:small|tiny|light|quick) enough for)(?: (?:an?|the|his|her|their|any|every"
    r"|old|cheap|ordinary|plain|\w+'s?))*"
    r"|no|en (?:el|un)|su (?:un|una)|sull'|em um|num|op een|para(?: el| o)?|pour|sur|auf dem|auf)[ -]$"
)
_LAPTOP = re.compile(r"(?:it'?s for|for|ok on|fine on|usable on) (?:my|an?|the|our|his|her)(?: old)? $")
_MEANT = re.compile(
    r"\s*(?:calls?|numbers?|conversations?|recordings?|photos?|pictures?|pics?|clips?|videos?|support|shops?|stores?|footage|memos?|lines?|camera|cases?|repair|bills?|messages?|extension)\b"
)
"""What is behind "phone" where no phone is meant to run anything."""


_STARTS, _ENDS = re.compile(r"(?:^|[,;.(])\s*$"), re.compile(r"\s*(?:$|[,;.)])")


def device(reading: Reading) -> str | None:
    """What the text says it runs on; else a device that is only ever a target."""
    hits = [
        (match, key.removeprefix("device."))
        for key in reading.words.lists
        if key.startswith("device.")
        for match in reading.words.rx(key).finditer(reading.text)
        if not negated(reading, match.start(), match.end())
        and not re.search(r"train\w*\s+(?:it\s+)?on\s+(?:\w+\s+)?$", reading.text[max(0, match.start() - 24) : match.start()])
    ]
    for match, name in hits:
        alone = _STARTS.search(reading.text[: match.start()]) and _ENDS.match(reading.text[match.end() :])
        if on_run_side(reading, match.start()) or (alone and name in _ONLY_TARGETS):
            return name
    for match, name in hits:
        if _runs_there(reading, match, name):
            return name
    gpu = re.search(r"(?:rtx ?)?[345]0[5-9]0(?: ?ti)?|\d+ ?gb (?:of )?(?:v?ram|gpu|card)", reading.text)
    return gpu[0] if gpu and on_run_side(reading, gpu.start()) else None


def _runs_there(reading: Reading, match: re.Match[str], name: str) -> bool:
    """ "Offline phone", "a browser demo", "on an ordinary laptop afterwards", "ラズパイで動かしたい"."""
    lead, rest = reading.text[max(0, match.start() - 40) : match.start()], reading.text[match.end() :]
    if name in _BOARDS:
        return not re.match(r"\s*(?:sketch(?:es)?|code|projects?|programs?|firmware)\b", rest)
    if name in ("laptop", "macbook", "mac mini", "mini pc", "nas"):
        return bool(re.match(r"\s*(?:afterwards|later|after(?: training)?)\b", rest) or _LAPTOP.search(lead))
    if name == "cpu":
        return bool(
            re.match(r" (?:on the target|inference|at inference|afterwards|later)", rest)
            or re.search(r"\d ?ms on (?:an? |the )?$", lead)
        )
    if name not in _ONLY_TARGETS or _MEANT.match(rest) or _MADE_WITH.search(lead):
        return False
    return bool(_RUNS_THERE.match(rest) or _THERE.search(lead))
