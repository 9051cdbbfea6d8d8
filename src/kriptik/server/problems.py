"""One shape for every error: RFC 9457 problem+json with a stable code, one sentence and the next step."""

import logging
from collections.abc import Sequence
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import Field, JsonValue, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from kriptik.spec.base import Noun
from kriptik.spec.errors import BadInputError, KriptikError

N = TypeVar("N", bound=Noun)
log = logging.getLogger("kriptik.server")

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 401: "not_signed_in"}


class Problem(Noun):
    """An error as answered, media type application/problem+json."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    next_step: str | None = None
    fields: dict[str, JsonValue] = Field(default_factory=dict)


RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "model": Problem,
        "description": "A problem: code, sentence, next step",
        "content": {"application/problem+json": {}},
    }
}


def install(app: FastAPI) -> None:
    """Makes every error of the app answer as a problem."""
    app.add_exception_handler(KriptikError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _hung_up)
    app.add_exception_handler(Exception, _unexpected)


def checked(kind: type[N], data: object) -> N:
    """A noun from what a person sent in parts; 422 with the fields that are wrong."""
    try:
        return kind.model_validate_json(data) if isinstance(data, bytes) else kind.model_validate(data)
    except ValidationError as error:
        raise refusal(error.errors()) from error


def refusal(errors: Sequence[Any]) -> BadInputError:
    """The 422 of validation errors: names each field once."""
    fields: dict[str, Any] = {}
    for item in errors:
        place = ".".join(str(part) for part in item["loc"] if part not in ("body", "query", "path")) or "body"
        fields[place] = item["msg"].removeprefix("Value error, ")
    place, sentence = next(iter(fields.items()))
    money = any("udget" in name or "Percent" in name or "percent" in sentence.lower() for name, sentence in fields.items())
    return BadInputError(
        "invalid_budget" if money else "invalid_input",
        f"{place}: {sentence}.".replace("..", "."),
        "Correct the named fields and send it again.",
        fields=fields,
    )


def answer(error: KriptikError) -> JSONResponse:
    """The response of an error."""
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    return JSONResponse(error.problem(), error.status, headers, media_type="application/problem+json")


async def _known(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, KriptikError)
    return answer(error)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return answer(refusal(error.errors()))


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, f"http_{error.status_code}")
    response = answer(KriptikError(code, str(error.detail), status=error.status_code))
    response.headers.update(error.headers or {})
    return response


async def _hung_up(_request: Request, _error: Exception) -> JSONResponse:
    """Nobody is there to read it: a worker that was killed, or a lost connection, is no fault of the server's."""
    return answer(KriptikError("cut_off", "The request ended before all of it had come.", "Send it again.", status=400))


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error in %s %s", request.method, request.url.path, exc_info=error)
    return answer(
        KriptikError(
            "unexpected",
            "Something went wrong inside the server; nothing more is known here.",
            "See the server's log, and try again.",
            status=500,
        )
    )
