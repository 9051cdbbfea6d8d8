"""NVIDIA GPUs of this machine, by nvidia-smi: none where it is missing or does not answer. And what its CPU is good at."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kriptik.catalogue.load import find_gpu

QUERY = ["--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"]

CPU_FACTS = Path("/proc/cpuinfo")
BF16_UNITS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Linux's names of instructions that multiply in bf16: two of x86, one of Arm."""


@dataclass(frozen=True)
class Gpu:
    """One GPU. `id` is the catalogue's where it knows the card. Memory in GB (1e9 bytes)."""

    index: int
    id: str
    memory_gb: float


def gpus_here(command: str = "nvidia-smi") -> list[Gpu]:
    """The GPUs that can be used, in the driver's order."""
    found = shutil.which(command)
    if found is None:
        return []
    try:
        done = subprocess.run([found, *QUERY], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return read_smi(done.stdout)


def cpu_bf16(facts: Path = CPU_FACTS) -> bool:
    """Whether the CPU multiplies in bf16 by itself. False where the system does not say (no Linux)."""
    try:
        text = facts.read_text(errors="replace")
    except OSError:
        return False
    lines = (line.partition(":") for line in text.splitlines())
    return any(name.strip() in ("flags", "Features") and not BF16_UNITS.isdisjoint(words.split()) for name, _, words in lines)


def read_smi(text: str) -> list[Gpu]:
    """Reads nvidia-smi's lines "index, name, MiB"; lines of another form (a card in error) are left out."""
    gpus = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 3 and cells[0].isdigit() and cells[2].isdigit():
            gpus.append(Gpu(int(cells[0]), catalogue_id(cells[1], int(cells[2])), round(int(cells[2]) * 1.048576e-3, 1)))
    return gpus


def catalogue_id(name: str, mebibytes: int) -> str:
    """The longest run of the name's words that the catalogue knows, the memory size as a help; else the name itself."""
    words = re.sub(r"[-_/]", " ", re.sub(r"(?i)nvidia|tesla|geforce", "", name)).split()
    sizes = [f" {round(mebibytes / 1024)}GB", ""]
    for end in range(len(words), 0, -1):
        for size in sizes:
            entry = find_gpu(" ".join(words[:end]) + size)
            if entry is not None and abs(entry.vram_gb - mebibytes / 1024) <= 0.15 * entry.vram_gb:
                return entry.id
    return "-".join(words) or name
