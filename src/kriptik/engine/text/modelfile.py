"""An Ollama Modelfile that writes a conversation as the trained chat template does.

Ollama's templates are Go's, so the trained one is taken apart into what stands around each turn, by rendering marked
conversations; the parts are then put together again for the fixed conversations and must give the very same text.
"""

import json
from dataclasses import dataclass
from typing import Any

from kriptik.engine.text.chat import render
from kriptik.engine.text.parity import usable
from kriptik.spec.errors import DataError
from kriptik.spec.export import Parity

SYSTEM, USER, ANSWER, AGAIN = "kriptik0mark", "kriptik1mark", "kriptik2mark", "kriptik3mark"
MOST_CONTEXT = 8192
"""Ollama reserves memory for the whole context at the start."""


@dataclass(frozen=True)
class Turns:
    """What a template writes around the content of each role. `bos`: what it begins with and the runner adds by itself."""

    system: tuple[str, str]
    user: tuple[str, str]
    assistant: tuple[str, str]
    ask: str
    """What an answer is to follow; a past answer may have more before it (a space)."""
    default_system: str | None
    bos: str


def take_apart(tokenizer: Any) -> Turns | None:
    """The template's parts; None where it is not made of turns with a fixed text around each."""
    talk = [_turn("system", SYSTEM), _turn("user", USER), _turn("assistant", ANSWER), _turn("user", AGAIN)]
    try:
        plain = render(tokenizer, talk[1:2], 0, ask=True)
        try:
            whole = render(tokenizer, talk, 0, ask=True)
        except DataError:  # no system turn
            whole = render(tokenizer, talk[1:], 0, ask=True)
    except DataError:
        return None
    bos = tokenizer.bos_token or ""
    # A mark that every turn begins with (SmolLM2's) is the template's own, even where the tokenizer calls it BOS.
    bos = bos if bos and plain.startswith(bos) and whole.startswith(bos) and whole.count(bos) == 1 else ""
    plain, whole = plain[len(bos) :], whole[len(bos) :]
    between = _between(whole, [SYSTEM, USER, ANSWER, AGAIN] if SYSTEM in whole else [USER, ANSWER, AGAIN])
    first = plain.split(USER)[0]
    if between is None:
        return None
    *head, user_to_answer, answer_to_user, ask = between
    if not user_to_answer.startswith(ask):
        return None
    after_answer, before_user = _cut(answer_to_user, tokenizer.eos_token, first)
    after_user, ask = _cut(ask, tokenizer.eos_token)
    before_answer = user_to_answer[len(after_user) :]
    if len(head) == 2 and head[1].endswith(before_user):
        system = (head[0], head[1][: len(head[1]) - len(before_user)])
    elif len(head) == 1:
        system = ("", "")
    else:
        return None
    default = None
    if first != before_user:
        lead = first[: len(first) - len(before_user)]
        if not (first.endswith(before_user) and lead.startswith(system[0]) and lead.endswith(system[1])):
            return None
        default = lead[len(system[0]) : len(lead) - len(system[1])]
    return Turns(system, (before_user, after_user), (before_answer, after_answer), ask, default, bos)


def put_together(turns: Turns, messages: list[dict[str, Any]]) -> str:
    """What the Modelfile's template writes for a conversation that ends with a user's turn."""
    if turns.default_system and messages[0]["role"] != "system":
        messages = [_turn("system", turns.default_system), *messages]
    around = {"system": turns.system, "user": turns.user, "assistant": turns.assistant}
    body = "".join(f"{around[m['role']][0]}{m['content']}{around[m['role']][1]}" for m in messages)
    return turns.bos + body + turns.ask


def check(tokenizer: Any, turns: Turns | None) -> Parity:
    """Whether the parts, put together, are the trained template's text on every fixed conversation."""
    talks = usable(tokenizer)
    wrong = len(talks)
    if turns is not None:
        wrong = sum(put_together(turns, messages) != render(tokenizer, messages, 0, ask=True) for messages in talks)
    sentence = f"{len(talks) - wrong} of {len(talks)} conversations have the same text by the Modelfile's template."
    return Parity(name="modelfile", sentence=sentence, measured=wrong, limit=0, passed=wrong == 0)


def write_modelfile(turns: Turns, gguf_name: str, stops: list[str], context: int) -> str:
    """The Modelfile's text."""
    lines = [f"FROM ./{gguf_name}", f'TEMPLATE """{go_template(turns)}"""']
    if turns.default_system:
        lines.append(f"SYSTEM {_quoted(turns.default_system)}")
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in dict.fromkeys(stops)]
    lines.append(f"PARAMETER num_ctx {min(context, MOST_CONTEXT)}")
    return "\n".join(lines) + "\n"


def go_template(turns: Turns) -> str:
    """The same turns in Go's template language; every fixed text is a quoted string, so that none of it is read as template."""
    parts = ["{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}"]
    for number, (role, (before, after)) in enumerate(
        (("system", turns.system), ("user", turns.user), ("assistant", turns.assistant))
    ):
        parts.append(f'{{{{ {"else if" if number else "if"} eq .Role "{role}" }}}}{_text(before)}{{{{ .Content }}}}')
        # An answer that was begun is gone on with: it is not closed.
        parts.append(f"{{{{ if not $last }}}}{_text(after)}{{{{ end }}}}" if role == "assistant" and after else _text(after))
    parts.append('{{ end }}{{ if and $last (ne .Role "assistant") }}' + _text(turns.ask) + "{{ end }}{{ end }}")
    return "".join(parts)


def _turn(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def _between(text: str, marks: list[str]) -> list[str] | None:
    """What stands before, between and behind marks that come once each, in this order."""
    parts = []
    for mark in marks:
        if text.count(mark) != 1:
            return None
        before, text = text.split(mark)
        parts.append(before)
    return [*parts, text]


def _cut(text: str, end: str | None, following: str = "") -> tuple[str, str]:
    """(what ends the one turn, what begins the next): behind the end-of-turn mark and its white space, else before `following`."""
    if not end or end not in text:
        at = len(text) - len(following) if following and text.endswith(following) else 0
        return text[:at], text[at:]
    place = text.rindex(end) + len(end)
    while place < len(text) and text[place].isspace():
        place += 1
    return text[:place], text[place:]


def _text(text: str) -> str:
    return f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}" if text else ""


def _quoted(text: str) -> str:
    return f'"""{text}"""' if "\n" in text or '"' in text else f'"{text}"'
