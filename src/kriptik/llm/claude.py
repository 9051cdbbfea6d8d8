"""Claude through Anthropic's SDK: extended thinking, structured output; streamed, so that a long thought is no silence."""

import time
from dataclasses import dataclass
from typing import Any

from kriptik.spec.llm import Answer, NoAnswerError, Usage

ANSWER_TOKENS = 4096
"""For the answer itself, beyond the thinking."""


@dataclass(frozen=True)
class Claude:
    """`thinking_tokens` is the budget for thinking, 0 lets the model choose; `timeout_s` bounds the whole call."""

    model: str
    key: str
    url: str | None = None
    thinking_tokens: int = 64_000
    timeout_s: float = 120.0

    @property
    def most_output(self) -> int:
        """The most tokens that one answer may hold, thinking included."""
        return (self.thinking_tokens or 32_000) + ANSWER_TOKENS

    def ask(self, system: str, user: str, schema: dict[str, Any]) -> Answer:
        """One answer in the schema's shape. The SDK's own retries are off: a second try is a second bill."""
        import anthropic

        if not self.key:
            raise NoAnswerError("no_model_key", "There is no key for Claude.", "Set ANTHROPIC_API_KEY.", billed=False)
        client = anthropic.Anthropic(api_key=self.key, base_url=self.url, timeout=self.timeout_s, max_retries=0)
        ends = time.monotonic() + self.timeout_s
        budget = self.thinking_tokens
        try:
            with client.messages.stream(
                model=self.model,
                max_tokens=self.most_output,
                thinking={"type": "enabled", "budget_tokens": budget} if budget else {"type": "adaptive"},
                output_config={"format": {"type": "json_schema", "schema": schema}},
                system=system,
                messages=[{"role": "user", "content": user}],
            ) as stream:
                for _ in stream:
                    if time.monotonic() > ends:
                        raise _silent(f"it took longer than {self.timeout_s:g} s")
                final = stream.get_final_message()
        except anthropic.APITimeoutError as error:
            raise _silent(f"it took longer than {self.timeout_s:g} s") from error
        except anthropic.APIStatusError as error:
            raise _silent(f"status {error.status_code}", billed=error.status_code >= 500) from error
        except (anthropic.AnthropicError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
            raise _silent(type(error).__name__) from error
        details = final.usage.output_tokens_details
        usage = Usage(final.usage.input_tokens, final.usage.output_tokens, details.thinking_tokens if details else 0)
        if final.stop_reason not in ("end_turn", "stop_sequence"):
            raise NoAnswerError("model_no_answer", f"The model ended with {final.stop_reason}.", usage=usage)
        return Answer("".join(block.text for block in final.content if block.type == "text"), usage)


def _silent(why: str, *, billed: bool = True) -> NoAnswerError:
    return NoAnswerError(
        "model_not_answering", f"The model gave no answer: {why}.", "Check its address and its key.", billed=billed
    )
