"""A RunPod account that lives in this process: pods that run real commands, a bill of its own, and every kind of bad day.

`image` names stand for commands of this machine. The bill is counted here, from this file's own prices and its own clock, so that
the product's ledger can be compared with something that it had no part in. HTTP is `runpod_http.py`'s.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_UP, Decimal
from pathlib import Path

KEY = "rpa_TESTKEY0123456789"
DISK_MONTHLY = Decimal("0.10")
GPUS = {
    "NVIDIA GeForce RTX 4090": ("RTX 4090", 24, "0.69", "0.34"),
    "NVIDIA L40S": ("L40S", 48, "0.99", "0.79"),
    "NVIDIA A100-SXM4-80GB": ("A100 SXM", 80, "1.79", "1.39"),
    "NVIDIA H100 80GB HBM3": ("H100 SXM", 80, "3.99", "2.69"),
}
ACTIONS = {"RUNNING": ["stop", "restart", "terminate"], "EXITED": ["start", "terminate"], "PROVISIONING": ["stop", "terminate"]}


@dataclass
class FakePod:
    id: str
    name: str
    request: dict
    cost: Decimal
    created_at: datetime
    folder: Path
    own_key: str = field(default_factory=lambda: "rpa_pod_" + secrets.token_hex(8))
    status: str = "PROVISIONING"
    process: subprocess.Popen | None = None
    started_at: datetime | None = None
    lives: list = field(default_factory=list)
    """[from, to or None, dollars per hour]: what is billed."""
    starts: int = 0
    hidden_until: datetime | None = None

    @property
    def log(self):
        return self.folder.with_suffix(".log")

    @property
    def live(self):
        return self.status in ("PROVISIONING", "STARTING", "RUNNING")


class FakeRunPod:
    """The account. Faults are plain attributes and counters; each takes effect on the next matching request."""

    def __init__(self, folder, images, clock=lambda: datetime.now(UTC)):
        self.folder, self.images, self.clock = Path(folder), images, clock
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = threading.RLock()
        self.pods, self.ended = {}, {}
        self.keys = {KEY}
        self.prices = {gpu: (Decimal(secure), Decimal(community)) for gpu, (_n, _m, secure, community) in GPUS.items()}
        self.none_free = set()
        """(GPU id, cloud) without capacity; the catalogue says so by NONE where both clouds have none."""
        self.refuse_creates = 0
        self.overcharge = Decimal(1)
        """What is billed over what was said."""
        self.dearer_answer = Decimal(1)
        """What a create answers over the catalogue's price."""
        self.balance = True
        self.boot_s = 0.0
        self.hide_s = 0.0
        """A new pod appears in listings only after so long."""
        self.keep_after_delete = 0
        """So many deletes are answered, but nothing is ended."""
        self.grace_s = 0.3
        self.creates = 0
        self.touched = []
        """Names of pods that were deleted or acted on."""
        self.foreign = self._foreign()

    def _foreign(self):
        pod = FakePod("foreign0000001", "somebody-elses-pod", {"image": "x/y", "gpu": {"id": "NVIDIA L40S"}}, Decimal("0.99"),
                      self.clock(), self.folder / "foreign", status="RUNNING")  # fmt: skip
        self.pods[pod.id] = pod
        return pod

    def catalog(self, cloud=None):
        rows = []
        for gpu, (name, memory, *_rest) in GPUS.items():
            secure, community = self.prices[gpu]
            asked = [cloud] if cloud else ["SECURE", "COMMUNITY"]
            free = any((gpu, c) not in self.none_free for c in asked)
            rows.append(
                {"id": gpu, "name": name, "pool": None, "manufacturer": "NVIDIA", "memory": memory,
                 "secure": True, "community": True, "price": {"secure": float(secure), "community": float(community)},
                 "maxCount": {"secure": 8, "community": 4},
                 "availability": "HIGH" if free else "NONE"}
            )  # fmt: skip
        return rows

    def create(self, request):
        """(status, pod or sentence)."""
        with self.lock:
            self.creates += 1
            if not self.balance:
                return 402, "Insufficient balance."
            gpu, cloud = request.get("gpu"), request.get("cloud", "SECURE")
            if gpu is None or gpu["id"] not in GPUS or request.get("image") not in self.images:
                return 400, "Unknown GPU or image."
            if self.refuse_creates > 0 or (gpu["id"], cloud) in self.none_free:
                self.refuse_creates = max(0, self.refuse_creates - 1)
                return 400, "There are no instances currently available."
            each = self.prices[gpu["id"]][0 if cloud == "SECURE" else 1]
            pod_id = secrets.token_hex(7)
            pod = FakePod(pod_id, request["name"], request, each * gpu.get("count", 1) * self.dearer_answer, self.clock(),
                          self.folder / pod_id)  # fmt: skip
            if self.hide_s:
                pod.hidden_until = self._after(self.hide_s)
            self.pods[pod_id] = pod
            self._bill(pod)
            answer = self.show(pod)
            if not self.boot_s:
                self._start(pod)
            return 201, answer

    def look(self):
        """Lets time pass: pods boot, processes that ended end their pods."""
        with self.lock:
            for pod in list(self.pods.values()):
                if pod is self.foreign:
                    continue
                if pod.status == "PROVISIONING" and (self.clock() - pod.created_at).total_seconds() >= self.boot_s:
                    self._start(pod)
                if pod.status == "RUNNING" and pod.process is not None and pod.process.poll() is not None:
                    pod.status = "EXITED"
                    self._stop_billing(pod)

    def listed(self):
        self.look()
        with self.lock:
            now = self.clock()
            return [pod for pod in self.pods.values() if pod.hidden_until is None or now >= pod.hidden_until]

    def delete(self, pod_id):
        with self.lock:
            pod = self.pods.get(pod_id)
            if pod is None:
                return False
            self.touched.append(pod.name)
            if self.keep_after_delete > 0:
                self.keep_after_delete -= 1
                return True
            self.vanish(pod_id)
            return True

    def vanish(self, pod_id):
        """The pod is gone with its disk, as after a delete in RunPod's console or a lost host."""
        with self.lock:
            pod = self.pods.pop(pod_id)
            self._kill(pod)
            self._stop_billing(pod)
            pod.status = "TERMINATED"
            self.ended[pod_id] = pod
            shutil.rmtree(pod.folder, ignore_errors=True)

    def restart(self, pod_id):
        """The container starts anew on the same machine, as RunPod does with one that crashed."""
        with self.lock:
            pod = self.pods[pod_id]
            self._kill(pod)
            pod.status = "PROVISIONING"
            self._start(pod)

    def own(self, prefix="kt-"):
        self.look()
        return [pod for pod in self.pods.values() if pod.name.startswith(prefix)]

    def bill(self, name=None, pod_id=None):
        """Dollars up to now, all pods of ours or one; exact."""
        with self.lock:
            pods = [pod for pod in [*self.pods.values(), *self.ended.values()] if pod is not self.foreign]
            return sum((self._of(p) for p in pods if (not name or p.name == name) and (not pod_id or p.id == pod_id)), Decimal(0))

    def bills(self):
        """Dollars by pod, everybody's."""
        with self.lock:
            return {pod.id: self._of(pod) for pod in [*self.pods.values(), *self.ended.values()]}

    def _of(self, pod):
        total = Decimal(0)
        for start, end, price in pod.lives:
            seconds = Decimal(str(((end or self.clock()) - start).total_seconds()))
            total += (price * seconds / 3600).quantize(Decimal("0.00000001"), rounding=ROUND_UP)
        return total

    def show(self, pod):
        count = pod.request["gpu"].get("count", 1)
        return {
            "id": pod.id, "name": pod.name, "image": pod.request["image"], "args": pod.request.get("args", ""),
            "disk": pod.request.get("disk", 20), "ports": [], "env": pod.request.get("env", {}), "registry": None,
            "status": pod.status, "actions": ACTIONS.get(pod.status, []), "mounts": {},
            "gpu": {"id": pod.request["gpu"]["id"], "count": count}, "cloud": pod.request.get("cloud", "SECURE"),
            "dataCenterId": "US-KS-2", "cudaVersion": "12.8", "ssh": {"proxy": None, "direct": None}, "template": None,
            "cost": float(pod.cost) if pod.live else 0.0, "locked": False, "runtime": {} if pod.status == "RUNNING" else None,
            "createdAt": _iso(pod.created_at), "startedAt": _iso(pod.started_at) if pod.started_at else None,
            "globalNetworking": {"enabled": False},
        }  # fmt: skip

    def close(self):
        """Ends every process, whatever a test left."""
        with self.lock:
            for pod in self.pods.values():
                self._kill(pod)

    def check(self):
        """Nothing of ours is left or bills, and nobody else's was touched."""
        left = [pod.name for pod in self.own()]
        assert not left, f"pods were left: {left}"
        assert not self.harm(), "a foreign pod was touched"

    def harm(self):
        """What was done to somebody else's pod."""
        there = self.foreign.id in self.pods and self.foreign.status == "RUNNING"
        return [name for name in self.touched if name == self.foreign.name] + ([] if there else [self.foreign.name])

    def _start(self, pod):
        command, environment = self.images[pod.request["image"]]
        pod.folder.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KRIPTIK_", "RUNPOD_"))}
        own = {"RUNPOD_POD_ID": pod.id, "RUNPOD_API_KEY": pod.own_key, "RUNPOD_DC_ID": "US-KS-2"}
        env = {**kept, "PYTHONUNBUFFERED": "1", **environment, **pod.request.get("env", {}), **own}
        with pod.log.open("ab") as output:
            pod.process = subprocess.Popen(
                command, env=env, cwd=pod.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        pod.starts += 1
        pod.status, pod.started_at = "RUNNING", self.clock()

    def _bill(self, pod):
        disk = DISK_MONTHLY * pod.request.get("disk", 20) / 720
        pod.lives.append([self.clock(), None, pod.cost * self.overcharge + disk])

    def _stop_billing(self, pod):
        for life in pod.lives:
            life[1] = life[1] or self.clock()

    def _kill(self, pod):
        """SIGTERM, a moment, SIGKILL to the whole container."""
        process = pod.process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.grace_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    def _after(self, seconds):
        return datetime.fromtimestamp(self.clock().timestamp() + seconds, UTC)


def _iso(at):
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
