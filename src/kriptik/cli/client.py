"""The Python client: what the command line uses, and what a script may use.

from kriptik.cli.client import Client
client = Client()
plan = client.parse_intent("Quick fine-tune SmolLM2 for customer support")["plan"]
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from kriptik.spec.errors import KriptikError

API = "/api/training"
RECONNECT_S = 1.0
STREAM_READ_S = 40.0


def kriptik_home() -> Path:
    """The folder that holds all state: KRIPTIK_HOME, else ~/.kriptik."""
    return Path(os.environ.get("KRIPTIK_HOME") or Path.home() / ".kriptik").expanduser().resolve()


class Client:
    """Speaks to a KripTik server. Address: `url`, else KRIPTIK_URL, else the server running on this KRIPTIK_HOME."""

    def __init__(self, url: str | None = None, token: str | None = None, *, timeout_s: float = 60) -> None:
        self.url = (url or os.environ.get("KRIPTIK_URL") or _running_server()).rstrip("/")
        token = token or os.environ.get("KRIPTIK_TOKEN") or _read(kriptik_home() / "token")
        self._http = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=timeout_s, trust_env=False
        )

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """GET below /api/training; returns the decoded JSON."""
        return self._call("GET", path, params={k: v for k, v in params.items() if v is not None})

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """POST below /api/training."""
        return self._call("POST", path, json=body or {})

    def put(self, path: str, body: dict[str, Any]) -> Any:
        """PUT below /api/training."""
        return self._call("PUT", path, json=body)

    def delete(self, path: str) -> Any:
        """DELETE below /api/training."""
        return self._call("DELETE", path)

    def parse_intent(self, prompt: str, dataset_id: str | None = None) -> dict[str, Any]:
        """One sentence → {contract, plan}."""
        context = {"existingData": dataset_id} if dataset_id else None
        return self.post("/parse-intent", {"prompt": prompt, **({"context": context} if context else {})})

    def modify(self, plan_id: str, words: str) -> dict[str, Any]:
        """A plain-English edit → {plan, changes}."""
        return self.post(f"/plans/{plan_id}/modify-with-ai", {"nlpModification": words})

    def approve(
        self, plan_id: str, max_budget: float, notify: float = 80, freeze: float = 95, consent: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Authorises the charges and starts the run → {approvedPlan, jobId}. `consent`: of the person learnt."""
        authorization = {
            "maxBudget": max_budget,
            "notifyAtPercent": notify,
            "freezeAtPercent": freeze,
            "notificationChannels": ["in_app"],
            "termsAccepted": True,
        }
        said = {"consent": consent} if consent else {}
        return self.post(f"/plans/{plan_id}/approve", {"budgetAuthorization": authorization, **said})

    def upload(self, path: Path) -> dict[str, Any]:
        """Sends a data file; it is checked before anything else happens. Returns the dataset with its report."""
        with path.open("rb") as handle:
            return self._call("POST", "/data", files={"file": (path.name, handle)}, timeout=600)

    def download(self, path: str, target: Path) -> str:
        """GET below /api/training into a new file, whole or not at all; returns its SHA-256. An existing file is never replaced."""
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        digest = hashlib.sha256()
        try:
            with self._http.stream("GET", API + path, timeout=httpx.Timeout(30, read=STREAM_READ_S)) as answer:
                if answer.status_code != 200:
                    answer.read()
                    _raise_problem(answer)
                with part.open("wb") as handle:
                    for chunk in answer.iter_bytes():
                        digest.update(chunk)
                        handle.write(chunk)
            os.link(part, target)  # fails where the name is taken
        except httpx.TransportError as error:
            raise KriptikError("server_unreachable", "The download broke off.", "Try again.") from error
        except FileExistsError as error:
            raise KriptikError("file_exists", f"{target} is there already.", "Choose another folder.") from error
        except OSError as error:
            raise KriptikError("disk_full", f"{target} could not be written: {error.strerror}.", "Free disk space.") from error
        finally:
            part.unlink(missing_ok=True)
        return digest.hexdigest()

    def wait_for(self, job_id: str, states: set[str], *, limit_s: float = 3600) -> dict[str, Any]:
        """The job once it is in one of `states`; raises `wait_timeout` after `limit_s`."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            job = self.get(f"/jobs/{job_id}")
            if job["state"] in states:
                return job
            time.sleep(0.5)
        raise KriptikError("wait_timeout", f"The run did not reach {', '.join(sorted(states))} in {limit_s:.0f} s.")

    def stream(self, job_id: str, last_id: int = 0, *, reconnect: bool = True) -> Iterator[dict[str, Any]]:
        """The run's events from `last_id` on, in order, each once; reconnects by itself where `reconnect`."""
        while True:
            try:
                for event in self._stream_once(job_id, last_id):
                    last_id = event.get("id", last_id)
                    yield event
            except (httpx.TransportError, httpx.StreamError):
                if not reconnect:
                    raise
            if not reconnect:
                return
            time.sleep(RECONNECT_S)

    def _stream_once(self, job_id: str, last_id: int) -> Iterator[dict[str, Any]]:
        headers = {"Last-Event-ID": str(last_id), "Accept": "text/event-stream"}
        timeout = httpx.Timeout(30, read=STREAM_READ_S)
        with self._http.stream("GET", f"{API}/jobs/{job_id}/stream", headers=headers, timeout=timeout) as answer:
            if answer.status_code != 200:
                answer.read()
                _raise_problem(answer)
            event_id = last_id
            for line in answer.iter_lines():
                if line.startswith("id:"):
                    event_id = int(line[3:].strip() or event_id)
                elif line.startswith("data:"):
                    body = json.loads(line[5:])
                    body.setdefault("id", event_id)
                    yield body

    def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = self._http.request(method, API + path, **options)
        except httpx.ConnectError as error:
            raise KriptikError(
                "server_unreachable", f"No KripTik server answers at {self.url}.", "Start one with `kriptik up`."
            ) from error
        except httpx.TimeoutException as error:
            raise KriptikError("server_slow", "The server did not answer in time.", "Try again.") from error
        if answer.status_code >= 400:
            _raise_problem(answer)
        if answer.headers.get("content-type", "").startswith("application/json"):
            return answer.json()
        return answer.text


def _running_server() -> str:
    try:
        return json.loads((kriptik_home() / "server.json").read_text())["url"]
    except (OSError, ValueError, KeyError) as error:
        raise KriptikError(
            "server_unknown", "No KripTik server is known on this machine.", "Start one with `kriptik up`, or set KRIPTIK_URL."
        ) from error


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _raise_problem(answer: httpx.Response) -> None:
    try:
        body = answer.json()
    except ValueError:
        body = {}
    raise KriptikError(
        body.get("code") or f"http_{answer.status_code}",
        body.get("detail") or f"The server answered {answer.status_code}.",
        body.get("nextStep", ""),
        status=answer.status_code,
        fields=body.get("fields"),
    )
