"""Asking a model behind an OpenAI-compatible endpoint (vLLM, Ollama, llama.cpp, hosted ones)."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from kriptik.spec.errors import KriptikError

TRIES, WAIT_S, TIMEOUT_S = 4, 2.0, 120.0
BUSY = frozenset({408, 409, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers. `url` ends before '/chat/completions'; `key_env` names the environment variable with the key."""

    url: str
    model: str
    key_env: str | None = None


def complete(
    endpoint: Endpoint, messages: Sequence[dict[str, Any]], *, max_tokens: int = 512, temperature: float = 0.0, seed: int = 0
) -> str:
    """The model's answer to a conversation. Tries again while the endpoint is busy. Raises KriptikError `model_not_answering`."""
    key = os.environ.get(endpoint.key_env, "") if endpoint.key_env else ""
    body = {
        "model": endpoint.model,
        "messages": list(messages),
        "max_tokens": max_tokens,
        "temperature": temperature,
        "seed": seed,
    }
    why = ""
    for turn in range(TRIES):
        if turn:
            time.sleep(WAIT_S * 2 ** (turn - 1))
        try:
            answer = httpx.post(
                f"{endpoint.url.rstrip('/')}/chat/completions",
                json=body,
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=TIMEOUT_S,
            )
            if answer.status_code not in BUSY:
                answer.raise_for_status()
                return str(answer.json()["choices"][0]["message"]["content"] or "")
            why = f"status {answer.status_code}"
        except httpx.HTTPStatusError as error:
            raise _silent(endpoint, f"status {error.response.status_code}") from error
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            why = str(error) or type(error).__name__
    raise _silent(endpoint, why)


def _silent(endpoint: Endpoint, why: str) -> KriptikError:
    return KriptikError(
        "model_not_answering",
        f"The model {endpoint.model} does not answer: {why[:200]}.",
        "Check its address, its key and that it is running.",
        status=502,
    )
