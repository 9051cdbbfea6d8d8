"""Base models on the Hugging Face hub: whether an id exists, under which licence, and whether this token may download it.

Source: the hub's API (/api/models/…, /api/models/…/auth-check, as `HfApi.model_info` and `HfApi.auth_check` ask it).
"""

import re
from typing import Any

import httpx

from kriptik.data.search.http import TIMEOUT_S, SearchError
from kriptik.data.search.hub import Hub, licence_of
from kriptik.spec.search import ModelCheck

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
MOST_BYTES = 8 << 20
WAIT = httpx.Timeout(TIMEOUT_S, connect=3.0)
"""A machine without network is told so soon."""
MOVED = frozenset({301, 302, 307, 308})


def check_model(hub: Hub, model_id: str) -> ModelCheck:
    """What the hub says of a base model. Raises SearchError where it cannot be asked or answers nothing that can be read."""
    if not NAME.fullmatch(model_id):
        return ModelCheck(id=model_id, status="not_asked", sentence=f"{model_id} is no id of the hub.")
    answer = _ask(hub, f"/api/models/{model_id}")
    if answer.status_code in MOVED:
        now = answer.headers.get("location", "").rpartition("/api/models/")[2].split("?")[0]
        if not NAME.fullmatch(now):
            raise _unreadable(hub)
        return _found(hub, now, _ask(hub, f"/api/models/{now}"), f"The hub calls {model_id} {now} now. ")
    return _found(hub, model_id, answer, "")


def _found(hub: Hub, model_id: str, answer: httpx.Response, before: str) -> ModelCheck:
    if answer.status_code in (401, 403, 404):
        told = "an unknown or private model" if not hub.token else "no model that this token may see"
        sentence = f"{before}The hub says that {model_id} is {told}."
        return ModelCheck(id=model_id, status="missing", sentence=sentence, next_step="Check the id, and HF_TOKEN.")
    about = _read(hub, answer)
    gated = about.get("gated") not in (False, None)
    facts: dict[str, Any] = {
        "id": model_id,
        "revision": str(about["sha"]),
        "licence": licence_of(about),
        "gated": gated,
        "url": f"{hub.endpoint}/{model_id}",
    }
    if not gated and not about.get("private"):
        return ModelCheck(status="open", sentence=f"{before}It is on the hub and open to everybody.", **facts)
    allowed = _ask(hub, f"/api/models/{model_id}/auth-check").status_code
    if allowed == 200:
        return ModelCheck(status="granted", sentence=f"{before}It is on the hub, and your token may download it.", **facts)
    if allowed not in (401, 403, 404):
        raise _unreadable(hub, allowed)
    sentence = f"{before}The hub asks to accept the terms of {model_id} first."
    if not hub.token:
        return ModelCheck(status="gated", sentence=sentence, next_step="Accept them on its page, then set HF_TOKEN.", **facts)
    step = "Accept them on its page with the account of this token, and wait where its owner decides."
    return ModelCheck(status="gated", sentence=f"{sentence} Your token has no access yet.", next_step=step, **facts)


def _ask(hub: Hub, path: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {hub.token}"} if hub.token else {}
    try:
        with httpx.stream("GET", f"{hub.endpoint}{path}", headers=headers, timeout=WAIT) as answer:
            raw = bytearray()
            for piece in answer.iter_bytes():
                raw += piece
                if len(raw) > MOST_BYTES:
                    raise _unreadable(hub)
            return httpx.Response(answer.status_code, headers=_plain(answer), content=bytes(raw))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SearchError("hub_not_answering", f"The hub cannot be asked: {type(error).__name__}.", "Try again later.") from error


def _plain(answer: httpx.Response) -> dict[str, str]:
    """The headers that matter: the body was decoded already."""
    return {"location": answer.headers["location"]} if "location" in answer.headers else {}


def _read(hub: Hub, answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code != 200:
        raise _unreadable(hub, answer.status_code)
    try:
        about = answer.json()
    except (ValueError, RecursionError) as error:
        raise _unreadable(hub) from error
    if not isinstance(about, dict) or not re.fullmatch(r"[0-9a-f]{40,64}", str(about.get("sha"))):
        raise _unreadable(hub)
    return about


def _unreadable(hub: Hub, status: int | None = None) -> SearchError:
    why = f"status {status}" if status else "nothing that can be read"
    return SearchError("hub_not_answering", f"{httpx.URL(hub.endpoint).host} answered {why}.", "Try again later.")
