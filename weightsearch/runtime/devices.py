"""Which devices this machine has, found out without importing torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from weightsearch.errors import ConfigError, DeviceError

WORKER_BYTES = 2 << 30
"""Of free memory for each worker on the CPU. Training densenet121 at 120x160 in batches of 8 takes
1.6 GB (peak RSS, torch included)."""

CGROUP = Path("/sys/fs/cgroup")

Each = int | Literal["auto"]
"""How many devices a worker takes; `auto`: all that there are."""


def pick(device: str, workers: int | None, each: Each = 1) -> list[str]:
    """One device per worker: `auto` takes the GPUs, else the CPU; several workers may share one.

    Without `workers` one for each GPU, or for each core as far as memory goes. Of workers that take
    `each` so many devices, the first of each one's own. Raises DeviceError where a GPU was asked
    for and there is none, or too few.
    """
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise ConfigError(f"--device must be auto, cpu, cuda or cuda:N, but got '{device}'.")
    gpus = [] if kind == "cpu" else visible_gpus()
    if kind == "cuda" and len(gpus) <= int(index or 0):
        raise DeviceError(
            f"--device {device} needs a GPU, but this machine shows {len(gpus) or 'none'}"
            " (nvidia-smi, CUDA_VISIBLE_DEVICES); use --device cpu."
        )
    if gpus:
        devices = [device] if index else [f"cuda:{i}" for i in range(len(gpus))]
        devices = _firsts(devices, each)
        workers = workers if each == 1 else min(workers or len(devices), len(devices))
    else:
        several = 1 if each == "auto" else each
        devices = ["cpu"] * (1 if workers else max(1, most_on_cpu() // several))
    return [devices[i % len(devices)] for i in range(workers or len(devices))]


def _firsts(gpus: list[str], each: Each) -> list[str]:
    """The first of each group of so many."""
    size = len(gpus) if each == "auto" else each
    if size > len(gpus):
        raise DeviceError(
            f"promote.devices must be at most the GPUs that a launch may use, but is {size}, and"
            f" there {'is 1' if len(gpus) == 1 else f'are {len(gpus)}'}; lower it, or give another"
            " --device."
        )
    return gpus[: len(gpus) // size * size : size]


def most_on_cpu() -> int:
    """Workers for the CPU: one for each core, but no more than have `WORKER_BYTES` each."""
    free = free_bytes()
    return cores() if free is None else max(1, min(cores(), free // WORKER_BYTES))


def threads(workers: int) -> int:
    """Of each of so many workers on the CPU: one; of cores that have no worker, half.

    torch's threads wait for each other in a busy loop, and collapse beside any other process: on
    two busy cores two threads trained at 0.10 to 0.34 of the pace of one (docs/benchmarks.md).
    """
    return max(1, cores() // workers // 2)


def visible_gpus() -> list[str]:
    """The GPUs that a process started here would see, in torch's order."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        listed = [name.strip() for name in allowed.split(",")]
        return listed[: listed.index("-1")] if "-1" in listed else [n for n in listed if n]
    if shutil.which("nvidia-smi") is None:
        return []
    asked = subprocess.run(
        ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.split() if asked.returncode == 0 else []


def cores(cgroup: Path = CGROUP) -> int:
    """Processor cores that this process may use: those of its affinity, or of its container's
    quota where those are fewer."""
    affine = hasattr(os, "sched_getaffinity")
    count = len(os.sched_getaffinity(0)) if affine else os.cpu_count() or 1
    quota = _words(cgroup / "cpu.max") or [  # cgroup 2, or 1
        *_words(cgroup / "cpu/cpu.cfs_quota_us"),
        *_words(cgroup / "cpu/cpu.cfs_period_us"),
    ]
    if len(quota) == 2 and all(map(str.isdigit, quota)):  # not `max`, nor -1
        count = min(count, int(quota[0]) // int(quota[1]))
    return max(1, count)


def free_bytes(cgroup: Path = CGROUP, meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Memory that can be had without swapping, at most what is left of the container's; None where
    unknown."""
    words = _words(meminfo)
    if "MemAvailable:" not in words:
        return None
    free = int(words[words.index("MemAvailable:") + 1]) << 10
    return min([free, *(max(0, left) for left in _left(cgroup))])


def _left(cgroup: Path) -> Iterator[int]:
    """Of a container's memory, by cgroup 2 or 1; files that it has cached are given back."""
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        most, now = _words(cgroup / limit), _words(cgroup / used)
        if most and most[0].isdigit():
            stat = _words((cgroup / limit).with_name("memory.stat"))
            given_back = int(stat[stat.index(cached) + 1]) if cached in stat else 0
            yield int(most[0]) - (int(now[0]) if now else 0) + given_back


def _words(file: Path) -> list[str]:
    """What the system says there; nothing where it has no such file."""
    try:
        return file.read_text().split()
    except OSError:
        return []
