"""Every error a person can meet: a stable code, one sentence, the next step.

A new kind: subclass `KriptikError` when callers must tell it apart, else raise the base with a new code.
"""

from typing import Any


class KriptikError(Exception):
    """An error meant for a person. `status` is the HTTP status the API answers with."""

    status = 400

    def __init__(
        self, code: str, sentence: str, next_step: str = "", *, status: int | None = None, fields: dict[str, Any] | None = None
    ) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.next_step = next_step
        self.fields = fields or {}
        if status is not None:
            self.status = status

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.code, self.sentence, self.next_step, self.status, self.fields))

    def problem(self) -> dict[str, Any]:
        """RFC 9457 problem body: type, title, status, detail, code, nextStep and any offending fields."""
        body: dict[str, Any] = {
            "type": f"urn:kriptik:{self.code}",
            "title": self.code.replace("_", " ").capitalize(),
            "status": self.status,
            "detail": self.sentence,
            "code": self.code,
        }
        if self.next_step:
            body["nextStep"] = self.next_step
        if self.fields:
            body["fields"] = self.fields
        return body


class BadInputError(KriptikError):
    """What was sent cannot be used; nothing was changed."""

    status = 422


class NotFoundError(KriptikError):
    """No such thing, or not yours."""

    status = 404


class ConflictError(KriptikError):
    """The thing exists but its state does not allow this now."""

    status = 409


class DataError(BadInputError):
    """A data file cannot be used; `fields` names row and column where known."""


class BudgetError(KriptikError):
    """The money asked for is not allowed or not there."""

    status = 422


class WorkerError(KriptikError):
    """The training process failed; the run keeps its last checkpoint."""

    status = 500


def _rebuild(
    kind: type[KriptikError], code: str, sentence: str, next_step: str, status: int, fields: dict[str, Any]
) -> KriptikError:
    return kind(code, sentence, next_step, status=status, fields=fields)
