"""What the finished model is to run on: a phone, a board, a browser, a card."""

import re
from functools import cache

from kriptik.pipeline.intent.cues import negated
from kriptik.pipeline.intent.details import on_run_side
from kriptik.pipeline.intent.text import Reading
from kriptik.pipeline.intent.vocabulary import vocabulary

_BOARDS = ("jetson", "raspberry pi", "microcontroller", "steam deck", "rog ally", "quest", "orange pi", "coral", "smart glasses")
"""Nothing is recorded with these: wherever one is named the result runs on it."""
_CARRIED = ("iphone", "ipad", "android", "smartwatch", "phone", "browser", "tablet", "smart speaker")
"""Nobody trains on these, but people record with them, talk over them and sell apps for them."""
_MACHINES = ("laptop", "macbook", "mac mini", "mini pc", "nas", "pc", "car", "drone")
"""What one may train on as well, or only speak of."""
_ONLY_TARGETS = (*_BOARDS, *_CARRIED)
"""As a clause by itself such a name says where the result runs."""
_MADE_WITH = re.compile(
    r"(?:voices?|talk\w*|speak\w*|call\w*|record|photograph|shot|shoot|taken|took|take|film|snap|typ|made|from|with|via|off|of"
    r"|my|over)\w*(?: (?:on|with|by|from))?"
    r"(?: (?:my|our|an?|the|his|her|their|old))* ?$"
)
_RUNS_THERE = re.compile(
    r"\s*(?:apps?|demo|version|yes|must|has to|have to|speaks?|aboard|only|afterwards|later|after(?: training)?)\b"
    r"(?![^.;]{0,40}train)"
    r"|\s*(?:だけ|のみ|単体|アプリ)?(?:で|上で|上|にて)(?:も)?(?:動|使|走|実行|働|運|运行|跑|用|部署)|向け|\s*(?:上|端|里|内)?(?:离线|本地|直接|流畅)?(?:运行|跑|使用|用(?![户戶])|部署)"
    r"|\s*(?:फोन |फ़ोन |phone |fon )?(?:pe|par|पर|में|पे) (?:\S+ ){0,2}(?:chal|चल|काम|kaam)"
    r"|\s?(?:에서|에|으로|로)?\s?(?:돌아|돌릴|실행|작동|구동|쓸 수|쓰게|용(?![0-9가-힣]))"
    r"|\w*(?: \w+)? (?:calis|kos(?:sun|ar|ma)|fusson|fut(?![a-z])|mukod|elfut|pyori|toimi)"
)
_WHOSE = re.compile(r"(?:(?:my|our|an?|the|his|her|their|old) )?")
_WORKS_THERE = re.compile(
    r"[^.;]{0,48}\b(?:it|that|this|model) (?:has to|must|should|needs to|shall|will) (?:work|run|live|be used) "
    r"(?:there|on (?:it|that|them))\b"
)
_LAPTOP = re.compile(r"(?:it'?s for|for|ok on|fine on|usable on) (?:my|an?|the|our|his|her)(?: old)? $")
_STARTS, _ENDS = re.compile(r"(?:^|[,;.(])\s*$"), re.compile(r"\s*(?:$|[,;.)])")
_STARTS_LOOSELY = re.compile(r"(?:^|[.;])\s*(?:\w+ ){0,2}$")


@cache
def _around(name: str) -> re.Pattern[str]:
    """What stands around the name of a device, by the lists of `place` in `words/details.toml`."""
    lists = vocabulary("en").lists
    words = "|".join(lists[f"place.{name}"])
    if name == "at":
        return re.compile(rf"(?<![a-z])(?:{words})(?:'|\s|-)\s*(?:(?:{'|'.join(lists['place.whose'])}) ?)*(?:[^\W\d_]+s )?$")
    shapes = {
        "kept": r"\b(?:{})(?: \w+){{0,2}}\s*$",
        "to_run": r"\b(?:{})(?: \w+){{0,3}}\s*$",
        "meant": r"\s*(?:{})\b",
        "own": r"(?<![a-z])(?:{})\s(?!\w+'s?\s)(?:\w+ ?){{0,2}}$",
        "does": r"\s(?:{})\b(?![^.;]{{0,40}}train)",
    }
    return re.compile(shapes[name].format(words))


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
    start, end = reading.sentence_at(match.start())
    lead, rest = reading.text[max(start, match.start() - 64) : match.start()], reading.text[match.end() : end]
    lead += _WHOSE.match(match[0])[0]  # type: ignore[index]
    if name in _BOARDS:
        return not re.match(r"\s*(?:sketch(?:es)?|code|projects?|programs?|firmware)\b", rest)
    if name == "cpu":
        return bool(
            re.match(r" (?:on the target|(?:at )?inference|afterwards|later|serving|in production|(?:only )?(?:when|once) )", rest)
            or re.search(r"\d ?ms (?:on|at|auf|na|sur|en|su|op) (?:an? |the |einer |un |una |zwyklym )?$", lead)
        )
    if name not in (*_CARRIED, *_MACHINES):
        return False
    somebodys = re.search(r"'s (?:old )?$|\bmy $", lead) and name in (*_CARRIED, "laptop")
    if _WORKS_THERE.match(rest) or (somebodys and _around("does").match(rest)):
        return True
    if _around("meant").match(rest) or re.match(r" (?:there (?:are|is|were)|(?:i|we) (?:have|keep)|lies?\b|lie\b)", rest):
        return False
    if name == "pc" and _STARTS_LOOSELY.search(lead) and _ENDS.match(rest):
        return True
    if _RUNS_THERE.match(rest) and not _MADE_WITH.search(lead):
        return True
    return bool(name == "laptop" and _LAPTOP.search(lead)) or _is_placed(lead, name)


def _is_placed(lead: str, name: str) -> bool:
    """ "On the assessors' iPads", "for the tablets in our school": where it is to be, not where something was made or lies."""
    placed = _around("at").search(lead)
    if not placed or (name in _MACHINES and (_around("own").search(placed[0]) or name == "car")):
        return False  # what is one's own one may train on
    ahead = re.split(r"[,;:(]", lead[: placed.start()])[-1]
    if _around("own").search(placed[0]):
        return bool(_around("to_run").search(ahead)) and not _around("kept").search(ahead)
    return not _around("kept").search(ahead) or bool(_around("to_run").search(ahead))
