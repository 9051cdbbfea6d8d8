"""Edits of who judges answers, by which principles, and what samples them: on the method's tile, or in plain words.

A judge is said as "MODEL", for one of the catalogue's, or "MODEL at URL, key in VARIABLE, for $IN/$OUT"; "own" is the model itself.
A key goes only where it is meant to: one that the catalogue knows to its own host, any other by a variable named JUDGE_….
"""

import re
from decimal import Decimal

from pydantic import Field, ValidationError

from kriptik.catalogue.advice import load_advice, token_price
from kriptik.catalogue.constitution import names
from kriptik.pipeline.edits.text import Ask
from kriptik.pipeline.edits.work import Work
from kriptik.pipeline.endpoint import checked_url, host_of, is_near
from kriptik.pipeline.plan.judging import takes, unfit_for_vllm
from kriptik.pipeline.plan.known import method_title
from kriptik.spec.base import Money, Noun
from kriptik.spec.catalogue import ModelEndpoint
from kriptik.spec.errors import BadInputError
from kriptik.spec.plan import Judge

SETTABLE = ("judge", "principles", "rollouts")
JUDGE_VARIABLE = "JUDGE_"
MOST_LINES, LONGEST_LINE = 32, 500
HOW = 'Say it as "MODEL at https://HOST/v1, key in JUDGE_KEY, for $0.5/$1.5", the prices being dollars for a million tokens.'
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_OWN = re.compile(r"(?:its\s+)?own(?:\s+(?:base|model))?|itself|the\s+model(?:\s+itself)?", re.I)
_WHO = r"(?P<model>[a-z0-9][\w.:/@+-]*)"
_HOW = (
    r"(?:\s+at\s+(?P<url>\w+://[^\s,;]+))?"
    r"(?:\s*,?\s+(?:with\s+)?(?:the\s+|its\s+)?key\s+(?:in\s+|from\s+)?\$?(?P<key_env>[^\s,;]+))?"
    r"(?:\s*,?\s+for\s+\$?(?P<in>\d+(?:\.\d+)?)\s*/\s*\$?(?P<out>\d+(?:\.\d+)?)(?:\s+(?:per|a)\s+million(?:\s+tokens)?)?)?"
)
_TOLD = re.compile(_WHO + _HOW, re.I)
_SAID = tuple(
    re.compile(pattern, re.I)
    for pattern in (
        rf"\b(?:use|take|let|make|have)\s+{_WHO}{_HOW}\s+(?:as|be)\s+(?:the\s+|a\s+|its\s+)?judge\b",
        rf"\b(?:use|take)\s+{_WHO}\s+as\s+(?:the\s+|a\s+|its\s+)?judge\b{_HOW}",
        rf"\bjudge(?:d\s+by|\s*[:=])\s*{_WHO}{_HOW}",
    )
)
_SAID_OWN = re.compile(
    r"\b(?:let|have)\s+(?:the\s+|its\s+own\s+)?(?:base\s+)?model\s+judge(?:\s+itself)?\b"
    r"|\b(?:use|take)\s+(?:itself|the\s+model\s+itself|its\s+own\s+base|the\s+base\s+model)\s+as\s+(?:the\s+|a\s+|its\s+)?judge\b",
    re.I,
)
_ROLLOUTS = re.compile(
    r"\bvllm\s+(?:for|to\s+make)\s+(?:the\s+)?(?:rollouts?|sampling)\b|\b(?:rollouts?|sample\w*|answers)\s+(?:\w+\s+)?"
    r"(?:by|with|from|on|using)\s+(?P<who>vllm|transformers)\b",
    re.I,
)
_PRINCIPLES = re.compile(r"\bprinciples?\s*:\s*(?P<lines>\S.*)", re.I | re.S)


class JudgeGiven(Noun):
    """A judge as a person names it; what is left out is the catalogue's, where it knows the model or the host."""

    model: str = Field(min_length=1, max_length=200, pattern=r"^[!-~]+$")
    url: str | None = None
    key_env: str | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=32_768)
    input_usd_per_million: Money | None = Field(default=None, ge=Decimal(0), le=Decimal(100_000))
    output_usd_per_million: Money | None = Field(default=None, ge=Decimal(0), le=Decimal(100_000))


def read_judging(prompt: str) -> tuple[list[Ask], str]:
    """What a text says of judge, rollouts and principles, and the rest of it. Names and addresses keep their case."""
    asks: list[Ask] = []
    if found := _PRINCIPLES.search(prompt):
        asks.append(Ask("principles", "use", re.split(r"[;\n]", found["lines"]), found[0].strip()))
        prompt = prompt[: found.start()]
    found = _SAID_OWN.search(prompt) or next((one for rule in _SAID if (one := rule.search(prompt)) and _is_judge(one)), None)
    if found:
        asks.append(Ask("judge", "use", _given(found) if found.re is not _SAID_OWN else None, found[0].strip()))
        prompt = f"{prompt[: found.start()]} ; {prompt[found.end() :]}"
    if found := _ROLLOUTS.search(prompt):
        asks.append(Ask("rollouts", "use", (found["who"] or "vllm").lower(), found[0].strip()))
        prompt = f"{prompt[: found.start()]} ; {prompt[found.end() :]}"
    return asks, prompt


def edit_judge(work: Work, ask: Ask, _asks: list[Ask]) -> None:
    _must_take(work, "judge", "has no judge", "rlaif and constitutional_ai have one")
    _settle(work, ask, judge_of(ask.value))


def edit_principles(work: Work, ask: Ask, _asks: list[Ask]) -> None:
    _must_take(work, "principles", "judges by no principles", "rlaif and constitutional_ai do")
    _settle(work, ask, principles_of(ask.value))


def edit_rollouts(work: Work, ask: Ask, _asks: list[Ask]) -> None:
    _must_take(work, "rollouts", "samples no answers to learn from", "grpo, rlvr, rlaif and rlhf_ppo do")
    if ask.value not in ("vllm", "transformers"):
        raise BadInputError("unknown_rollouts", "Nothing of that name samples answers.", "Known: transformers, vllm.")
    if ask.value == "vllm" and unfit_for_vllm(work.choices):
        what = "Rollouts by vLLM take a LoRA on a base in plain weights, in one process."
        raise BadInputError("unfit_for_vllm", what, "Choose LoRA on one GPU first, or let transformers sample the answers.")
    _settle(work, ask, ask.value)


def judge_of(value: object) -> Judge | None:
    """The judge that a person named, with its price; None for the model itself. 422 for one that may not be asked or whose price
    nobody knows. What was sent is never repeated: it may hold a key."""
    if value is None or (isinstance(value, str) and _OWN.fullmatch(value.strip())):
        return None
    if isinstance(value, str):
        told = _TOLD.fullmatch(value.strip())
        if told is None:
            raise BadInputError("bad_judge", "The judge cannot be read.", HOW)
        value = _given(told)
    try:
        given = JudgeGiven.model_validate(value)
    except ValidationError as error:
        wrong = sorted({str(one["loc"][0]) for one in error.errors() if one["loc"] and one["type"] != "extra_forbidden"})
        raise BadInputError("bad_judge", f"The judge cannot be read{': ' + ', '.join(wrong) if wrong else ''}.", HOW) from None
    url = checked_url(given.url) if given.url else _listed_url(given.model)
    house = next((one for one in load_advice().endpoints.values() if host_of(one.url) == host_of(url)), None)
    key_env = given.key_env or (house.key_env if house else None)
    _must_be_meant(key_env, house)
    price_in, price_out, source = _price(given, url, house)
    return Judge(
        model=given.model,
        url=url,
        key_env=key_env,
        max_tokens=given.max_tokens or (house.max_tokens if house else Judge.model_fields["max_tokens"].default),
        input_usd_per_million=price_in,
        output_usd_per_million=price_out,
        price_source=source,
    )


def principles_of(value: object) -> list[str]:
    """Principles out of lines of text or a list of them: sentences, and names of the catalogue's; none: all of the catalogue's."""
    lines = value.splitlines() if isinstance(value, str) else [] if value is None else value
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise _bad_principles()
    found = list(dict.fromkeys(line for one in lines if (line := " ".join(str(one).split()))))
    if len(found) > MOST_LINES or any(len(line) > LONGEST_LINE for line in found):
        raise _bad_principles()
    return found


def _bad_principles() -> BadInputError:
    what = f"Principles are up to {MOST_LINES} lines of text, each of {LONGEST_LINE} characters at most."
    return BadInputError("bad_principles", what, f"Give sentences, or names: {', '.join(names())}.")


def _is_judge(found: re.Match[str]) -> bool:
    """Whether a text names a judge there, and not something that only stands beside the word."""
    return bool(found["url"]) or found["model"] in load_advice().token_prices


def _given(found: re.Match[str]) -> dict[str, str]:
    named = {"model": "model", "url": "url", "key_env": "key_env", "in": "input_usd_per_million", "out": "output_usd_per_million"}
    return {field: found[group] for group, field in named.items() if found[group]}


def _must_take(work: Work, what: str, lacks: str, others: str) -> None:
    if what not in takes(work.choices):
        raise BadInputError(f"no_{what}", f"{method_title(work.choices.method)} {lacks}.", f"Choose another method: {others}.")


def _settle(work: Work, ask: Ask, value: object) -> None:
    """Set, but pinned to nothing: another method may have no use for it."""
    work.set(ask.words, **{ask.axis: value})
    work.picked.add(ask.axis)


def _listed_url(model: str) -> str:
    """Where the catalogue's language models answer."""
    advice = load_advice()
    listed = advice.token_prices.get(model)
    if listed is None or listed.provider not in advice.endpoints:
        known = ", ".join(sorted(name for name, one in advice.token_prices.items() if one.provider in advice.endpoints))
        raise BadInputError("unknown_judge", "It is not known where this model answers.", f"{HOW} Known without address: {known}.")
    return advice.endpoints[listed.provider].url


def _must_be_meant(name: str | None, house: ModelEndpoint | None) -> None:
    """A person names the variable, the server's environment holds the key: no other key in it may go to an address of theirs."""
    if name is None or (house is not None and name == house.key_env):
        return
    if _VARIABLE.fullmatch(name) is None or not name.startswith(JUDGE_VARIABLE):
        what = "A judge's key is named by its environment variable, which begins with JUDGE_; the key itself is never sent here."
        own = f", or name {house.key_env}" if house else ""
        raise BadInputError("bad_judge_key", what, f"Set JUDGE_KEY in the server's environment and name that{own}.")


def _price(given: JudgeGiven, url: str, house: ModelEndpoint | None) -> tuple[Decimal, Decimal, str]:
    """Dollars for a million tokens in and out, and where that is from: the catalogue's for the model, else the person's, else the
    dearest of the host, else nothing in one's own network."""
    price_in, price_out = given.input_usd_per_million, given.output_usd_per_million
    listed = load_advice().token_prices.get(given.model)
    if house is not None and (listed is None or listed.provider != house.id) and (price_in is None or price_out is None):
        listed = token_price(house.id, given.model)
    if house is not None and listed is not None and listed.provider == house.id:
        return listed.input_usd, listed.output_usd, f"listed {listed.observed_on}: {listed.source}"
    if price_in is not None and price_out is not None:
        return price_in, price_out, "as you said"
    if price_in is None and price_out is None and is_near(url):
        return Decimal(0), Decimal(0), "your own network"
    raise BadInputError(
        "judge_price_unknown",
        f"What tokens cost at {host_of(url)} is not known, so that the budget could not keep this judge.",
        "Give its prices in dollars for a million tokens, in and out (inputUsdPerMillion and outputUsdPerMillion, or "
        '"for $0.5/$1.5"); 0 and 0 if asking is free.',
    )
