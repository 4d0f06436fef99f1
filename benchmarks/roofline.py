"""How much a device computes at most, and how to wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def wait(device: torch.device) -> None:
    """Until all that was begun there is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(run: Callable[[], object], device: torch.device, for_s: float = 1.0) -> float:
    """How often it runs in a second."""
    run()
    wait(device)
    count, began = 0, time.perf_counter()
    while (took_s := time.perf_counter() - began) < for_s:
        for _ in range(10):
            run()
        wait(device)
        count += 10
    return count / took_s


def product_flops(device: torch.device, kind: torch.dtype, quick: bool = False) -> float:
    """Operations per second of a large product of matrices; those of float32 as torch is set."""
    side = 256 if quick else 8192
    a = torch.randn(side, side, device=device).to(kind)
    return rate(lambda: a @ a, device, 0.1 if quick else 1.0) * 2 * side**3
