"""Which of the ten capabilities is asked for: evidence from artefacts, things and deeds, weighed by the part each plays."""

import re
from dataclasses import dataclass, field
from functools import lru_cache

from kriptik.pipeline.intent.cues import negated
from kriptik.pipeline.intent.learned import Judgement
from kriptik.pipeline.intent.names import Named
from kriptik.pipeline.intent.text import Reading
from kriptik.pipeline.intent.vocabulary import Vocabulary, phrase

CAPABILITIES = (
    "music_generation",
    "video_generation",
    "image_generation",
    "voice_cloning",
    "text_generation",
    "code_generation",
    "chat",
    "embeddings",
    "multimodal",
    "custom",
)
WEIGHT = {"artefact": 4.0, "noun": 2.0, "verb": 1.6, "hint": 0.7}
ROLE = {"output": 1.5, "input": 0.45, None: 1.0}
TARGET = 1.5
"""What something is turned into."""
FIRST = 1.0
"""What stands earlier is likelier the thing asked for."""
BASE_MODEL, BENCHMARK, METHOD = 2.2, 1.6, 1.5
METHODS = {
    "dreambooth": "image_generation",
    "textual_inversion": "image_generation",
    "voice_clone": "voice_cloning",
    "temporal_adaptation": "video_generation",
    "contrastive": "embeddings",
    "cross_modal_alignment": "multimodal",
}
_SOURCE = re.compile(
    r"(?:turn|convert|transform|chang|mak|map|verwandel|convert|transform)\w*\s+(?P<what>[^.;!?]{3,70}?)\s+(?:into|in|en|em)\s"
    r"|(?:给|把|将)(?P<what2>[^,.]{2,20}?)(?:转|变|生成)"
)
"""What is turned into something else is given, not made."""
ENOUGH = 0.6
"""Less evidence than this is none."""
CUE, MOST = 1.5, 8.0
"""What a unit of evidence from cue words adds to the log probability of the learned models; the most evidence that counts."""
MANY = 60
"""Cue words of a text that are weighed."""
SURE = -1.2
"""Log probability that the learned models must give a capability for which no cue word speaks."""


@dataclass
class Evidence:
    """Scores by capability, and what was seen. `judgement`: the learned models' view, which also knows "no" and "ask"."""

    judgement: Judgement
    scores: dict[str, float] = field(default_factory=dict)
    seen: list[tuple[str, str, str, str | None]] = field(default_factory=list)

    def add(self, capability: str, weight: float, what: str, kind: str, role: str | None = None) -> None:
        self.scores[capability] = self.scores.get(capability, 0.0) + weight
        self.seen.append((capability, kind, what, role))

    def best(self) -> str | None:
        """The capability with most evidence, cue words and learned model together; None where there is too little."""
        top = max(CAPABILITIES, key=self._sum)
        return top if self.known >= ENOUGH or self._learned(top) >= max(SURE, self._learned("ask")) else None

    @property
    def known(self) -> float:
        """The most that cue words alone say for any capability."""
        return max(self.scores.values(), default=0.0)

    def _sum(self, capability: str) -> float:
        return CUE * min(self.scores.get(capability, 0.0), MOST) + self._learned(capability)

    def _learned(self, name: str) -> float:
        return (self.judgement.grams[name] + self.judgement.net[name]) / 2


@dataclass(frozen=True)
class _Mark:
    start: int
    end: int
    capability: str
    kind: str


def weigh(reading: Reading, named: Named, methods: list[str], judgement: Judgement) -> Evidence:
    """All evidence in a request."""
    evidence = Evidence(judgement)
    text = list(reading.text)
    for start, end in named.spans:
        text[start:end] = "·" * (end - start)
    blanked = reading.words.rx("mask.misleading").sub(lambda m: "·" * len(m[0]), "".join(text))
    negations = _negated(reading, blanked)
    counted: dict[tuple[str, str], int] = {}
    sources = [m.span("what") if m["what"] else m.span("what2") for m in _SOURCE.finditer(blanked)]
    marks = _marks(blanked, reading.words)
    taken_back = _taken_back(blanked, marks)
    for mark in marks:
        if any(a <= mark.start < b for a, b in negations):
            continue
        role = _role(blanked, mark, reading.words) if mark.kind == "noun" else None
        repeats = counted[mark.capability, mark.kind] = counted.get((mark.capability, mark.kind), 0) + 1
        weight = WEIGHT[mark.kind] * ROLE[role] / repeats
        if mark.end <= taken_back:
            weight *= 0.3
        if any(a <= mark.start and mark.end <= b for a, b in sources):
            weight *= 0.3
        elif mark.kind != "hint" and any(b <= mark.start < b + 40 for _, b in sources):
            weight += TARGET
        elif mark.kind in ("artefact", "noun") and not evidence.seen:
            weight += FIRST
        evidence.add(mark.capability, weight, blanked[mark.start : mark.end], mark.kind, role)
    if named.base_capability:
        evidence.add(
            named.base_capability, BASE_MODEL if named.base_capability != "text_generation" else 1.0, str(named.base), "base"
        )
    if named.benchmark_capability:
        evidence.add(
            named.benchmark_capability,
            BENCHMARK if named.benchmark_capability != "text_generation" else 0.8,
            str(named.benchmark),
            "benchmark",
        )
    for method in methods:
        if method in METHODS:
            evidence.add(METHODS[method], METHOD, method, "method")
    return evidence


_MEANT = re.compile(
    r"(?<![a-z])(?:but |i )?(?:mean|meant)(?![a-z])|no,? wait|scratch that|actually,? no"
    r"|strike that|nein,? warte|ich meine|digo|je veux dire|quer dizer|じゃなくて|ではなく|不对"
    r"|哦不|मतलब"
)


def _taken_back(text: str, marks: list[_Mark]) -> int:
    """Up to where the text was corrected, if what follows names a thing again; 0 if not."""
    last = max((m for m in _MEANT.finditer(text)), key=lambda m: m.start(), default=None)
    return last.start() if last and any(m.start >= last.end() and m.kind in ("artefact", "noun") for m in marks) else 0


def _marks(text: str, words: Vocabulary) -> list[_Mark]:
    """Cues of every capability and kind; of overlapping ones the longest stays."""
    found = [
        _Mark(m.start(), m.end(), capability, kind)
        for kind in WEIGHT
        for capability in CAPABILITIES
        for m in words.rx(f"capability.{capability}.{kind}").finditer(text)
        if m.end() > m.start()
    ]
    order = list(WEIGHT)
    found.sort(key=lambda m: (-(m.end - m.start), order.index(m.kind)))
    kept: list[_Mark] = []
    for mark in found:
        if all(mark.end <= k.start or mark.start >= k.end for k in kept):
            kept.append(mark)
    return sorted(kept, key=lambda m: m.start)[:MANY]


def _role(text: str, mark: _Mark, words: Vocabulary) -> str | None:
    after = text[mark.end : mark.end + 24].lstrip(" -")
    before = text[max(0, mark.start - 32) : mark.start]
    if words.rx("role.output_after").match(after):
        return "output"
    if words.rx("role.input_after").match(after):
        return "input"
    out, into = (_last(before, words, f"role.{r}_before") for r in ("output", "input"))
    if out < 0 and into < 0:
        return None
    return "output" if out >= into else "input"


def _last(before: str, words: Vocabulary, key: str) -> int:
    """Where the last cue of the list begins in the words before, at most four words back; -1 if there is none."""
    ends = [
        m.start()
        for m in words.rx(key).finditer(before)
        if len(before[m.end() :].split()) <= 3 and not re.search(r"[,;.]", before[m.end() :])
    ]
    return ends[-1] if ends else -1


@lru_cache(maxsize=32)
def _negation_pattern(entries: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(phrase(e) for e in sorted(entries, key=len, reverse=True)))


def _negated(reading: Reading, text: str) -> list[tuple[int, int]]:
    """Stretches under "not a …": up to the next comma, "but" or end of the sentence, at most five words."""
    found = []
    for match in reading.words.rx("negation.capability").finditer(text):
        rest = re.match(r"(?:(?!-\s)[^\s,.;!?:—]+\s*){1,5}", text[match.end() :].lstrip()) if match.end() < len(text) else None
        if rest:
            stop = reading.words.rx("negation.stop").search(rest[0])
            found.append((match.start(), match.end() + 1 + (stop.start() if stop else len(rest[0]))))
    return found


_PLAIN = {
    "video_generation": re.compile(r"\bvideo models?\b"),
    "image_generation": re.compile(r"\b(?:image|picture) models?\b"),
    "music_generation": re.compile(r"\bmusic models?\b"),
    "voice_cloning": re.compile(r"\bvoice models?\b"),
    "code_generation": re.compile(r"\b(?:code|coding) models?\b"),
    "text_generation": re.compile(r"\btext models?\b"),
    "chat": re.compile(r"\bchat models?\b"),
    "embeddings": re.compile(r"\bembeddings? models?\b"),
}


def plainly(reading: Reading) -> str | None:
    """The one kind of model that is asked for by its plain name ("a video model"), where nothing else tells the capability."""
    said = [
        name
        for name, pattern in _PLAIN.items()
        if any(not negated(reading, m.start(), m.end()) for m in pattern.finditer(reading.text))
    ]
    return said[0] if len(said) == 1 else None
