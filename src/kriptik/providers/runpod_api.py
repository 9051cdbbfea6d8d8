"""RunPod's REST v2 over HTTP: one call per method, typed answers, errors for people. What to do with them is `runpod.py`'s to say.

Written after the official OpenAPI document of 2026-08-20; only fields that are used are read, unknown ones are let pass. Money is
read as decimals from the text. The key goes into one header and nowhere else.
"""

import json
import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from kriptik.providers.provider import UnsureError
from kriptik.spec.base import Money
from kriptik.spec.errors import KriptikError

BASE_URL = "https://api.runpod.io"
MOST_QUIET_S = 60.0
"""However long a 429 asks to wait, at most this long nothing is asked."""
LOG_IDLE_S = 1.0
"""The log is a stream without an end: this long without a line, and what there was has been read."""
LOG_LIMIT_S = 10.0
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Answer(BaseModel):
    """Part of an answer."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class PodGpu(Answer):
    id: str
    count: int = 1


class Pod(Answer):
    """One pod. `cost` in dollars per hour now, all GPUs; 0 once it has ended."""

    id: str
    name: str
    status: Literal["PROVISIONING", "STARTING", "RUNNING", "EXITED", "ERROR", "TERMINATED"]
    cost: Money
    disk: int = 0
    gpu: PodGpu | None = None
    cloud: str = ""
    data_center_id: str | None = None
    created_at: datetime


class ByCloud(Answer):
    secure: Money = Decimal(0)
    community: Money = Decimal(0)


class CountByCloud(Answer):
    secure: int = 0
    community: int = 0


class GpuType(Answer):
    """A kind of GPU: `memory` in GB each, `price` in dollars per hour each. `availability` only where it was asked for."""

    id: str
    name: str
    memory: int
    secure: bool
    community: bool
    price: ByCloud
    max_count: CountByCloud
    availability: Literal["NONE", "LOW", "MEDIUM", "HIGH"] | None = None


T = TypeVar("T", bound=Answer)


class RunPodApi:
    """Calls with one key. Raises `KriptikError`; 503 means that asking again later may help.

    After a 429 nothing but an end is sent until its `Retry-After` is over. `clock`: monotonic seconds.
    """

    def __init__(
        self, key: str, base_url: str = BASE_URL, *, timeout_s: float = 20.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._quiet_until = 0.0
        self._http = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(timeout_s, connect=min(5.0, timeout_s)),
            trust_env=httpx.URL(base_url).host not in LOOPBACK,
        )

    def gpu_types(self, count: int = 1, cloud: str | None = None) -> list[GpuType]:
        """The price list with what is free now, for pods of `count` GPUs."""
        asked: dict[str, Any] = {"include": "AVAILABILITY", "product": "POD", "count": count}
        if cloud:
            asked["cloud"] = cloud
        return self._many(GpuType, self._call("GET", "/v2/catalog/gpus", params=asked), "gpus")

    def pods(self) -> list[Pod]:
        """Every pod of the account."""
        return self._many(Pod, self._call("GET", "/v2/pods"), "pods")

    def pod(self, pod_id: str) -> Pod | None:
        """One pod; None where there is none."""
        if not _plain(pod_id):
            return None
        answer = self._call("GET", f"/v2/pods/{pod_id}", missing_ok=True)
        return None if answer is None else self._one(Pod, answer)

    def create_pod(self, body: dict[str, Any]) -> Pod:
        """Asks for a pod. Raises `UnsureError` where it may or may not exist now, `no_capacity` (400) where it was not placed."""
        return self._one(Pod, self._call("POST", "/v2/pods", body=body))

    def delete_pod(self, pod_id: str) -> None:
        """Ends a pod for good; one that is not there counts as ended."""
        if not _plain(pod_id):
            return
        self._call("DELETE", f"/v2/pods/{pod_id}", missing_ok=True, insist=True)

    def billed(self, pod_id: str, since: datetime) -> Decimal:
        """Dollars charged for a pod since then."""
        asked = {"podId": pod_id, "bucketSize": "hour", "startTime": since.isoformat().replace("+00:00", "Z")}
        answer = self._call("GET", "/v2/billing/pods", params=asked)
        try:
            return Decimal(str(_json(answer)["metadata"]["totals"]["totalAmount"]))
        except (ValueError, KeyError, TypeError, ArithmeticError) as error:
            raise _unreadable() from error

    def billed_each(self, since: datetime) -> dict[str, Decimal]:
        """Dollars charged since then by pod, all pods of the account."""
        asked = {"bucketSize": "hour", "startTime": since.isoformat().replace("+00:00", "Z")}
        answer = self._call("GET", "/v2/billing/pods", params=asked)
        found: dict[str, Decimal] = {}
        try:
            for record in _json(answer)["records"]:
                pod_id = str(record["podId"])
                found[pod_id] = found.get(pod_id, Decimal(0)) + Decimal(str(record["totalAmount"]))
        except (ValueError, KeyError, TypeError, ArithmeticError) as error:
            raise _unreadable() from error
        return found

    def log_lines(self, pod_id: str, tail: int) -> list[str]:
        """The newest lines of the container's log."""
        lines: list[str] = []
        if not _plain(pod_id):
            return lines
        end = self._clock() + LOG_LIMIT_S
        asked = {"source": "container", "tail": min(tail, 5000)}
        try:
            timeout = httpx.Timeout(LOG_IDLE_S, connect=5.0)
            with self._http.stream("GET", f"/v2/pods/{pod_id}/logs", params=asked, timeout=timeout) as answer:
                if answer.status_code == 404:
                    return []
                if answer.status_code != 200:
                    answer.read()
                    raise self._error(answer)
                for line in answer.iter_lines():
                    if line.startswith("data:"):
                        lines.append(str(json.loads(line[5:])["line"]))
                    if self._clock() > end:
                        break
        except httpx.ReadTimeout:
            return lines
        except (ValueError, KeyError) as error:
            raise _unreadable() from error
        except httpx.HTTPError as error:
            raise _away(error) from error
        return lines

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
        missing_ok: bool = False,
        insist: bool = False,
    ) -> httpx.Response | None:
        if not insist and self._clock() < self._quiet_until:
            raise _throttled()
        try:
            answer = self._http.request(method, path, params=params, json=body)
        except httpx.ConnectError as error:
            raise _away(error) from error
        except httpx.HTTPError as error:
            raise (_away(error) if method == "GET" else _unsure(type(error).__name__)) from error
        if answer.status_code < 300:
            return answer
        if answer.status_code == 404 and missing_ok:
            return None
        if answer.status_code >= 500 and method == "POST":
            raise _unsure(f"status {answer.status_code}")
        raise self._error(answer)

    def _error(self, answer: httpx.Response) -> KriptikError:
        status, detail = answer.status_code, _detail(answer)
        if status == 429:
            wait = answer.headers.get("Retry-After", "")
            seconds = float(wait) if wait.isdigit() else 5.0
            self._quiet_until = self._clock() + min(seconds, MOST_QUIET_S)
            return _throttled()
        if status in ERRORS:
            code, sentence, step, ours = ERRORS[status]
            return KriptikError(code, f"{sentence} RunPod says: {detail}", step, status=ours)
        if status >= 500:
            return KriptikError("provider_away", f"RunPod answered {status}: {detail}", "It is tried again.", status=503)
        return KriptikError("provider_refused", f"RunPod refused the request ({status}): {detail}", status=400)

    def _one(self, kind: type[T], answer: httpx.Response | None) -> T:
        try:
            return kind.model_validate(_json(answer))
        except (ValidationError, ValueError) as error:
            raise _unreadable() from error

    def _many(self, kind: type[T], answer: httpx.Response | None, field: str) -> list[T]:
        try:
            return [kind.model_validate(one) for one in _json(answer)[field]]
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            raise _unreadable() from error


ERRORS: dict[int, tuple[str, str, str, int]] = {
    400: ("no_capacity", "The machine could not be had.", "It is tried again; or choose another GPU.", 400),
    401: ("provider_key_refused", "The RunPod key is not accepted.", "Set a valid KRIPTIK_RUNPOD_API_KEY, then restart.", 401),
    402: ("provider_balance", "The RunPod account has no balance left.", "Add credit to the account, then retry.", 402),
    403: ("provider_key_scope", "The RunPod key may not do this.", "Give the key read and write access to pods.", 403),
    404: ("not_found", "RunPod does not know this.", "", 404),
    409: ("provider_conflict", "RunPod cannot do this in the present state.", "It is tried again.", 503),
    422: ("provider_refused", "RunPod does not understand the request.", "Please report this.", 422),
}
"""HTTP status → code, sentence, next step, our status."""


def _plain(pod_id: str) -> bool:
    """Ids go into paths: anything else than letters, digits and - can be no pod's."""
    return bool(pod_id) and all(c.isascii() and (c.isalnum() or c in "-_") for c in pod_id)


def _json(answer: httpx.Response | None) -> Any:
    return json.loads(answer.content if answer is not None else b"", parse_float=Decimal)


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])[:300]
    except (ValueError, KeyError, TypeError):
        return "nothing more"


def _unsure(what: str) -> UnsureError:
    return UnsureError("provider_unsure", f"RunPod's answer was lost ({what}).", "It is looked up before it is asked again.")


def _away(error: Exception) -> KriptikError:
    return KriptikError("provider_away", f"RunPod cannot be reached ({type(error).__name__}).", "It is tried again.", status=503)


def _throttled() -> KriptikError:
    return KriptikError("provider_throttled", "RunPod asks for fewer requests.", "It is tried again shortly.", status=503)


def _unreadable() -> KriptikError:
    return KriptikError(
        "provider_unreadable", "RunPod's answer has another form than documented.", "Please report this.", status=502
    )
