"""Which devices this machine has, found out without importing torch."""

from __future__ import annotations

import os
import shutil
import subprocess

from weightsearch.errors import ConfigError, DeviceError


def pick(device: str, workers: int | None) -> list[str]:
    """One device per worker: `auto` takes the GPUs, else the CPU; several workers may share one.

    Raises DeviceError where a GPU was asked for and there is none.
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
    devices = [device] if index else [f"cuda:{i}" for i in range(len(gpus))] or ["cpu"]
    return [devices[i % len(devices)] for i in range(workers or len(devices))]


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


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
