"""Pushing an export to the Hugging Face hub: one repository, one commit. The token comes by HF_TOKEN and is never written down."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kriptik.spec.errors import WorkerError
from kriptik.spec.export import HubTarget

TIMEOUT_S = 60.0
FRESH = frozenset({".gitattributes", "README.md"})
"""Files that a repository may have that nothing was put into yet."""
REFUSALS = {
    401: ("hub_refused", "The hub does not accept this token.", "Set HF_TOKEN to a token with write access, then start again."),
    403: ("hub_refused", "This token may not write there.", "Use a token with write access to that owner, or another owner."),
    404: ("hub_refused", "The hub knows no such owner, or this token may not see it.", "Check the owner's name and HF_TOKEN."),
    409: ("hub_conflict", "Somebody else changed the repository meanwhile.", "Look at the repository, then export again."),
    413: ("hub_full", "The hub does not take so much.", "Export fewer forms, or a smaller type."),
    429: ("hub_busy", "The hub asks to wait: too many requests.", "Try again in some minutes."),
}


def push(files: Mapping[str, Path], target: HubTarget) -> str:
    """Puts files (path in the repository → file) into a new repository; returns its address.

    Raises WorkerError: no token, refused, the repository has files already, the hub away or too slow.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, set_client_factory

    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        raise WorkerError("hub_token_missing", "There is no hub token (HF_TOKEN).", "Set HF_TOKEN for the server, then retry.")
    set_client_factory(_client)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token)
    try:
        _create(api, target)
        operations = [CommitOperationAdd(name, file) for name, file in sorted(files.items())]
        api.create_commit(target.repo_id, operations, commit_message="Export by KripTik")
    except (*_errors(), OSError, ValueError, RuntimeError) as error:
        if isinstance(error, WorkerError):
            raise
        raise _told(error, target, token) from None  # the cause may quote headers
    return f"{api.endpoint.rstrip('/')}/{target.repo_id}"


def _create(api: Any, target: HubTarget) -> None:
    """Makes the repository; one that is there is taken only while nothing was put into it (an earlier push that failed)."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api.create_repo(target.repo_id, private=target.private, exist_ok=False)
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise
        if set(api.list_repo_files(target.repo_id)) - FRESH:
            raise WorkerError(
                "hub_repo_exists", f"{target.repo_id} has files already; nothing was changed there.", "Choose another name."
            ) from None


def _client() -> Any:
    """The hub client's own, with an end to its patience."""
    from huggingface_hub.utils._http import default_client_factory

    client = default_client_factory()
    client.timeout = TIMEOUT_S
    return client


def _errors() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__mro__[1], HfHubHTTPError  # type: ignore[return-value]  # its base is the client library's own


def _told(error: Exception, target: HubTarget, token: str) -> WorkerError:
    """What happened, in one sentence, without the token."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:  # the client wraps what befell one file
        chain.append(cause)
    found = (getattr(getattr(one, "response", None), "status_code", None) for one in chain)
    status = next((one for one in found if one is not None), None)
    name = type(chain[-1]).__name__
    if status in REFUSALS:
        code, sentence, step = REFUSALS[status]
        return WorkerError(code, f"{target.repo_id}: {sentence}", step)
    if status is not None and status >= 500:
        return WorkerError("hub_unavailable", f"The hub answered {status}.", "The files are kept here. Push again later.")
    if name == "OfflineModeIsEnabled":
        return WorkerError("hub_offline", "The hub is switched off here (HF_HUB_OFFLINE).", "Unset it, then export again.")
    if "Timeout" in name:
        step = "Look whether the repository has the files; if not, export again."
        return WorkerError("hub_unavailable", f"The hub did not answer within {TIMEOUT_S:.0f} s.", step)
    if name in ("ConnectError", "ReadError", "WriteError", "RemoteProtocolError", "CloseError"):
        return WorkerError("hub_unavailable", "The hub cannot be reached.", "The files are kept here. Push again later.")
    told = str(error).replace(token, "…")[:400]
    return WorkerError("hub_failed", f"The hub did not take the files: {name}: {told}", "The files are kept here.")
