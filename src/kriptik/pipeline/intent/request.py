"""Signs that a text is a request to train something, and that it is not: questions, account matters, other errands, gibberish."""

import re
from math import log

from kriptik.pipeline.intent.capability import Evidence
from kriptik.pipeline.intent.names import Named
from kriptik.pipeline.intent.text import Reading

ASKED, BARE = 2.5, 2.6
"""Evidence for a capability that makes a request of a sentence with, and without, a word of wishing or making."""
CUED = 1.5
"""Evidence from cue words that counts as such."""
_LETTERS = re.compile(r"[^\W\d_]")
_START = re.compile(
    r"^[\s\"'*\-–>#,]*(?:(?:hi|hey|hello|yo|ok|okay|so|well|um|uh|hmm|and|but|quick question"
    r"|question|q|also|sorry|dumb question|hola|hallo|bonjour|salut|ola|oi|hii|btw"
    r"|hi there|hey there|hello there|guys|team|folks|kriptik|你好|请问|すみません|नमस्ते)[\s,:!.\-–]*)*"
)
LISTS = ("train", "artefact", "wish", "build", "other_task", "account", "past", "chitchat")
"""Cue lists whose hits anywhere in the text are signs of their own."""
FLAGS = (
    "one", "wanted", "refused", "closes", "injected", "gibberish", "base", "bar", "specific", "known", "cued", "asks", "polite",
    "question", "length", "short", *LISTS,
)  # fmt: skip
"""What `signs` tells, in this order; the trained decision knows them by name."""


def readable(reading: Reading) -> bool:
    """Whether there is anything to read at all."""
    return len(_LETTERS.findall(reading.text)) >= 2


def signs(reading: Reading, named: Named, evidence: Evidence, specific: bool) -> dict[str, float]:
    """Every sign with its strength (mostly 0 or 1). `specific`: a budget, method, data or hardware was found."""
    text = reading.text
    parts = [text[start:end] for start, end in reading.sentences]
    verdicts = [_sentence(reading, part, named, evidence, specific) for part in parts]
    wanted = any(verdicts)
    refused = any(
        verdict is False and not _puts_the_task(reading, part, named, evidence)
        for part, verdict in zip(parts, verdicts, strict=True)
    )
    closes = any(verdict is False and _closes(reading, part) for part, verdict in zip(parts, verdicts, strict=True))
    bodies = [part[m.end() :] if (m := _START.match(part)) else part for part in parts]
    words = len(text.split()) + len(text) / 12
    found = {
        "one": 1.0,
        "wanted": wanted,
        "refused": refused,
        "closes": closes,
        "injected": reading.injected,
        "gibberish": _gibberish(text),
        "base": named.base is not None,
        "bar": named.benchmark is not None,
        "specific": specific,
        "known": min(evidence.known, 8.0) / 4,
        "cued": evidence.known >= CUED,
        "asks": any(part.rstrip().endswith(("?", "？", "؟")) for part in parts),
        "polite": any(reading.words.rx("request.polite").match(body) for body in bodies),
        "question": any(reading.words.rx("request.question").match(body) for body in bodies),
        "length": log(1 + words) / 3,
        "short": words < 4,
        **{name: reading.words.rx(f"request.{name}").search(text) is not None for name in LISTS},
    }
    return {name: float(found[name]) for name in FLAGS}


_TASK_QUESTION = re.compile(
    r"\W*(?:which|who|whose|is (?:this|it|the|that|a|an)|are (?:these|the)|what(?:'?s| is) (?:on|in)|will (?:it|this|the))\b"
)
_ABOUT_US = re.compile(
    r"\b(?:i|my|you|your|we|train\w*|lora|gpus?|vram|cost|price|plans?|job|run|models?|account|cheaper|better|faster|best)\b"
)


def _puts_the_task(reading: Reading, sentence: str, named: Named, evidence: Evidence) -> bool:
    """ "Is this weld sound?", "which ticket resembles this one": not asked of us, but what the model is to answer."""
    return (
        bool(_TASK_QUESTION.match(sentence))
        and evidence.known >= CUED
        and not (named.base or named.benchmark or _ABOUT_US.search(sentence))
        and not reading.words.rx("request.account").search(sentence)
    )


def _closes(reading: Reading, sentence: str) -> bool:
    """An errand or account matter settles it at once, unless the sentence also asks for training."""
    return bool(reading.words.rx("request.other_task").search(sentence)) and len(reading.sentences) == 1


def _sentence(reading: Reading, sentence: str, named: Named, evidence: Evidence, specific: bool) -> bool | None:
    """True: asks for training; False: asks for something else; None: says neither."""
    words = reading.words
    body = sentence[m.end() :] if (m := _START.match(sentence)) else sentence
    polite = words.rx("request.polite").match(body)
    train = _train_cue(reading, sentence)
    artefact = words.rx("request.artefact").search(sentence)
    want = words.rx("request.wish").search(sentence) or words.rx("request.build").search(sentence)
    question = words.rx("request.question").match(body)
    asks = bool(question) or (sentence.rstrip().endswith(("?", "？")) and not polite and not want)
    if (
        words.rx("request.other_task").search(sentence)
        and not (artefact and train)
        and not (want and artefact and not words.rx("request.other_task").match(sentence))
    ):
        return False
    if words.rx("request.account").search(sentence) and not (
        (train or (want and artefact)) and not question and _builds(reading, sentence)
    ):
        return False
    if asks and not (polite and (train or artefact) and not (question and question.end() > polite.end())):
        return False
    if words.rx("request.past").search(sentence) and not want:
        return False
    if train or (want and artefact):
        return True
    if evidence.best() and (named.base or specific or named.benchmark):
        return True
    if artefact and evidence.best():
        return True
    score = evidence.scores.get(evidence.best() or "", 0.0)
    if words.rx("request.chitchat").search(sentence) and not want:
        return None
    return True if score >= (ASKED if want else BARE) else None


def _train_cue(reading: Reading, sentence: str) -> bool:
    return bool(reading.words.rx("request.train").search(sentence))


def _builds(reading: Reading, sentence: str) -> bool:
    """Not merely a training run spoken of: something is to be made."""
    return bool(
        reading.words.rx("request.wish").search(sentence)
        or reading.words.rx("request.build").search(sentence)
        or re.search(r"^\W*(?:please |pls )?(?:fine ?-?tun|train|teach|clone|distil)\w* ", sentence)
    ) and not re.search(
        r"^\W*(?:please |pls |can you |could you )?(?:cancel|stop|pause|resume|kill|abort"
        r"|delete|show|freeze|restart|retry|rollback|check)\b",
        sentence,
    )


def _gibberish(text: str) -> bool:
    """Latin text hardly any word of which has a vowel, or which repeats one run of keys."""
    words = re.findall(r"[a-z]{4,}", text)
    if re.search(r"[^\x00-\u024f·\s]", text) or not words:
        return False
    odd = [
        w
        for w in words
        if not re.search(r"[aeiouy]", w) or re.search(r"[bcdfghjklmnpqrstvwxz]{5,}|(.)\1{3,}|asdf|qwer|zxcv|sdfg|hjkl", w)
    ]
    return len(odd) * 2 >= len(words) and len(words) <= 12
