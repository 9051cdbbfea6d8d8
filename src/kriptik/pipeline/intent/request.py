"""Is it a request to train something? Questions, account matters, other errands, gibberish and injections are not."""

import re

from kriptik.pipeline.intent.capability import Evidence
from kriptik.pipeline.intent.names import Named
from kriptik.pipeline.intent.text import Reading

ASKED, BARE = 2.5, 2.6
"""Evidence for a capability that makes a request of a sentence with, and without, a word of wishing or making."""
UNLIKELY, UNLIKELY_CUED = 0.25, 0.6
"""A text that says neither is a request where the learned model gives "no request" less than this; the second, where cue words
speak for a capability."""
CUED = 1.5
"""Evidence from cue words that counts for that."""
_LETTERS = re.compile(r"[^\W\d_]")
_START = re.compile(
    r"^[\s\"'*\-–>#,]*(?:(?:hi|hey|hello|yo|ok|okay|so|well|um|uh|hmm|and|but|quick question"
    r"|question|q|also|sorry|dumb question|hola|hallo|bonjour|salut|ola|oi|hii|btw"
    r"|hi there|hey there|hello there|guys|team|folks|kriptik|你好|请问|すみません|नमस्ते)[\s,:!.\-–]*)*"
)


def is_request(reading: Reading, named: Named, evidence: Evidence, specific: bool) -> bool:
    """`specific`: a budget, method, data or hardware was found, which only a request has."""
    text = reading.text
    known = evidence.scores.get(evidence.best() or "", 0.0) >= BARE or named.base
    if len(_LETTERS.findall(text)) < 2 or (not known and _gibberish(text)):
        return False
    wanted = refused = False
    for start, end in reading.sentences:
        verdict = _sentence(reading, text[start:end], named, evidence, specific)
        if verdict is False and not wanted and _closes(reading, text[start:end]):
            return False
        wanted = wanted or bool(verdict)
        refused = refused or (verdict is False and not _puts_the_task(reading, text[start:end], named, evidence))
    limit = UNLIKELY_CUED if evidence.known >= CUED else UNLIKELY
    return wanted or (not refused and not reading.injected and evidence.chances.get("no", 1.0) < limit)


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
