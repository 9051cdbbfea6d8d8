"""Plain words → what is asked of a plan: a list of `Ask`. Pure and deterministic; what is not understood is left out and told.

An edit's text is data. It can choose, set and limit what a plan shows; it cannot approve, nor lift a limit that money hangs on.
"""

import re
from itertools import pairwise

from kriptik.catalogue.load import find_gpu, load_catalogue
from kriptik.catalogue.names import key_of, sized_name
from kriptik.pipeline.edits import figures, words
from kriptik.pipeline.edits.glossary import in_english
from kriptik.pipeline.edits.judging import read_judging
from kriptik.pipeline.edits.nouns import read_clauses, train_longer
from kriptik.pipeline.edits.text import SPLIT, TAKEN, Ask, Text, clause_before
from kriptik.pipeline.intent.quantities import numbers

COUNT = r"(?:\d{1,3}|" + "|".join(w for w in words.NUMBER_WORDS if w != "hundred") + r")"
_ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget)\s+(?:all\s+|any\s+|the\s+|your\s+)*(?:previous|prior|above|earlier)\b[^.;\n]*"
    r"|\b(?:skip|bypass|without|no\s+need\s+for)\s+(?:the\s+|any\s+|my\s+)?approval\b"
    r"|\b(?:auto-?)?(?:approve|authori[sz]e)\b(?:\s+(?:it|this|the\s+plan|automatically|immediately|now))*"
)
_CORRECTION = re.compile(
    r"\b(?:no\s+wait|(?:oh|ah|hm+),?\s+wait|hold\s+on|hang\s+on|wait\s+no|actually\s+no|scratch\s+that|sorry|i\s+mean|correction|rather(?!\s+than)|oops|no,?\s+make\s+(?:that|it)|make\s+that|no,)\b[,:]?"
)
_SIZE_LIMIT = re.compile(
    r"(?:(?:nothing|not|no\s+model)\s+(?:above|over|beyond|past)|under|below|less\s+than|smaller\s+than|at\s+most|no\s+(?:more|bigger|larger)\s+than|max(?:imum)?(?:\s+of)?|up\s+to|<)\s*$"
)
_FROM = re.compile(r"\bfrom\s+$")
_OF_THEM = re.compile(rf"(?P<n>{COUNT})\s+of\s+(?:them|those|these)\b(?!\s+[a-z])")
_FEWER_GPUS = re.compile(
    rf"\b(?:drop|remove|lose|minus|take\s+away)\s+(?P<n>{COUNT})\s+(?:of\s+(?:the\s+|my\s+|our\s+)?(?:\w+\s+)?)?(?:gpus?|cards?)\b"
)
_BARE_LATER = re.compile(
    rf"\s*[;,]\s*(?:(?:actually|better|hmm|or|rather|no|make\s+(?:it|that)|say|only)\s+)*(?P<n>{figures.NUMBER}\s?k?)\s*(?=$|[;,.!?])"
)
"""A sum put right by a figure alone: "90 USD, actually 70"."""
_BUDGET_ADD = re.compile(r"\b(?:add|another|extra|more|additional|by)\s*$")
_TIME_LIMIT = re.compile(
    r"\b(?:in|within|under|less\s+than|at\s+most|no\s+(?:more|longer)\s+than|max(?:imum)?|done\s+in|(?:have|got)(?:\s+only|\s+just)?|finish(?:ed)?\s+in|takes?)\s+(?:about\s+|around\s+|under\s+)?$"
)  # fmt: skip
_QUESTION = re.compile(
    r"^\s*(?:what(?!\s+(?:about|if))|why|who|when|where|how(?!\s+about)|which|(?:is|are)(?!\s+there)|was|were|did|will|has|does|do\s+(?:you|i|we))\b[^.!]*\?\s*$"
)
LONGEST = 3000
"""Characters of an edit that are read; it is a sentence or two."""
_GENERIC = {
    "base",
    "large",
    "small",
    "medium",
    "chat",
    "instruct",
    "model",
    "mini",
    "latest",
    "turbo",
    "dev",
    "pro",
    "max",
    "next",
    "coder",
    "local",
    "adapter",
}
_COUNTED_GPU = re.compile(r"(?<![\w.])(\d{1,3})\s*[x×]\s*(?=[a-z]{1,4}\d)")
_BEFORE_GPU = re.compile(rf"(?P<n>{COUNT})\s*(?:x|×|\*)?\s*(?:nvidia\s+|geforce\s+|rtx\s+|of\s+(?:the\s+|those\s+)?)?$")
_AFTER_GPU = re.compile(r"^s?\s*(?:x|×|\*|to)\s*(\d{1,3})\b(?!\s*(?:%|gb|h\b|hours?|days?))")


def _answered(text: str) -> list[Ask]:
    """An answer to what the model is for, where the edit is nothing else."""
    said = text.strip().rstrip(".!").casefold()
    known = load_catalogue().capabilities.values()
    return [Ask("capability", "use", one.id, text.strip()) for one in known if said == one.answer.casefold()]


def read_edit(prompt: str) -> list[Ask]:
    """Everything that was understood, in the order in which it is to be applied."""
    if answered := _answered(prompt):
        return answered
    judging, prompt = read_judging(prompt[:LONGEST])
    text = Text(fold(prompt))
    if _QUESTION.match(text.text):
        return judging
    for step in (
        _orders, _prompts, _keep, _marks, _models, _methods, _gpus, _memory, _providers, _sources, _money, _sizes, _limits, _tiers,
    ):  # fmt: skip
        step(text)
    if not any(ask.axis == "method" and ask.op == "use" for ask in text.asks):
        train_longer(text)
    read_clauses(text, _clauses(text.text))
    _wishes(text)
    return [*_settled(text.asks), *judging]


def fold(prompt: str) -> str:
    """Lower case, plain quotes, other languages in English; after a self-correction only what follows counts for
    the clause before it."""
    text = (
        prompt[:LONGEST]
        .casefold()
        .replace("’", "'")
        .replace("“", '"')
        .replace("”", '"')
        .replace("–", "-")
        .replace("—", "; ")
        .replace("→", " then ")
    )
    text = _in_digits(_QUARTERS.sub(lambda m: "45 minutes" if m["three"] else "15 minutes", in_english(text)))
    text = _COUNTED_GPU.sub(r"\1 x ", text)
    return _CORRECTION.sub(" ; ", f" {text} ")


_QUARTERS = re.compile(r"\b(?:(?P<three>three)\s+|an?\s+)?quarters?\s+of\s+an\s+hour\b")
_COUNTED_WORD = re.compile(r"\s*(?:times|fold|percent|per\s+cent|%)\b")
_WORDED = 10
"""Number words from this on are turned into digits; the small ones may also be articles."""


def _in_digits(text: str) -> str:
    """ "One hundred and fifty" as 150."""
    for number in reversed(numbers(text)):
        said, rest = text[number.start : number.end], text[number.end :]
        if not number.worded or not said.isascii() or (number.value < _WORDED and not _COUNTED_WORD.match(rest)):
            continue
        shown = f"{number.value / 1e9:g} billion" if number.value >= 1e9 else f"{number.value:g}"
        text = f"{text[: number.start]}{shown}{rest}"
    return text


def _clauses(text: str) -> list[tuple[int, int]]:
    cuts = [0, *(found.end() for found in SPLIT.finditer(text)), len(text)]
    return [(start, end) for start, end in pairwise(cuts) if text[start:end].strip(" " + TAKEN)]


def _orders(text: Text) -> None:
    for found in reversed(list(_ORDERS.finditer(text.text))):
        text.take(found.start(), found.end())


def _prompts(text: Text) -> None:
    """Texts of their own: nothing in them asks for anything else."""
    for found in list(words.PROMPT.finditer(text.text)):
        said = found["quoted"] or found["single"] or found["bare"]
        text.take(found.start(), found.end(), Ask(f"{found['which']}_prompt", "use", said.strip(), found[0].strip()))


def _keep(text: Text) -> None:
    for found in list(words.KEEP.finditer(text.text)):
        noun = found["noun"]
        key = noun if noun in words.KEEP_AXES else noun.rstrip("s")
        axes = words.KEEP_AXES.get(key, ())
        text.take(found.start(), found.end(), Ask("keep", "keep", axes, found[0].strip()))


def _marks(text: Text) -> None:
    for axis, pattern in (("notify_at_percent", words.ALERT), ("freeze_at_percent", words.FREEZE)):
        for found in list(pattern.finditer(text.text)):
            text.take(found.start(), found.end(), Ask(axis, "set", float(found[1]), found[0].strip()))
    for found in list(words.OPTIONS.finditer(text.text)):
        text.take(found.start(), found.end(), Ask("option", "set", found["key"] or found["key2"], found[0].strip()))
    for found in list(words.RESET.finditer(text.text)):
        text.take(found.start(), found.end(), Ask("settings", "reset", None, found[0].strip()))


def _models(text: Text) -> None:
    """Names of base models, longest first; hub ids that the catalogue does not hold are taken as they are."""
    for found in list(re.finditer(r"\b[\w.-]+/[\w.-]+\b", text.text)):
        if not re.fullmatch(r"[\d./-]+", found[0]) and "/h" not in found[0][-3:] and len(found[0]) > 4:
            _take_model(text, found.start(), found.end(), found[0])
    tokens = list(re.finditer(r"[a-z0-9][\w.+-]*", text.text))
    place = 0
    while place < len(tokens):
        place += _model_at(text, tokens, place)


def _model_at(text: Text, tokens: list[re.Match[str]], place: int) -> int:
    """Takes the longest model name that starts at a token; the number of tokens to go on by."""
    catalogue = load_catalogue()
    for length in range(min(5, len(tokens) - place), 0, -1):
        start, end = tokens[place].start(), tokens[place + length - 1].end()
        raw = text.text[start:end]
        if "  " in raw or re.search(r"[,;:!?]", raw):
            continue
        phrase = raw.strip(" .-")
        key = key_of(phrase)
        if len(key) < 3 or phrase in _GENERIC or key.isdigit() or key in catalogue.gpu_names or _is_method(phrase):
            continue
        name = catalogue.model_names.get(key)
        if name is None and re.search(r"\d\s*[bm]\b", phrase) and re.search(r"[a-z]{3}", phrase):
            name = sized_name(phrase, catalogue.models.values()) if not _odd_words(phrase) else None
        if name is not None:
            _take_model(text, start, start + len(raw.rstrip(" .-")), name)
            return length
    return 1


def _odd_words(phrase: str) -> bool:
    return bool(re.search(r"\b(?:use|a|an|the|to|with|model|want|try|switch|go|make|it|on|param\w*|under|than)\b", phrase))


def _is_method(phrase: str) -> bool:
    return any(pattern.fullmatch(phrase) for _name, pattern in words.METHOD_PATTERNS)


def _take_model(text: Text, start: int, end: int, name: str) -> None:
    op = "exclude" if text.negated(start) else "use"
    text.take(start, end, Ask("base_model", op, name, text.text[start:end].strip()))


def _methods(text: Text) -> None:
    found: list[tuple[int, Ask]] = []
    for one in list(words.ONE_STAGE.finditer(text.text)):
        text.take(one.start(), one.end(), Ask("method", "single", None, one[0].strip()))
    for name, pattern in words.METHOD_PATTERNS:
        for match in list(pattern.finditer(text.text)):
            if TAKEN in text.text[match.start() : match.end()] or (match[0].startswith("adapter") and found):
                continue
            before, after = clause_before(text.text, match.start()), text.text[match.end() :]
            if text.negated(match.start()) or words.COMPARED.search(before) or words.GONE.match(after):
                op = "exclude"
            elif words.APPEND.search(_clause_around(text.text, match.start())) or re.search(
                r"\b(?:then|\+|followed\s+by)\s*$", text.text[: match.start()]
            ):
                op = "append"
            else:
                op = "use"
            found.append((match.start(), Ask("method", op, name, match[0].strip())))
            text.take(match.start(), match.end())
    text.asks += [ask for _place, ask in sorted(found, key=lambda f: f[0])]


def _clause_around(text: str, place: int) -> str:
    """The clause that a place is in."""
    tail = SPLIT.search(text, place)
    return clause_before(text, place) + text[place : tail.start() if tail else len(text)]


def _gpus(text: Text) -> None:
    if (found := words.CPU.search(text.text)) and not text.negated(found.start()):
        text.take(found.start(), found.end(), Ask("gpu", "use", "cpu", found[0].strip()))
    if (fewer := _FEWER_GPUS.search(text.text)) and (count := figures.value_of(fewer["n"])):
        text.take(fewer.start(), fewer.end(), Ask("gpu_count", "add", -int(count), fewer[0].strip()))
    names = sorted(load_catalogue().gpus)
    for token in list(
        re.finditer(
            r"\b(?:(?:rtx|geforce|tesla|nvidia|quadro)\s+)?(?:rtx\s*)?[a-z]{0,3}\d{1,4}0?(?:\s?(?:ti|super|sxm\d?|pcie|nvl|s|g(?!b)))?(?:[- ]?\d{2,3}\s?gb?)?s?\b|\brtx\s+pro\s+6000\b",  # noqa: E501
            text.text,
        )
    ):
        name = token[0].strip()
        entry = (
            find_gpu(name) or find_gpu(name.rstrip("s")) or find_gpu(re.sub(r"^(?:nvidia|geforce|tesla)\s+", "", name).rstrip("s"))
        )
        if entry is None or entry.id not in names or entry.id == "cpu" or (name.isdigit() and len(name) != 4):
            continue
        if text.negated(token.start()):
            text.take(token.start(), token.end(), Ask("gpu", "exclude", entry.id, name))
            continue
        before = _BEFORE_GPU.search(text.text[: token.start()])
        after = _AFTER_GPU.search(text.text[token.end() :])
        start, end = token.start(), token.end()
        text.take(start, end, Ask("gpu", "use", entry.id, name))
        if after:
            text.take(end, end + after.end(), Ask("gpu_count", "set", int(after[1]), name))
        elif before and (count := figures.value_of(before["n"])) and not (name.endswith("s") and before["n"] in ("a", "an")):
            text.take(before.start(), start, Ask("gpu_count", "set", int(count), before[0].strip()))
    found = _OF_THEM.search(text.text) if any(a.axis == "gpu" and a.op == "use" for a in text.asks) else None
    if found and (count := figures.value_of(found["n"])):
        text.take(found.start(), found.end(), Ask("gpu_count", "set", int(count), found[0].strip()))


def _memory(text: Text) -> None:
    """What does not fit where it runs: the machine is named to complain, not to choose it."""
    if found := words.OUT_OF_MEMORY.search(text.text):
        text.take(found.start(), found.end(), Ask("vram", "less", None, found[0].strip()))


def _providers(text: Text) -> None:
    for pattern, op in ((words.NO_CLOUD, "no_cloud"), (words.CLOUD, "cloud")):
        if found := pattern.search(text.text):
            text.take(found.start(), found.end(), Ask("provider", op, None, found[0].strip()))
    for name, pattern in words.PROVIDER_PATTERNS.items():
        for found in list(pattern.finditer(text.text)):
            op = "exclude" if text.negated(found.start()) else "use"
            text.take(found.start(), found.end(), Ask("provider", op, name, found[0].strip()))


def _sources(text: Text) -> None:
    for name, pattern in words.SOURCE_PATTERNS.items():
        for found in list(pattern.finditer(text.text)):
            op = "exclude" if text.negated(found.start()) else "use"
            text.take(found.start(), found.end(), Ask("data_source", op, name, found[0].strip()))


def _money(text: Text) -> None:
    for amount, start, end, hourly in figures.money(text.text):
        before = clause_before(text.text, start)
        if hourly:
            text.take(start, end, Ask("price_per_hour", "most", amount, text.text[start:end].strip()))
            continue
        later = _BARE_LATER.match(text.text[end:])
        if later and amount:
            corrected = figures.value_of(later["n"])
            said = figures.QUANTITY.search(text.text[start:end])
            if corrected and said:
                amount, end = round(amount / figures.quantity(said) * corrected, 2), end + later.end()
        op = "add" if _BUDGET_ADD.search(before) and not re.search(r"\b(?:no|not)\s+more\s*$", before) else "set"
        if op == "add" and re.search(r"\b(?:reduce|lower|cut|decrease|drop)\b", before):
            op = "subtract"
        text.take(start, end, Ask("budget_max_usd", op, amount, text.text[start:end].strip()))
        _blank_words(
            text,
            r"budget|cap|spend(?:ing)?|limit|costs?|price|cheap(?:er)?|only|max(?:imum)?|at\s+most|no\s+more\s+than|more",
            start,
        )


def _blank_words(text: Text, pattern: str, near: int) -> None:
    """Words that belong to a figure just read: they ask nothing more."""
    start = near - len(clause_before(text.text, near))
    tail = SPLIT.search(text.text, near)
    end = tail.start() if tail else len(text.text)
    for found in list(re.finditer(rf"\b(?:{pattern})\b", text.text[start:end])):
        text.take(start + found.start(), start + found.end())


def _sizes(text: Text) -> None:
    for found in list(figures.PARAMS.finditer(text.text)):
        billions = figures.number(found[1] or found[3]) / (1 if found[1] else 1000)
        op = "most_b" if _SIZE_LIMIT.search(text.text[: found.start()]) else "about_b"
        if (text.negated(found.start()) or _FROM.search(text.text[: found.start()])) and op != "most_b":
            continue
        text.take(found.start(), found.end(), Ask("base_model", op, billions, found[0].strip()))
        _blank_words(text, r"models?|param\w*|smaller|bigger|larger|under|below|less|than", found.start())


def _limits(text: Text) -> None:
    if (pixels := figures.resolution(text.text)) is not None:
        text.asks.append(Ask("resolution", "set", pixels, f"{pixels} px"))
        for found in list(figures.PIXELS.finditer(text.text)):
            text.take(found.start(), found.end())
        text.text = re.sub(r"resolution", lambda m: " " * len(m[0]), text.text)
    if found := words.MEDIA_SIZE.search(text.text):
        more = not re.search(r"\bsmaller\b", found[0])
        asked = any(a.axis == "resolution" for a in text.asks)
        ask = Ask("resolution", "more" if more else "less", None, found[0].strip())
        text.take(found.start(), found.end(), None if asked else ask)
    for found in list(figures.DURATION.finditer(text.text)):
        if _TIME_LIMIT.search(text.text[: found.start()]) or re.search(
            r"^\s*,?\s*(?:no\s+more|not\s+more|max|at\s+most|tops|or\s+less)", text.text[found.end() :]
        ):
            limit = figures.hours(found[0])
            text.take(found.start(), found.end(), Ask("time", "most", limit, found[0].strip()))
            _blank_words(text, r"fast(?:er)?|quick(?:er)?|time|less|under|than|takes?", found.start())
    for pattern, value in ((r"\bovernight\b|\bby\s+(?:tomorrow|morning)\b", 12.0), (r"\b(?:by\s+)?(?:today|tonight)\b", 6.0)):
        if found := re.search(pattern, text.text):
            text.take(found.start(), found.end(), Ask("time", "most", value, found[0].strip()))
    for found in list(figures.MEMORY.finditer(text.text)):
        text.take(found.start(), found.end(), Ask("vram", "most", figures.number(found[1]), found[0].strip()))
        _blank_words(text, r"memory|v?ram|card|gpu|fits?|less|than", found.start())


def _tiers(text: Text) -> None:
    for name, pattern in words.TIER_PATTERNS.items():
        if (found := pattern.search(text.text)) and not text.negated(found.start()):
            text.take(found.start(), found.end(), Ask("tier", "set", name, found[0].strip()))
            _blank_words(text, r"quality|tier|level|grade", found.start())


def _wishes(text: Text) -> None:
    """Wishes of the whole plan: cheaper, faster, better, smaller in memory."""
    for pattern, ask in (
        (words.SLOWER, Ask("time", "more")),
        (words.WORSE_IS_FINE, Ask("cost", "less")),
        (words.BETTER, Ask("quality", "more")),
        (words.LESS_MEMORY, Ask("vram", "less")),
        (words.CHEAPER, Ask("cost", "less")),
        (words.FASTER, Ask("time", "less")),
    ):
        found = pattern.search(text.text)
        if found and not text.negated(found.start()):
            text.take(found.start(), found.end(), Ask(ask.axis, ask.op, None, found[0].strip()))


def _settled(asks: list[Ask]) -> list[Ask]:
    """Of several figures for one thing the last wins; the order of application is fixed."""
    order = ("keep", "option", "tier", "base_model", "method", "provider", "gpu", "gpu_count", "price_per_hour", "data_source", "data_amount",  # noqa: E501
             "resolution", "settings", "epochs", "max_steps", "batch_size", "learning_rate", "seq_len", "rank", "alpha", "dropout",
             "warmup_ratio", "weight_decay", "notify_at_percent", "freeze_at_percent", "quality", "vram", "time", "cost",
             "budget_max_usd")  # fmt: skip
    last: dict[tuple[str, object], Ask] = {}
    for place, ask in enumerate(asks):
        single = ask.axis not in ("keep", "method", "base_model", "provider", "gpu", "data_source")
        last[(ask.axis, place if not single else None)] = ask
    found = list(dict.fromkeys(last.values()))
    return sorted(found, key=lambda ask: order.index(ask.axis) if ask.axis in order else len(order))
