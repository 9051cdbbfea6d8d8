"""How busy a machine is: CPU for real, GPUs by a stand-in for NVML's library and by an nvidia-smi on the path."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from kriptik.worker.machine import Machine


class NVMLError(Exception):
    """NVML's own."""


def nvml(*cards, broken=False):
    """NVML's functions as nvidia-ml-py has them, over (utilisation, used, total) per card."""
    made = ModuleType("pynvml")

    def start():
        if broken:
            raise NVMLError("driver not loaded")

    made.NVMLError, made.nvmlInit = NVMLError, start
    made.nvmlDeviceGetCount = lambda: len(cards)
    made.nvmlDeviceGetHandleByIndex = lambda index: cards[index]
    made.nvmlDeviceGetMemoryInfo = lambda card: SimpleNamespace(used=card[1], total=card[2])
    made.nvmlDeviceGetUtilizationRates = lambda card: SimpleNamespace(gpu=card[0], memory=1)
    return made


@pytest.fixture
def no_smi(monkeypatch):
    monkeypatch.setenv("PATH", "")


def test_each_gpus_use_and_memory_by_nvml(monkeypatch, no_smi):
    monkeypatch.setitem(sys.modules, "pynvml", nvml((97, 61e9, 80e9), (12, 1e9, 80e9)))
    machine = Machine()
    said = machine()
    assert said["gpu_utilization"] == [97.0, 12.0]
    assert (said["gpu_memory_used_gb"], said["gpu_memory_total_gb"]) == ([61.0, 1.0], [80.0, 80.0])
    assert 0 <= said["cpu_utilization"] <= 100 and said["ram_used_gb"] > 0
    assert machine.describe().endswith("2 GPUs")


def test_a_card_that_is_lost_under_way_ends_nothing(monkeypatch, no_smi):
    library = nvml((50, 1e9, 2e9))
    monkeypatch.setitem(sys.modules, "pynvml", library)
    machine = Machine()

    def lost(_card):
        raise NVMLError("GPU is lost")

    library.nvmlDeviceGetUtilizationRates = lost
    assert "gpu_utilization" not in machine() and "cpu_utilization" in machine()


def test_without_a_driver_there_are_no_gpus(monkeypatch, no_smi):
    monkeypatch.setitem(sys.modules, "pynvml", nvml(broken=True))
    machine = Machine()
    assert "gpu_utilization" not in machine() and machine.describe().endswith("no GPU")


def test_by_nvidia_smi_where_the_library_is_missing(monkeypatch, tmp_path):
    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\necho '88, 1000, 24564'\n")
    script.chmod(0o755)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    said = Machine()()
    assert said["gpu_utilization"] == [88.0] and said["gpu_memory_used_gb"] == pytest.approx([1.048576])
