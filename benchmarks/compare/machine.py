"""The machine that measured, in a line."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def described() -> str:
    """Cores, memory, processor, operating system."""
    memory = _field(Path("/proc/meminfo"), "MemTotal").split()[0]
    system = _field(Path("/etc/os-release"), "PRETTY_NAME", "=").strip('"')
    processor = _field(Path("/proc/cpuinfo"), "model name") or platform.machine()
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores ({processor}), {int(memory) / 1024**2:.0f} GB, {system}"


def _field(file: Path, name: str, mark: str = ":") -> str:
    for line in file.read_text("utf-8").splitlines():
        key, _, value = line.partition(mark)
        if key.strip() == name:
            return value.strip()
    return ""
