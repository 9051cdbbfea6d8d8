"""Settings and axes called by their common nouns: "halve the batch", "lr 1e-4", "2 more epochs", "a bigger GPU"."""

import re

from kriptik.pipeline.edits import figures, words
from kriptik.pipeline.edits.text import Ask, Text

_TO = r"(?:down\s+|up\s+|back\s+|size\s+)?(?:from\s+(?P<from>{n})\s*)?(?:to|of|at|=|:|is|be|(?:should|must|shall|may|can|could|will|would|ought\s+to|needs?\s+to|has\s+to)\s+be|as|about|around|exactly)?\s*(?:about\s+|only\s+|just\s+)?"  # noqa: E501
_AFTER = re.compile(
    r"^\s*"
    + _TO.format(n=figures.NUMBER)
    + r"(?P<n>"
    + figures.NUMBER
    + r"\s?(?:k|m)?(?![a-z0-9%])|\b(?:"
    + "|".join(words.NUMBER_WORDS)
    + r")\b)"
)
_BEFORE = re.compile(
    r"(?P<n>(?:(?<=\s)-)?" + figures.NUMBER + r"\s?(?:k|m)?|\b(?:" + "|".join(words.NUMBER_WORDS) + r"))\s+(?P<rel>more|extra|additional|fewer|less)?\s*"  # noqa: E501
    r"(?:full\s+|training\s+|labell?ed\s+|good\s+|high[- ]quality\s+|of\s+(?:the\s+|my\s+|our\s+|those\s+|these\s+)?|(?:for|as)\s+(?:(?:the|my|our|a)\s+)?|complete\s+|text\s+|chat\s+)*$"  # noqa: E501
)  # fmt: skip
_REL_AFTER = re.compile(r"\s*(more|extra|additional|less|fewer)\b(?!\s+(?:than|data|memory))")
_LONGER = re.compile(
    r"\btrain(?:ing)?\s+(?:it\s+|the\s+model\s+)?(?:for\s+)?(?:a\s+(?:bit|little)\s+|much\s+)?(?P<op>longer|more|less|shorter)\b|\b(?P<op2>longer|shorter|more|less)\s+training\b(?!\s+(?:data|examples|set|time))"
)
_TO_ANYWHERE = re.compile(r"\bto\s+(?P<n>" + figures.NUMBER + r"\s?(?:k)?)(?![a-z0-9%])")
_ALONE = re.compile(
    r"^\s*(?:like|say|about|around|maybe|to|just|only|make\s+it|use|it\s+to)?\s*(?P<n>"
    + figures.NUMBER
    + r"\s?k?|"
    + "|".join(words.NUMBER_WORDS)
    + r")(?:\s+tokens)?\s*(?:please|pls|instead)?\s*$"
)
_FACTOR = re.compile(r"\s*-?(?:x|×|times|fold)\s+(?:as|the|more|larger|bigger|higher|lower|smaller|less|longer)\b")
_REACH = 28
Op = tuple[str, object]
COUNTED = {
    "epochs",
    "max_steps",
    "batch_size",
    "learning_rate",
    "seq_len",
    "rank",
    "alpha",
    "dropout",
    "warmup_ratio",
    "weight_decay",
    "resolution",
}
AXES = {"budget": "budget_max_usd"}
WHOLE_PLAN = {
    "model": "base_model",
    "gpu": "gpu",
    "cost": "cost",
    "time": "time",
    "vram": "vram",
    "quality": "quality",
    "tier": "quality",
}


def train_longer(text: Text) -> None:
    """ "Train longer" is about epochs."""
    for found in list(_LONGER.finditer(text.text)):
        op = found["op"] or found["op2"]
        text.take(found.start(), found.end(), Ask("epochs", "more" if op in ("longer", "more") else "less", None, found[0].strip()))


def read_clauses(text: Text, clauses: list[tuple[int, int]]) -> None:
    """What each clause asks of the nouns in it. A noun without a verb takes that of the clause before ("lower the lr and rank")."""
    carried: Op | None = None
    spoken: str | None = None
    for start, end in clauses:
        nouns = _nouns(text.text, start, end)
        if not nouns:
            if not _bare_figure(text, spoken, start, end):
                _bare(text, start, end)
            continue
        for place, (name, first, last) in enumerate(nouns):
            if name == "data_amount" and place and nouns[place - 1][0] == "epochs":
                continue  # "passes through the data" are passes
            left = nouns[place - 1][2] if place else start
            right = nouns[place + 1][1] if place + 1 < len(nouns) else end
            op = _op(text.text, name, left, first, last, right)
            op = op or (carried if name in COUNTED or name in ("data_amount", "budget") else None)
            spoken = name if name in COUNTED or name == "budget" else spoken
            if op is None or op[0] == "not" or (text.negated(first) and op[0] == "set" and name not in COUNTED):
                continue
            carried = op if op[0] in ("less", "more", "scale") else None
            _add(text, name, op, text.text[left:right].strip(), left, right)


def _bare_figure(text: Text, name: str | None, start: int, end: int) -> bool:
    """A figure alone belongs to the setting named before it: "not 3 epochs but 5", "longer context, like 8k"."""
    found = _ALONE.match(text.text[start:end])
    value = figures.value_of(found["n"]) if found else None
    if found is None or value is None or name is None:
        return False
    axis = AXES.get(name, name)
    text.take(start, end, Ask(axis, "set", thousands(name, found["n"], value), text.text[start:end].strip()))
    return True


def thousands(name: str, digits: str, value: float) -> float:
    """ "8k" of context is 8,192 tokens."""
    exact = name == "seq_len" and digits.strip().endswith("k") and value / 1000 in (1, 2, 4, 8, 16, 32, 64, 128, 256)
    return value * 1.024 if exact else value


def _nouns(text: str, start: int, end: int) -> list[tuple[str, int, int]]:
    """(name, start, end) of the nouns in a clause, none inside another."""
    found: list[tuple[str, int, int]] = []
    for name, pattern in words.NOUN_PATTERNS.items():
        for match in pattern.finditer(text, start, end):
            if not any(match.start() < other[2] and other[1] < match.end() for other in found):
                found.append((name, match.start(), match.end()))
    return sorted(found, key=lambda noun: noun[1])


def _op(text: str, name: str, left: int, first: int, last: int, right: int) -> Op | None:
    """Figure or direction for a noun, looked for after it, then before it, then around it."""
    around = text[left:first] + " " + text[last:right]
    if words.FRACTION.search(around):
        return _scale(around)
    return _figured(text[left:first], text[last:right], around, name)


def _after(name: str, after: str) -> Op | None:
    """The figure right behind a noun."""
    figure = _AFTER.search(after)
    if figure is None or name in ("model", "quality", "cost", "time", "vram", "provider", "method") or figure["n"] in ("a", "an"):
        return None
    value = figures.value_of(figure["n"])
    if value is None or re.match(r"\s*%", after[figure.end() :]):
        return None
    return ("set", thousands(name, figure["n"], value))


def _figured(before: str, after: str, around: str, name: str) -> Op | None:
    relative = _scale(around)
    figure = _AFTER.search(after)
    if figure and _FACTOR.match(after, figure.end()):
        return relative
    if (said := _after(name, after)) is not None:
        return said
    figure = _BEFORE.search(before)
    if figure and name not in ("model", "quality", "learning_rate", "cost", "time", "vram", "provider", "method", "budget"):
        value = figures.value_of(figure["n"])
        small = figure["n"] in ("a", "an", "one", "single") and name == "data_amount"
        if value is not None and not small and not (name == "gpu" and value > 512):
            if re.search(r"\bnot\s+$", before[: figure.start()]):
                return ("not", value)
            if name == "gpu" and value == 1 and (wish := _direction(name, "", after)) and wish[0] in ("cheaper", "faster"):
                return wish
            later = _REL_AFTER.match(after)
            if later:
                return ("add", value if later[1] in ("more", "extra", "additional") else -value)
            if figure["rel"]:
                return ("add", value if figure["rel"] in ("more", "extra", "additional") else -value)
            if figure["n"] not in ("a", "an"):
                return ("set", thousands(name, figure["n"], value))
    elif figure and name == "learning_rate" and (value := figures.value_of(figure["n"])) is not None and value < 1:
        return ("set", value)
    if relative is not None:
        return relative
    target = _TO_ANYWHERE.search(around)
    if target and name in COUNTED | {"budget", "data_amount"}:
        value = figures.value_of(target["n"])
        if value is not None:
            return ("set", value)
    return _direction(name, before, after)


def _scale(text: str) -> Op | None:
    """Halve, double, times three, 20 % less."""
    if words.HALVE.search(text):
        return ("scale", 0.5)
    if words.QUADRUPLE.search(text):
        return ("scale", 4.0)
    if words.TRIPLE.search(text):
        return ("scale", 3.0)
    less = bool(words.LESS.search(text)) or bool(re.search(r"\b(?:cheaper|off)\b", text))
    if found := words.FRACTION.search(text):
        return ("scale", words.NUMBER_WORDS[found["n"]] * words.FRACTIONS[found["part"]])
    if found := words.TIMES.search(text):
        factor = float(found[1] or found[2] or found[3] or found[4])
        return ("scale", 1 / factor if less and not words.MORE.search(text) else factor)
    if words.DOUBLE.search(text):
        return ("scale", 2.0)
    if words.QUARTER.search(text):
        return ("scale", 0.25)
    if (found := words.PERCENT.search(text)) and (less or words.MORE.search(text)):
        share = float(found[1]) / 100
        return ("scale", max(0.05, 1 - share) if less else 1 + share)
    return None


def _direction(name: str, before: str, after: str) -> Op | None:
    near = before[-_REACH:]
    for text in (near, after[:_REACH]):
        extreme = bool(words.EXTREME.search(text))
        if name in ("gpu", "provider", "model", "cost") and words.CHEAPER.search(text):
            return ("cheaper", None)
        if name == "gpu" and words.FASTER.search(text):
            return ("faster", None)
        if name == "model" and words.FASTER.search(text):
            return ("less", None)
        more, less = _apart(list(words.MORE.finditer(text)), list(words.LESS.finditer(text)))
        if re.search(r"\bbetter\b", text) and name in ("model", "gpu", "quality"):
            return ("more", None)
        if not more and not less:
            continue
        last_more = more[-1].start() if more else -1
        last_less = less[-1].start() if less else -1
        chosen = "more" if last_more > last_less else "less"
        if words.NEGATION.search(text[: max(last_more, last_less)]):
            chosen = "less" if chosen == "more" else "more"
        return (f"{chosen}st" if extreme and name == "model" else chosen, None)
    return None


def _apart(more: list[re.Match[str]], less: list[re.Match[str]]) -> tuple[list[re.Match[str]], list[re.Match[str]]]:
    """ "Too big" holds "big": the longer words win."""

    def inside(one: re.Match[str], others: list[re.Match[str]]) -> bool:
        return any(o.start() <= one.start() and one.end() <= o.end() and len(o[0]) > len(one[0]) for o in others)

    return [m for m in more if not inside(m, less)], [m for m in less if not inside(m, more)]


def _bare(text: Text, start: int, end: int) -> None:
    """ "Smaller, please": without a noun it is the model that is meant."""
    clause = text.text[start:end]
    found = re.search(
        r"\b(?:too\s+(?:big|large|small)|smaller|bigger|larger|lighter|smallest|biggest|largest|tiny|tinier"
        r"|(?:slim|shrink|cut|scale|trim)\s+(?:it|that|this)(?:\s+down)?|(?:one|a)\s+size\s+(?:up|down)"
        r"|slimmer|beefier|downsize|upsize)\b",
        clause,
    )
    if found is None or words.NEGATION.search(clause[: found.start()]):
        return
    grows = ("bigger", "larger", "biggest", "largest", "beefier", "upsize")
    less = not (found[0] in grows or found[0].endswith(("small", " up")))
    op = ("less" if less else "more") + ("st" if found[0] in ("smallest", "biggest", "largest") else "")
    text.take(start + found.start(), start + found.end(), Ask("base_model", op, None, found[0].strip()))


def _add(text: Text, name: str, op: Op, said: str, left: int, right: int) -> None:
    """The ask for a noun; the clause part it used is blanked so that wishes do not read it again."""
    kind, value = op
    axis = AXES.get(name, WHOLE_PLAN.get(name, name))
    if name in ("provider", "method") and kind not in ("cheaper",):
        return
    if name == "gpu" and kind in ("set", "add", "scale"):
        axis = "gpu_count"
    if (
        name == "gpu"
        and kind in ("more", "less")
        and re.search(r"\bgpus\b|\bcards\b|\bmore\s+(?:than\s+one\s+)?gpu\b|\banother\b|\badd\b|\bextra\b", said)
    ):
        axis = "gpu_count"
    if name in ("cost", "time", "vram") and kind == "scale":
        kind = "less" if isinstance(value, float) and value < 1 else "more"
        value = None
    if name == "model" and kind == "scale":
        kind = "scale_b"
    if name == "model" and kind == "set":
        return
    if (name == "time" and kind == "more") or (name in ("cost",) and kind == "more"):
        return
    if name == "provider":
        axis, kind = "cost", "less"
    if name == "cost" and kind == "cheaper":
        kind = "less"
    text.take(left, right, Ask(axis, kind, value, said.strip()))
