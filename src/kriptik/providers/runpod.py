"""RunPod as a provider: one pod per generation, found again by its name, ended for good (never only stopped).

REST v2 knows no idempotency key, no tags and no end date, so: the name says whose a pod is; before each create the account is
looked at and a pod of that name adopted; after an answer that was lost nothing is created until it is sure that no pod appeared;
of several pods of one name the oldest is taken, and whoever pays ends the others. A stopped pod loses its GPU, so freezing ends
the pod as well.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from kriptik.catalogue.load import load_catalogue
from kriptik.providers.gpus import catalogue_id
from kriptik.providers.provider import Offer, Resource, ResourceSpec, ResourceStatus
from kriptik.providers.runpod_api import BASE_URL, GpuType, Pod, RunPodApi, UnsureError
from kriptik.spec.errors import BadInputError, ConflictError, KriptikError
from kriptik.spec.job import SelfEnd

LISTING_S = 5.0
"""Pods are looked at by one listing for all; it may be this old (60 requests a minute are allowed)."""
SETTLE_S = 30.0
"""After a lost answer a pod may still appear for so long; until then nothing of that name is created."""
FAMINE_S = 15.0
"""Between two tries to get a machine where nothing was free."""
CONFIRM_TRIES, CONFIRM_PAUSE_S = 6, 0.25
OWN = "kt-"
"""Begins every name that any installation of this product gives."""
HOURS_A_MONTH = 720
COUNTS = (1, 2, 4, 8)
BOOT = """python3 -c "import os; exec(os.environ['KRIPTIK_BOOTSTRAP'])\""""
"""What a plain image is told to run."""
STATUS: dict[str, ResourceStatus] = {
    "PROVISIONING": "provisioning",
    "STARTING": "provisioning",
    "RUNNING": "running",
    "EXITED": "exited",
    "ERROR": "exited",
    "TERMINATED": "gone",
}


@dataclass(frozen=True)
class Candidate:
    """One way to get the machine. Price in dollars per hour, all GPUs and the disk."""

    gpu: GpuType
    cloud: str
    price: Decimal
    same: bool
    """The very GPU that was asked for."""


class RunPodProvider:
    """Pods of one account. `cloud`: "any", or "secure" for RunPod's own data centres alone. `disk_gb`: each pod's disk.
    `bootstrap`: a Python program that a plain image runs in place of an entry point of its own.

    `clock`: monotonic seconds.
    """

    name = "runpod"

    def __init__(
        self,
        key: str,
        image: str,
        *,
        base_url: str = BASE_URL,
        cloud: str = "any",
        disk_gb: int = 40,
        bootstrap: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        timeout_s: float = 20.0,
    ) -> None:
        self._api = RunPodApi(key, base_url, clock=clock, timeout_s=timeout_s)
        self._image, self._cloud, self._disk_gb, self._clock, self._pause = image, cloud, disk_gb, clock, pause
        self._bootstrap = bootstrap
        self._listing: list[Pod] = []
        self._listed_at: float | None = None
        self._creating = threading.Lock()
        self._unsure: dict[str, float] = {}
        self._asked: set[str] = set()
        self._famine: dict[str, float] = {}
        self._made: dict[str, str] = {}
        self._details: dict[str, str] = {}
        self.self_end = SelfEnd(url=f"{base_url}/v2/pods/{{RUNPOD_POD_ID}}", token_variable="RUNPOD_API_KEY")

    def offers(self) -> list[Offer]:
        """Live prices of every GPU that the catalogue knows, cheapest first; one request."""
        found = []
        for kind in self._api.gpu_types():
            known = catalogue_id(kind.name, kind.memory * 1024)
            if known not in load_catalogue().gpus:
                known = catalogue_id(kind.id, kind.memory * 1024)
            if known not in load_catalogue().gpus:
                continue
            for cloud, each, most in self._clouds(kind):
                for count in (n for n in COUNTS if n <= most):
                    found.append(
                        Offer(
                            provider=self.name,
                            gpu=known,
                            gpu_count=count,
                            gpu_memory_gb=kind.memory,
                            cpu_cores=1,
                            memory_gb=0,
                            price_per_hour=each * count + _disk_price(self._disk_gb),
                            available=kind.availability != "NONE",
                            detail=f"{count} × {kind.name}, {cloud.lower()} cloud",
                        )
                    )
        return sorted(found, key=lambda offer: (offer.price_per_hour, offer.detail))

    def create(self, spec: ResourceSpec) -> Resource:
        """Adopts the pod of that name, or rents the cheapest machine within the authorised price.

        Raises: 503 `no_capacity` where nothing is free, 409 `price_above_authorised`, 402 and 401 of the account; `UnsureError`
        (503) where a pod may exist that is not seen yet.
        """
        with self._creating:  # the look and the create belong together
            return self._create(spec)

    def _create(self, spec: ResourceSpec) -> Resource:
        if spec.asked_before and spec.name not in self._asked:
            self._unsure.setdefault(spec.name, self._clock())
        self._asked.add(spec.name)
        since = self._unsure.get(spec.name)
        tried_at = self._famine.get(spec.name)
        if since is None and tried_at is not None and self._clock() - tried_at < FAMINE_S:
            raise _no_capacity()
        if (found := self._adopt(spec.name, fresh=since is None)) is not None:
            return self._accepted(spec, found)
        if since is not None and self._clock() - since < SETTLE_S:
            raise UnsureError("provider_unsure", f"Whether {spec.name} was created is not known yet.", "It is looked at again.")
        detail = ""
        for candidate in self._candidates(spec):
            try:
                made = self._api.create_pod(self._body(spec, candidate))
            except UnsureError:
                self._unsure[spec.name] = self._clock()
                self._listed_at = None
                if (found := self._adopt(spec.name)) is not None:
                    return self._accepted(spec, found)
                raise
            except KriptikError as error:
                if error.code not in ("no_capacity", "provider_key_scope"):
                    raise
                detail = error.sentence
                continue
            self._listed_at = None
            self._unsure.pop(spec.name, None)
            self._famine.pop(spec.name, None)
            self._made[spec.name] = made.id
            return self._accepted(spec, made)
        self._famine[spec.name] = self._clock()
        raise _no_capacity(detail)

    def get(self, resource_id: str) -> Resource | None:
        """The pod by the newest listing; one that is missing there is asked for by itself before it counts as gone."""
        pod = next((pod for pod in self._pods() if pod.id == resource_id), None) or self._api.pod(resource_id)
        return None if pod is None else self._resource(pod)

    def list_own(self, prefix: str) -> list[Resource]:
        """Pods of that prefix that are not gone, oldest first. Others of the account are never shown."""
        pods = [pod for pod in self._pods(fresh=True) if pod.name.startswith(prefix) and STATUS[pod.status] != "gone"]
        return [self._resource(pod) for pod in sorted(pods, key=lambda pod: (pod.created_at, pod.id))]

    def terminate(self, resource_id: str) -> None:
        """Deletes the pod and looks until it is not there any more."""
        self._listed_at = None
        self._api.delete_pod(resource_id)
        for attempt in range(CONFIRM_TRIES):
            pod = self._api.pod(resource_id)
            if pod is None or pod.status == "TERMINATED":
                return
            if attempt + 1 < CONFIRM_TRIES:
                self._pause(CONFIRM_PAUSE_S)
        raise KriptikError(
            "terminate_unconfirmed", f"RunPod still shows the pod {resource_id}.", "It is tried again until it is gone.", status=503
        )

    def logs(self, resource_id: str, tail: int = 100) -> list[str]:
        """The container's newest lines."""
        return self._api.log_lines(resource_id, tail)[-tail:] if tail > 0 else []

    def billed(self, resource_id: str, since: datetime) -> Decimal | None:
        """RunPod's own bill for the pod."""
        return self._api.billed(resource_id, since)

    def billed_beside(self, known: set[str], since: datetime) -> dict[str, Decimal] | None:
        """See `Provider`: pods that are listed under other names are somebody else's."""
        others = {pod.id for pod in self._pods(fresh=True) if not pod.name.startswith(OWN)}
        each = self._api.billed_each(since)
        return {pod_id: amount for pod_id, amount in each.items() if pod_id not in known | others}

    def _pods(self, *, fresh: bool = False) -> list[Pod]:
        now = self._clock()
        if fresh or self._listed_at is None or now - self._listed_at >= LISTING_S:
            self._listing, self._listed_at = self._api.pods(), now
        return self._listing

    def _adopt(self, name: str, *, fresh: bool = True) -> Pod | None:
        """The oldest pod of that name; later ones came from a request whose answer was lost, and are the server's to end."""
        same = [pod for pod in self._pods(fresh=fresh) if pod.name == name and STATUS[pod.status] != "gone"]
        if not same and name in self._made:  # made a moment ago, and the listing is behind
            pod = self._api.pod(self._made[name])
            same = [pod] if pod is not None and STATUS[pod.status] != "gone" else []
        if same:
            self._unsure.pop(name, None)
        return min(same, key=lambda pod: (pod.created_at, pod.id)) if same else None

    def _candidates(self, spec: ResourceSpec) -> list[Candidate]:
        """The GPU that was asked for, then others with at least its memory: each by price, none above the authorised one."""
        wanted = load_catalogue().gpus.get(spec.gpu)
        if wanted is None or spec.gpu == "cpu":
            raise BadInputError("no_such_gpu", f"RunPod has no {spec.gpu}.", "Choose a GPU of its price list, or another provider.")
        found = []
        for kind in self._api.gpu_types(spec.gpu_count):
            same = spec.gpu in (catalogue_id(kind.name, kind.memory * 1024), catalogue_id(kind.id, kind.memory * 1024))
            if not same and kind.memory < wanted.vram_gb:
                continue
            for cloud, each, most in self._clouds(kind):
                if spec.gpu_count <= most:
                    price = each * spec.gpu_count + _disk_price(self._disk_gb)
                    found.append((kind.availability != "NONE", Candidate(kind, cloud, price, same)))
        found.sort(key=lambda one: (not one[1].same, one[1].price))
        if not any(candidate.same for _free, candidate in found):
            raise BadInputError("no_such_gpu", f"RunPod has no {spec.gpu_count} × {spec.gpu}.", "Choose another GPU or provider.")
        limit = spec.max_price_per_hour
        within = [(free, c) for free, c in found if limit is None or c.price <= limit]
        if limit is not None and not any(c.same for _free, c in within):
            cheapest = min(c.price for _free, c in found if c.same)
            raise _too_dear(spec.gpu, cheapest, limit)
        return [candidate for free, candidate in within if free]

    def _clouds(self, kind: GpuType) -> list[tuple[str, Decimal, int]]:
        """(cloud, dollars per GPU-hour, most GPUs) of a kind, where it has a price."""
        both = [
            ("SECURE", kind.secure, kind.price.secure, kind.max_count.secure),
            ("COMMUNITY", kind.community and self._cloud == "any", kind.price.community, kind.max_count.community),
        ]
        return [(cloud, price, most) for cloud, there, price, most in both if there and price > 0]

    def _body(self, spec: ResourceSpec, candidate: Candidate) -> dict[str, Any]:
        body: dict[str, Any] = {
            "name": spec.name,
            "image": self._image,
            "cloud": candidate.cloud,
            "gpu": {"id": candidate.gpu.id, "count": spec.gpu_count},
            "disk": self._disk_gb,
            "env": spec.env,
        }
        if self._bootstrap is not None:
            body |= {"args": BOOT, "env": {**spec.env, "KRIPTIK_BOOTSTRAP": self._bootstrap}}
        return body

    def _accepted(self, spec: ResourceSpec, made: Pod) -> Resource:
        """A pod that bills more than was authorised is ended before it does any work."""
        price = made.cost + _disk_price(made.disk)
        if spec.max_price_per_hour is not None and price > spec.max_price_per_hour:
            self.terminate(made.id)
            raise _too_dear(spec.gpu, price, spec.max_price_per_hour)
        return self._resource(made)

    def _resource(self, pod: Pod) -> Resource:
        status = STATUS[pod.status]
        gpu = f"{pod.gpu.count} × {pod.gpu.id}, " if pod.gpu else ""
        where = f"{gpu}{pod.cloud.lower()} cloud" + (f", {pod.data_center_id}" if pod.data_center_id else "")
        return Resource(
            id=pod.id,
            name=pod.name,
            status=status,
            price_per_hour=pod.cost + _disk_price(pod.disk) if status in ("provisioning", "running") else Decimal(0),
            exit_code=None,
            created_at=pod.created_at,
            detail=self._last_line(pod.id) if status == "exited" else where,
        )

    def _last_line(self, pod_id: str) -> str:
        """The last words of a container that ended, asked for once."""
        if pod_id not in self._details:
            try:
                lines = [line.strip() for line in self._api.log_lines(pod_id, 20) if line.strip()]
            except KriptikError:
                return ""
            self._details[pod_id] = lines[-1][:300] if lines else ""
        return self._details[pod_id]


def _disk_price(gigabytes: int) -> Decimal:
    """Dollars per hour of a pod's disk while it runs."""
    monthly = next(c.usd for c in load_catalogue().charges if (c.provider, c.what) == ("runpod", "container disk, running"))
    return (monthly * gigabytes / HOURS_A_MONTH).quantize(Decimal("0.000001"))


def _no_capacity(detail: str = "") -> KriptikError:
    sentence = f"No machine can be had at the authorised price. {detail}".strip()
    return KriptikError("no_capacity", sentence, "It is tried again; or choose another GPU.", status=503)


def _too_dear(gpu: str, price: Decimal, limit: Decimal) -> ConflictError:
    return ConflictError(
        "price_above_authorised",
        f"{gpu} costs ${price.normalize():f} an hour at RunPod now; ${limit.normalize():f} was authorised.",
        "Retry to accept today's price, or choose another GPU.",
        fields={"pricePerHour": float(price), "authorised": float(limit)},
    )
