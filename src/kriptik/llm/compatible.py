"""Any OpenAI-compatible endpoint (Ollama, vLLM, llama.cpp, hosted ones), asked for JSON of a given shape."""

import time
from dataclasses import dataclass
from typing import Any

import httpx

from kriptik.spec.llm import Answer, NoAnswerError, Usage

MOST_BYTES = 2_000_000
"""Of an answer no more than this is read."""


@dataclass(frozen=True)
class Compatible:
    """`url` ends before "/chat/completions"; `timeout_s` bounds the whole call."""

    model: str
    url: str
    key: str = ""
    most_output: int = 8192
    timeout_s: float = 120.0

    def ask(self, system: str, user: str, schema: dict[str, Any]) -> Answer:
        """One answer, without a second try."""
        body = {
            "model": self.model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "max_tokens": self.most_output,
            "temperature": 0,
            "response_format": {"type": "json_schema", "json_schema": {"name": "intent", "strict": True, "schema": schema}},
        }
        ends = time.monotonic() + self.timeout_s
        raw = bytearray()
        try:
            with httpx.stream(
                "POST",
                f"{self.url.rstrip('/')}/chat/completions",
                json=body,
                headers={"Authorization": f"Bearer {self.key}"} if self.key else {},
                timeout=self.timeout_s,
            ) as answer:
                for piece in answer.iter_bytes():
                    raw += piece
                    if time.monotonic() > ends or len(raw) > MOST_BYTES:
                        raise _silent("the answer is too slow or too long")
                if answer.status_code != 200:
                    raise _silent(f"status {answer.status_code}", billed=answer.status_code >= 500)
            return _read(httpx.Response(200, content=bytes(raw)).json())
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL) as error:
            raise _silent("it cannot be reached", billed=False) from error
        except httpx.TimeoutException as error:
            raise _silent(f"it took longer than {self.timeout_s:g} s") from error
        except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise _silent(type(error).__name__) from error


def _read(body: Any) -> Answer:
    choice, used = body["choices"][0], body.get("usage") or {}
    details = used.get("completion_tokens_details") or {}
    usage = Usage(
        int(used.get("prompt_tokens") or 0), int(used.get("completion_tokens") or 0), int(details.get("reasoning_tokens") or 0)
    )
    if choice["message"].get("refusal") or choice.get("finish_reason") not in ("stop", None):
        raise NoAnswerError("model_no_answer", f"The model ended with {choice.get('finish_reason')}.", usage=usage)
    return Answer(str(choice["message"].get("content") or ""), usage)


def _silent(why: str, *, billed: bool = True) -> NoAnswerError:
    return NoAnswerError(
        "model_not_answering", f"The model gave no answer: {why}.", "Check its address and that it is running.", billed=billed
    )
