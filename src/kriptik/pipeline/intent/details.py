"""Methods, hardware, provider: what a request rules in and out."""

import re

from kriptik.catalogue.load import find_gpu, load_catalogue
from kriptik.pipeline.intent.cues import negated
from kriptik.pipeline.intent.names import Named
from kriptik.pipeline.intent.quantities import numbers
from kriptik.pipeline.intent.text import Reading
from kriptik.spec.intent import HardwareLimit

_GPU = re.compile(
    r"(?:(?<![a-z0-9])|(?<=\dx))(?:nvidia |geforce |tesla |amd )*(?P<name>rtx ?pro ?6000|rtx ?\d000 ?ada|(?<=my )2080 ?(?:ti)?"
    r"|(?<=my )9[678]0(?: ?ti)?|(?<=old )9[678]0(?: ?ti)?|1[06][5-8]0 ?(?:ti|super)|(?<=my )1[06][5-8]0"
    r"|20[678]0(?: ?(?:ti|super)|(?= ?\d{1,2} ?gb))|(?<= a )20[678]0|(?<= the )20[678]0"
    r"|rtx ?a?\d{4} ?(?:ti|super)?|a\d{4}|gtx ?\d{4} ?(?:ti)?|[345]0[5-9]0 ?(?:ti|super)?"
    r"|l40s|a10g|(?:a|h|b|l|v|t|p)\d{1,3}(?: ?-?(?:sxm5?|pcie|nvl))?|gh200|gb200|mi\d{3}x?"
    r"|titan (?:rtx|v|xp)|7900 ?xtx|tpu ?v?\d?[ep]?|m[1-5] (?:max|pro|ultra)|dgx(?: spark)?)"
    r"(?:'?s|tje|er)?(?:(?![a-z0-9])|(?=x ?\d{1,3}(?!\d)))"
)
_REAL = re.compile(
    r"a10g?|a100|a30|a40|a4000|a4500|a5000|a6000|h100|h200|h800|h20|b200|b300|l4|l40s?"
    r"|v100|t4|p100|p40|gh200|gb200|mi\d{3}x?|tpu.*|rtx.*|gtx.*|\d0\d0.*|titan.*|7900.*|9[678]0.*|1660.*|1650.*"
    r"|m\d (?:max|pro|ultra)|dgx.*"
)
_MEMORY_BEFORE = re.compile(r"\b(?P<gb>\d{1,3}) ?gb (?:nvidia |geforce )?$")
_VRAM = re.compile(
    r"(?P<gb>\d+) ?-?(?:gb|gigs?|go)(?: ?(?P<word>(?:of )?(?:vram|v-ram|video ?memory"
    r"|gpu(?: memory)?s?|graphics? (?:card|memory)|cards?|grafik\w*|de vram|显存))| ?(?=[a-z]*\)))"
    r"|(?P<gb2>\d+) ?-?(?:gb|gigs?|g) ?(?:的)?(?P<zh>显存|显卡|vram|のgpu|のvram)|vram[^\d.]{0,12}(?P<gb3>\d+)"
    r"|(?:gpus?|cards?)(?: with| of| has)? (?P<gb4>\d+) ?-?(?:gb|gigs?)(?: each)?(?! ?(?:of )?(?:data|ram|audio|video|text|disk))"
)
_COUNT_BEFORE = re.compile(
    r"(?P<n>\d{1,4}) ?(?:x|×|\*|个|块|張|张|台|枚の?|tane|adet|st|of (?:the|our|my)|pcs?|pieces|stuck|units)? ?(?:-? ?(?:nvidia"
    r"|geforce|used|older?|80 ?gb|40 ?gb|24 ?gb|rented|spare|shiny|new|reserved|own|idle) ?)*$"
)
_COUNT_AFTER = re.compile(
    r" ?(?:[\s-]*\d{2,3} ?gb ?)?(?:(?:sxm\d?|pcie) )?(?:(?:x|×|\*) ?(?P<n>\d{1,3})(?!\w|\.\d)|(?:を"
    r"|が|は)? ?(?P<counter>\d{1,3}) ?(?:台|枚|基|块|张|장|개|대|units?|pcs|cards|karten|stuck|st)(?![a-z])"
    r"|,? ?(?:just |only )?(?P<worded>[两二三四五六八十]|두|세|네|다섯|여섯|여덟) ?(?:张|块|枚|台|卡|장|개|대)"
    r"|,? ?(?:just |only )?(?P<one>one|singol[ao]|1枚|一枚|一块|一张|が1枚|が一枚|를? ?한 ?장|하나)"
    r"(?: card| gpu)?(?=\s*(?:$|[.,;)、。])))"
)
_OF_THEM = re.compile(
    r"(?: ?\d{2,3} ?gb)?[^.;\w]{0,3}(?:(?:and )?(?:we|i)(?:'ve| have| got| own)(?: got)? )?(?P<n>\d{1,3}|two|three|four|five"
    r"|six|eight|ten|twelve|sixteen) of (?:them|these|those)\b"
)
_WORDED = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "eight": 8, "ten": 10, "twelve": 12, "sixteen": 16}
_WORDED |= {"两": 2, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6, "八": 8, "十": 10}
_WORDED |= {"두": 2, "세": 3, "네": 4, "다섯": 5, "여섯": 6, "여덟": 8}
_BETWEEN = (
    r"\s*(?:x|of (?:the|my|our))?\s*(?:used |old |80gb |rented |nvidia |tane |adet |karty |karten |schede |tarjetas |cartes "
    r"|placas |stuks? |st |بطاقات |كروت |كرت |块|张|卡|枚の|台の|個の)*\s*"
)
"""What may stand between a count in words and the card."""
_ONE_CARD = re.compile(
    r"\b(?:one|an?|1|single|ein\w*|un[ae]?|um)(?: \w+)? \d{2,3} ?-?gb (?:card|gpu|grafikkarte)|\d{2,3} ?-?gb (?:card"
    r"|gpu), (?:just |only )?one\b|\bone card\b"
)
_CARDS = re.compile(r"\s*(?:\w+ )?(?:gpus?|graphics cards|cards (?:with|of) \d+ ?gb)\b")
_ON_TARGET = re.compile(
    r" (?:on the target|at inference|inference|afterwards|later"
    r"|when(?: it's| it is| it)? (?:in use|used|running|runs|deployed|serving))"
    r"|[^.;]{0,24}\b(?:and|so|yet|but) it (?:has to|must|should|needs to|shall) (?:work|run) (?:there|on (?:it|that))"
)
_TIMES_GPUS = re.compile(r"\b(?:gpus?|cards) ?(?:x|×|\*) ?(?P<n>\d{1,3})\b")
_ONE = re.compile(
    r"(?<![a-z0-9])(?:a single|single|just one|only one|one|an?|ein(?:e|er|em|en)?|'?ne[rnm]?|'?n|una?|um|uma|une|een"
    r"|jedn(?:a|ej|a|ym|ym)|bir(?: tane)?|один|одн(?:а|ой|у|ом)"
    r"|ek|एक|1台の|单卡|одиночн(?:ая|ой)|[一单](?:块|张|個の|台の|卡)?)(?: (?:old|used|lone|spare|nvidia|geforce|80 ?gb|40 ?gb"
    r"|24 ?gb|\d{1,3} ?gb|rented|einzige[rn]?|einzelnen?|single|sol[ao]|seule?|solo))*[ -]*$"
)
_MEMORY_AFTER = re.compile(
    r"[ ,、\-(]*(?:(?:with|has|mit|con|com|avec|de|da|van|na|à|на|с) )?(?P<gb>\d{1,3})"
    r" ?-?(?:gb|gigs?|giga|go|g|гб|гиг\w*|기가|ギガ)(?![a-z0-9])"
)
_NODES = re.compile(
    r"(?P<n>\d{1,3}|two|three|four|five|six|eight|zwei|drei|vier|deux|dos|due|cinque|dois|две|два)"
    r" ?(?:nodes|knoten|nodos|n(?:o|œ)euds|nodi|servers|machines|wezly|узл\w+|台机器|台服务器|个节点|ノード)(?![a-z])[^.;]{0,12}?"
    r"(?:(?:of|with|a|x|,|mit|je|de|da|con|по|每台|每个|各)\s*(?P<each>\d{1,2})(?!\d)|each|(?=[^.;]{0,24}each))"
)
"""Nodes with as many GPUs each."""
_NODE_WORDS = {"two": 2, "zwei": 2, "deux": 2, "dos": 2, "due": 2, "dois": 2, "две": 2, "два": 2, "three": 3, "drei": 3}
_NODE_WORDS |= {"four": 4, "vier": 4, "five": 5, "cinque": 5, "six": 6, "eight": 8}
_COUNTED = re.compile(r" (?:rows|images|samples|tickets|steps|examples|usd|dollars|euros?|photos|songs|documents|emails|\w+s\b)")
"""What makes a count of a number that could name a card."""
_OPENS = re.compile(r"(?:^|[,.;:、，。])\s*(?:colab |tesla |nvidia |geforce )*$")
_CLOSES = re.compile(r"(?: ?\d{1,3} ?gb)?(?: vram| gpu|显卡| please| pls| ok| preferred)?\s*(?:$|[,.;、，。])")
_SEVERAL = re.compile(r"s$|dgx|tpu|gb200|m\d (?:max|pro|ultra)")
"""A plural, or what is a machine of several cards; any other card named without a count is one."""
_TOTAL_GPUS = re.compile(r"(?P<n>\d{1,4})[ -]*(?:x )?(?:gpus?|graphics cards|grafikkarten|cards)\b")


def methods(reading: Reading) -> tuple[list[str], list[str]]:
    """(named, excluded) method ids, each in the order of the text; a method named and ruled out later is out."""
    named: list[str] = []
    excluded: list[str] = []
    hits = _longest(_hits(reading, "method"))
    for at, (start, end, method) in enumerate(hits):
        out = negated(reading, start, end) or (
            at > 0
            and hits[at - 1][2] in excluded
            and re.fullmatch(
                r"\s*(?:or|and|nor|/|oder|und|o|ni|ou|et|y|,\s*(?:or|and|nor))\s*(?:the\s+)?",
                reading.text[hits[at - 1][1] : start],
            )
        )
        if at and not out and named and named[-1] == hits[at - 1][2] and _corrected(reading, hits[at - 1][1], start):
            named.pop()
        target, other = (excluded, named) if out else (named, excluded)
        if method in other and out:
            other.remove(method)
        if method not in target and method not in other:
            target.append(method)
    return _refined(named), excluded


def _corrected(reading: Reading, after: int, until: int) -> bool:
    return until - after < 40 and bool(reading.words.rx("correction.marks").search(reading.text[after:until]))


def _refined(named: list[str]) -> list[str]:
    """ "Full fine-tune with FSDP" is one method; "DeepSpeed" beside a stage names only the stage."""
    for kind in ("fsdp", "deepspeed"):
        if f"full_finetune_{kind}" in named:
            named = [m for m in named if m not in ("full_finetune", kind, "deepspeed_zero3" if kind == "deepspeed" else kind)]
    stages = [m for m in named if m in ("deepspeed_zero1", "deepspeed_zero2", "deepspeed_infinity")]
    return [m for m in named if not (m == "deepspeed_zero3" and stages)]


def _hits(reading: Reading, group: str) -> list[tuple[int, int, str]]:
    prefix = group + "."
    keys = [k for k in reading.words.lists if k.startswith(prefix)]
    return [
        (m.start(), m.end(), key.removeprefix(prefix))
        for key in keys
        for m in reading.words.rx(key).finditer(reading.text)
        if m.end() > m.start()
    ]


def _longest(hits: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    kept: list[tuple[int, int, str]] = []
    for hit in sorted(hits, key=lambda h: (h[0] - h[1], h[0])):
        if all(hit[1] <= k[0] or hit[0] >= k[1] for k in kept):
            kept.append(hit)
    return sorted(kept)


def provider(reading: Reading) -> str | None:
    """Where to train; the last one that is not ruled out, where there are several."""
    found = []
    hits = _longest(_hits(reading, "provider"))
    out = {name for start, end, name in hits if name != "local" and negated(reading, start, end)}
    for start, end, name in hits:
        if name in out:
            continue
        if name == "lambda" and re.search(r"lambda (?:functions?|calculus|expressions?)", reading.text):
            continue
        if name == "azure" and re.match(r" (?:blue|sky|sea)", reading.text[end:]):
            continue
        served = re.search(r"serv|prem|cluster|rack|cent(?:er|re)|hardware", reading.text[start:end])
        trained = reading.words.rx("hardware.train_side").search(reading.text[end : end + 24])
        if name == "local" and ((on_run_side(reading, start) and not served and not trained) or _only_data(reading, start, end)):
            continue
        found.append(name)
    clouds = [n for n in found if n != "local"]
    return (clouds or found or [None])[-1]


def _only_data(reading: Reading, start: int, end: int) -> bool:
    """ "our network security logs", "my computer science notes" speak of something else than the machine."""
    return bool(
        re.match(
            r" (?:science|vision|security|engineering|traffic|manual|logs?|games?|shop|store"
            r"|repair|data|support|players?|members?|mods|admins?|bot|community|chat|humou?r|jokes|emotes|monitoring|operators?|parts|news|business|museum|library)",
            reading.text[end:],
        )
    )


def on_run_side(reading: Reading, start: int) -> bool:
    """Whether the words before speak of running the finished model rather than of training it."""
    a, _ = reading.sentence_at(start)
    lead = reading.text[max(a, start - 60) : start]
    run = [
        m.end()
        for m in reading.words.rx("hardware.run_side").finditer(reading.text[max(a, start - 60) : start + 20])
        if m.start() < len(lead)
    ]
    train = [m.end() for m in reading.words.rx("hardware.train_side").finditer(lead)]
    return bool(run) and max(run) > max(train, default=-1) and lead.count(",", max(run)) < 2


def cards(reading: Reading) -> list[re.Match[str]]:
    """Every GPU named; "3090 photos" are none."""
    found = []
    for match in _GPU.finditer(reading.text):
        name = re.sub(r" ?-?(?:sxm\d?|pcie|nvl)$", "", match["name"].strip())
        counts = re.fullmatch(r"\d0\d0", name) and _COUNTED.match(reading.text[match.end() :])
        stick = name.startswith("tpu") and re.search(r"(?:coral|edge) $", reading.text[: match.start()])
        if _REAL.fullmatch(name) and not counts and not stick:
            found.append(match)
    return found


def hardware(reading: Reading, named: Named, cloud: bool) -> HardwareLimit | None:
    """GPU, count, memory or CPU only, as limits on the training."""
    limit: dict[str, object] = {}
    single = False
    for match in cards(reading):
        name = match["name"].strip()
        if negated(reading, match.start(), match.end()):
            continue
        if on_run_side(reading, match.start()) and not _trains_there(reading, match):
            continue
        memory = _MEMORY_AFTER.match(reading.text, match.end())
        limit["gpu"] = _gpu_id(name, memory["gb"] if memory else None)
        memory = memory or _MEMORY_BEFORE.search(reading.text[max(0, match.start() - 24) : match.start()])
        if memory:
            limit["vram_gb"] = float(memory["gb"])
        limit.update(_count(reading, match.start(), match.end()))
        single = not _SEVERAL.search(match[0]) and not _stands_alone(reading, match)
    nodes = _NODES.search(reading.text)
    if nodes and limit.get("gpu") and 1 < (count := _NODE_WORDS.get(nodes["n"]) or int(nodes["n"])) <= 512:
        limit["count"] = count * int(nodes["each"] or limit.get("count") or 1)  # type: ignore[call-overload]
    vram = _VRAM.search(reading.text)
    if vram and not on_run_side(reading, vram.start()):
        limit["vram_gb"] = float(vram["gb"] or vram["gb2"] or vram["gb3"] or vram["gb4"])
    if "count" not in limit and (count := _total(reading)):
        limit["count"] = count
    if single:
        limit.setdefault("count", 1)
    cpu = next(
        (
            m
            for m in reading.words.rx("hardware.cpu_only").finditer(reading.text)
            if not on_run_side(reading, m.start()) and not _ON_TARGET.match(reading.text[m.end() :])
        ),
        None,
    )
    if cpu and not limit.get("gpu") and not cloud:
        return HardwareLimit.model_validate({"cpu_only": True})
    if cpu and limit.get("gpu") and "only" in cpu[0]:
        limit["cpu_only"] = True
    return HardwareLimit.model_validate(limit) if limit else None


_FOR_WHICH = re.compile(r"(?: \d+ ?gb)? (?:for|to|fur|zum|pour|para|per|voor) (?:the |das |la |l'|il |o |het )?")


def _trains_there(reading: Reading, card: re.Match[str]) -> bool:
    """ "It lives on my 3060, but rent an H100 for the training": a card taken for the work, whatever was said before of running."""
    rented = re.search(r"(?:rent|book|hire|miet|lou|alquil|alug|noleggi|huur)\w* (?:\w+ ){0,2}$", reading.text[: card.start()])
    if re.match(r"[^.;,]{0,40} (?:where|which) (?:\w+ ){0,4}train", reading.text[card.end() :]):
        return True
    behind = _FOR_WHICH.match(reading.text, card.end())
    trained = behind and reading.words.rx("hardware.train_side").match(reading.text, behind.end())
    return bool(rented or trained)


def _stands_alone(reading: Reading, card: re.Match[str]) -> bool:
    """ ", RTX 4090": a clause that is nothing but the card names a kind, and leaves open how many."""
    return bool(_OPENS.search(reading.text[: card.start()]) and _CLOSES.match(reading.text, card.end()))


def _total(reading: Reading) -> int | None:
    """How many cards there are, where it is said beside no name: "8 GPUs", "two cards", "one 24 GB card"."""
    gpus = _TIMES_GPUS.search(reading.text) or _TOTAL_GPUS.search(reading.text)
    most = 512 if gpus and ("gpu" in gpus[0] or "gra" in gpus[0]) else 16
    if gpus and 0 < int(gpus["n"]) <= most and not on_run_side(reading, gpus.start()):
        return int(gpus["n"])
    worded = next((n for n in numbers(reading.text, reading.language) if n.worded and _CARDS.match(reading.text[n.end :])), None)
    if worded:
        return int(worded.value) if worded.value >= 1 else None
    one = _ONE_CARD.search(reading.text)
    return 1 if one and not on_run_side(reading, one.start()) else None


def _gpu_id(name: str, memory: str | None) -> str:
    """The catalogue's id where the text determines it; a family that comes in two sizes stays a family until a size is given."""
    name = re.sub(r"^(?=a[2-6]\d{3}$)", "rtx ", name)
    name = re.sub(r"^(?=9[678]0|1[06][5-8]0)", "gtx ", name)
    entry = find_gpu(f"{name} {memory}GB") if memory else find_gpu(name)
    entry = entry or find_gpu(name)
    if entry is None:
        name = re.sub(r"^(?=[2-5]0[5-9]0|a[2-6]\d{3})", "RTX ", name)
        return re.sub(r"\s+", " ", name).upper().replace(" TI", " Ti").replace("SUPER", "Super")
    sized = [g for g in load_catalogue().gpus if g.split("-")[0] == entry.id.split("-")[0]]
    if len(sized) > 1 and "GB" in entry.id and not memory:
        return entry.id.split("-")[0]
    return entry.id


def of_them(text: str, at: int) -> re.Match[str] | None:
    """How many there are of the card whose name ends at `at`: "V100, we have four of them"."""
    return _OF_THEM.match(text, at)


def _count(reading: Reading, start: int, end: int) -> dict[str, int]:
    lead = reading.text[max(0, start - 36) : start]
    if them := of_them(reading.text, end):
        return {"count": _WORDED.get(them["n"]) or int(them["n"])}
    after = _COUNT_AFTER.match(reading.text, end)
    if after and after["one"]:
        return {"count": 1}
    if after and after["worded"]:
        return {"count": _WORDED[after["worded"]]}
    if match := (after or _COUNT_BEFORE.search(lead)):
        count = int(match["n"] or match.groupdict()["counter"])
        return {"count": count} if 0 < count <= 4096 else {}
    for n in reversed(numbers(lead, reading.language)):
        if n.worded and n.value >= 1 and re.fullmatch(_BETWEEN, lead[n.end :]):
            return {"count": int(n.value)}
    return {"count": 1} if _ONE.search(lead) else {}
