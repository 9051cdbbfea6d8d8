"""What every noun shares: camelCase on the wire, decimal money, sortable ids, UTC time."""

import sys
import time
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel
from ulid import ULID

MONEY_LIMIT = Decimal("1e9")


def _to_money(value: Any) -> Decimal:
    """Exact decimal from a number or text; refuses NaN, infinities and sums no training run reaches."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("money must be a number")
    try:
        amount = Decimal(str(value))
    except InvalidOperation as error:
        raise ValueError("money must be a number") from error
    if not amount.is_finite() or abs(amount) > MONEY_LIMIT:
        raise ValueError(f"money must be a finite number below {MONEY_LIMIT:,.0f}")
    return amount


Money = Annotated[
    Decimal,
    BeforeValidator(_to_money),
    PlainSerializer(float, return_type=float, when_used="json"),
    WithJsonSchema({"type": "number", "description": "decimal US dollars"}),
]
"""US dollars. A `Decimal` in Python, a number on the wire; floats enter through their shortest text."""


class Noun(BaseModel):
    """Base of every noun: snake_case in Python, camelCase on the wire, unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", validate_default=True, ser_json_inf_nan="null"
    )

    def wire(self) -> dict[str, Any]:
        """The JSON-ready dictionary as it goes over the wire; fields that are None are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def document(self) -> dict[str, Any]:
        """The JSON-ready dictionary to keep: nothing is left out, so that it reads back as the same noun."""
        return self.model_dump(mode="json", by_alias=True)


def new_id() -> str:
    """A ULID: 26 characters that sort by time of creation."""
    return str(ULID())


def utc_now() -> datetime:
    """Now, in UTC, with its zone."""
    return datetime.now(UTC)


def boot_clock() -> float:
    """Seconds that include sleep and never jump: CLOCK_BOOTTIME, or what a macOS kernel calls CLOCK_MONOTONIC."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.clock_gettime(time.CLOCK_MONOTONIC)
