"""How busy the machine is: CPU and memory by psutil, GPUs by NVML or nvidia-smi where there are any."""

import shutil
import subprocess
import time
from typing import Any

import psutil

EVERY_S = 2.0
SMI = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits"]


class Machine:
    """Samples at most every `EVERY_S`; the fields are those of `spec.events.Metrics`. Memory in GB (1e9 bytes)."""

    def __init__(self) -> None:
        self._at = float("-inf")
        self._known: dict[str, Any] = {}
        self._nvml = _nvml()
        self._smi = shutil.which("nvidia-smi") if self._nvml is None else None
        psutil.cpu_percent(None)

    def __call__(self) -> dict[str, Any]:
        """CPU and GPU utilisation in percent, memory in use; GPU fields are absent without GPUs."""
        now = time.monotonic()
        if now - self._at >= EVERY_S:
            self._at = now
            memory = psutil.virtual_memory()
            used = (memory.total - memory.available) / 1e9
            self._known = {"cpu_utilization": psutil.cpu_percent(None), "ram_used_gb": round(used, 3), **self._gpus()}
        return self._known

    def describe(self) -> str:
        """One line about what is watched."""
        gpus = len(self._gpus().get("gpu_utilization", []))
        cores = psutil.cpu_count() or 1
        text = f"{cores} CPU cores, {psutil.virtual_memory().total / 1e9:.0f} GB of memory"
        return text + (f", {gpus} GPUs" if gpus else ", no GPU")

    def _gpus(self) -> dict[str, Any]:
        rows = _by_nvml(self._nvml) if self._nvml else _by_smi(self._smi) if self._smi else []
        if not rows:
            return {}
        use, used, total = (list(column) for column in zip(*rows, strict=True))
        return {"gpu_utilization": use, "gpu_memory_used_gb": used, "gpu_memory_total_gb": total}


def _nvml() -> Any:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _by_nvml(nvml: Any) -> list[tuple[float, float, float]]:
    rows = []
    try:
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            use = nvml.nvmlDeviceGetUtilizationRates(handle).gpu
            rows.append((float(use), memory.used / 1e9, memory.total / 1e9))
    except nvml.NVMLError:
        return []
    return rows


def _by_smi(command: str) -> list[tuple[float, float, float]]:
    try:
        done = subprocess.run([command, *SMI[1:]], capture_output=True, text=True, timeout=5, check=True)
        rows = [[float(cell) for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
    return [(use, used * 1.048576e-3, total * 1.048576e-3) for use, used, total in rows]
