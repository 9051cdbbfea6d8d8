"""Personal data in training texts: found by pattern, confirmed by python-stdnum and phonenumbers, and masked where asked."""

import ipaddress
import re
from collections.abc import Callable

import phonenumbers
from stdnum import iban, luhn
from stdnum.es import dni
from stdnum.fi import hetu
from stdnum.fr import nir
from stdnum.it import codicefiscale
from stdnum.se import personnummer
from stdnum.us import ssn


def _card(found: str) -> bool:
    digits = re.sub(r"\D", "", found)
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn.is_valid(digits)


def _phone(found: str) -> bool:
    return 8 <= len(re.sub(r"\D", "", found)) <= 15


def _international(found: str) -> int:
    """How much of it is a number: other figures may follow. The longest that is in use somewhere, else that could be."""
    ends = [len(found), *(at.start() for at in re.finditer(r"[ ()-]", found))]
    possible = 0
    for end in sorted(ends, reverse=True):
        try:
            number = phonenumbers.parse(found[:end])
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return end
        if phonenumbers.is_possible_number(number):
            possible = max(possible, end)
    return possible


def _address(found: str) -> bool:
    try:
        return ipaddress.ip_address(found).is_global
    except ValueError:
        return False


_NUMBERS = re.compile(r"\d[\d ().+A/-]{5,}\d|[A-Z]{2}\d{2} ?[A-Z0-9]{4}|[A-Z]{6}\d{2}")
"""Something that could be one of the numbers below; without it none of them is looked for."""
_CARD = re.compile(
    r"(?<![\w.,-])(?:\d{4}([ -])\d{4}\1\d{4}\1\d{4}|3\d{3}([ -])\d{6}\2\d{5}|[3-6]\d{14,15})(?![\w-])(?!\.\d)"
)
"""Cards have 15 or 16 digits here, grouped as they are printed or not at all; a number in a sum is none."""
KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], int]], ...] = (
    ("email", re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+\b"), lambda _: True),
    ("iban", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), iban.is_valid),
    ("card", _CARD, _card),
    ("personal number", re.compile(r"\b(?:19|20)?\d{6}[-+]\d{4}\b"), personnummer.is_valid),
    ("personal number", re.compile(r"\b\d{6}[-+A]\d{3}[0-9A-Y]\b"), hetu.is_valid),
    ("personal number", re.compile(r"\b[12] ?\d{2} ?\d{2} ?\d{2} ?\d{3} ?\d{3} ?\d{2}\b"), nir.is_valid),
    ("personal number", re.compile(r"\b[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z]\b"), codicefiscale.is_valid),
    ("personal number", re.compile(r"\b\d{8}-?[A-Z]\b"), dni.is_valid),
    ("personal number", re.compile(r"\b(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}\b"), ssn.is_valid),
    ("phone", re.compile(r"(?<![\w.])\+\d[\d ()\-]{6,20}\d\b"), _international),
    ("phone", re.compile(r"(?<![\w.,+-])(?<!\d )0[1-9]\d{0,2}[ /-]\d{2,4}(?:[ -]?\d{2,4}){1,3}\b"), _phone),
    ("phone", re.compile(r"(?<![\w.,+-])(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}\b"), _phone),
    ("ip address", re.compile(r"(?<![\w.-])(?<!version )(?<!v)\d{1,3}(?:\.\d{1,3}){3}(?![\w.-]*\d)"), _address),
)
"""Name, pattern, check; the first that takes a place wins it. A check says whether it is one, or how much of it from the start."""


def mask(text: str) -> tuple[str, list[str]]:
    """The text with what is personal replaced by [email], [phone] …, and the kinds found."""
    kinds: list[str] = []
    numbers = _NUMBERS.search(text) is not None
    for kind, pattern, check in KINDS:
        if (kind == "email" and "@" not in text) or (kind != "email" and not numbers):
            continue

        def put(found: re.Match[str], kind: str = kind, check: Callable[[str], int] = check) -> str:
            much = check(found.group())
            if not much:
                return found.group()
            kinds.append(kind)
            return f"[{kind}]" + ("" if much is True else found.group()[much:])

        text = pattern.sub(put, text)
    return text, kinds


def kinds_in(text: str) -> list[str]:
    """The kinds of personal data in a text; quick where there is none."""
    if "@" not in text and not _NUMBERS.search(text):
        return []
    return mask(text)[1]
