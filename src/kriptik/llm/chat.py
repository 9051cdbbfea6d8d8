"""Asking a model behind an OpenAI-compatible endpoint (vLLM, Ollama, llama.cpp, hosted ones; Anthropic has one for Claude).

What is paid for goes through a purse: `charge` says so, once in a process, before anything is asked.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from kriptik.llm.purse import OVERHEAD_TOKENS, Prices, Purse
from kriptik.spec.errors import KriptikError
from kriptik.spec.llm import Usage

TRIES, WAIT_S, TIMEOUT_S = 4, 2.0, 120.0
BUSY = frozenset({408, 409, 429, 500, 502, 503, 504})
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAY_REFUSE = ("temperature", "seed")
"""Settings that some models do not take: Claude from Opus 4.7 on answers 400 to a temperature. They are asked without."""


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers. `url` ends before '/chat/completions'; `key_env` names the environment variable with the key."""

    url: str
    model: str
    key_env: str | None = None


_CHARGED: dict[Endpoint, tuple[Prices, Purse]] = {}
_REFUSED: dict[Endpoint, set[str]] = {}
"""What of `MAY_REFUSE` an endpoint has refused to this process."""


def charge(endpoint: Endpoint, prices: Prices, purse: Purse) -> None:
    """From here on every call of this endpoint is set aside and settled in the purse."""
    _CHARGED[endpoint] = prices, purse


def complete(
    endpoint: Endpoint, messages: Sequence[dict[str, Any]], *, max_tokens: int = 512, temperature: float = 0.0, seed: int = 0
) -> str:
    """The model's answer to a conversation. Tries again while the endpoint is busy. Raises KriptikError `model_not_answering`, or
    what the purse says to a call that could pass its cap."""
    asked: dict[str, Any] = {"model": endpoint.model, "messages": list(messages), "max_tokens": max_tokens}
    why, pause = "", 0.0
    for turn in range(TRIES):
        time.sleep(pause)
        pause = WAIT_S * 2**turn
        taken = {"temperature": temperature, "seed": seed}
        body = asked | {name: one for name, one in taken.items() if name not in _REFUSED.get(endpoint, ())}
        answer, why = _paid_for(endpoint, body)
        if answer is None or answer.status_code in BUSY:
            continue
        if answer.status_code == 400 and (refused := {name for name in MAY_REFUSE if name in body and name in answer.text}):
            _REFUSED.setdefault(endpoint, set()).update(refused)
            pause = 0.0
            continue
        if answer.status_code != 200:
            raise _silent(endpoint, why)
        try:
            return str(answer.json()["choices"][0]["message"]["content"] or "")
        except (ValueError, LookupError, TypeError) as error:
            why = str(error) or type(error).__name__
    raise _silent(endpoint, why)


def _paid_for(endpoint: Endpoint, body: dict[str, Any]) -> tuple[httpx.Response | None, str]:
    """One call: its answer, if there was one, and what went wrong. A call of which nobody knows what it used costs the most."""
    if endpoint not in _CHARGED:
        return _post(endpoint, body)[:2]
    prices, purse = _CHARGED[endpoint]
    most = prices.cost(Usage(len(str(body).encode()) + OVERHEAD_TOKENS, int(body["max_tokens"])))
    call = purse.set_aside(most, endpoint.model)
    answer, why, sent = _post(endpoint, body)
    usage, turned_away = _usage(answer), answer is not None and 400 <= answer.status_code < 500
    known = usage != Usage() or turned_away or not sent
    purse.settle(call, prices.cost(usage) if known else most, usage)
    return answer, why


def _post(endpoint: Endpoint, body: dict[str, Any]) -> tuple[httpx.Response | None, str, bool]:
    """(the answer, why there is none or no good one, whether the question may have arrived)."""
    key = os.environ.get(endpoint.key_env, "").strip() if endpoint.key_env else ""
    try:
        answer = httpx.post(
            f"{endpoint.url.rstrip('/')}/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=TIMEOUT_S,
            trust_env=urlsplit(endpoint.url).hostname not in LOOPBACK,
        )
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL) as error:
        return None, str(error) or type(error).__name__, False
    except (httpx.HTTPError, ValueError) as error:  # its words may hold a header, and so the key
        return None, type(error).__name__, True
    return answer, f"status {answer.status_code}", True


def _usage(answer: httpx.Response | None) -> Usage:
    """What a good answer says that it used; nothing where there is none or it does not say."""
    try:
        used = answer.json()["usage"] if answer is not None and answer.status_code == 200 else {}
        return Usage(int(used.get("prompt_tokens") or 0), int(used.get("completion_tokens") or 0))
    except (ValueError, LookupError, TypeError, AttributeError):
        return Usage()


def _silent(endpoint: Endpoint, why: str) -> KriptikError:
    return KriptikError(
        "model_not_answering",
        f"The model {endpoint.model} does not answer: {why[:200]}.",
        "Check its address, its key and that it is running.",
        status=502,
    )
