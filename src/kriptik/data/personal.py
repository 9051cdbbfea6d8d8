"""Personal data in training texts: found by pattern and check digits, counted, and masked where asked."""

import re
from collections.abc import Callable

from kriptik.spec.data import Row


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed([int(d) for d in digits if d.isdigit()])):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def _card(found: str) -> bool:
    digits = re.sub(r"\D", "", found)
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and _luhn(digits)


def _phone(found: str) -> bool:
    return 8 <= len(re.sub(r"\D", "", found)) <= 15


def _iban(found: str) -> bool:
    flat = re.sub(r"\s", "", found)
    number = "".join(str(int(c, 36)) for c in flat[4:] + flat[:4])
    return 15 <= len(flat) <= 34 and int(number) % 97 == 1


def _swedish(found: str) -> bool:
    """Personnummer: month and day possible, Luhn over the last ten digits."""
    digits = re.sub(r"\D", "", found)[-10:]
    return 1 <= int(digits[2:4]) <= 12 and 1 <= int(digits[4:6]) <= 31 and _luhn(digits)


FEWEST_DIGITS = 8
"""No number that is looked for is shorter."""

KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("email", re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+\b"), lambda _: True),
    ("iban", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), _iban),
    ("card", re.compile(r"\b\d(?:[ -]?\d){12,18}\b"), _card),
    ("personal number", re.compile(r"\b(?:19|20)?\d{6}[-+]\d{4}\b"), _swedish),
    ("personal number", re.compile(r"\b(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}\b"), lambda _: True),
    ("phone", re.compile(r"(?<![\w.])\+\d[\d ()\-]{6,17}\d\b"), _phone),
    ("phone", re.compile(r"(?<![\w.,+-])(?<!\d )0[1-9]\d{0,2}[ /-]\d{2,4}(?:[ -]?\d{2,4}){1,3}\b"), _phone),
)
"""Name, pattern, check; the first that takes a place wins it."""


def mask(text: str) -> tuple[str, list[str]]:
    """The text with what is personal replaced by [email], [phone] …, and the kinds found."""
    kinds: list[str] = []
    digits = sum(map(text.count, "0123456789"))
    for kind, pattern, check in KINDS:
        if (kind == "email" and "@" not in text) or (kind != "email" and digits < FEWEST_DIGITS):
            continue

        def put(found: re.Match[str], kind: str = kind, check: Callable[[str], bool] = check) -> str:
            if not check(found.group()):
                return found.group()
            kinds.append(kind)
            return f"[{kind}]"

        text = pattern.sub(put, text)
    return text, kinds


CHECKS = frozenset({"tests", "schema", "pattern", "task"})
"""Parts of a row that are no text for people: masking would break them."""


def mask_row(row: Row) -> tuple[Row, list[str]]:
    """A row with every text of it masked, and the kinds found."""
    kinds: list[str] = []

    def masked(value: str) -> str:
        text, found = mask(value)
        kinds.extend(found)
        return text

    made: Row = {}
    for part, value in row.items():
        if isinstance(value, list) and part not in CHECKS:
            made[part] = [masked(one) if isinstance(one, str) else {**one, "content": masked(one["content"])} for one in value]
        else:
            made[part] = masked(value) if isinstance(value, str) and part not in CHECKS else value
    return made, kinds
