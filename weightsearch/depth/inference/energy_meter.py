"""How much energy a GPU has used, where NVML answers."""

from __future__ import annotations

from collections.abc import Callable

import torch


def meter(device: torch.device) -> Callable[[], float] | None:
    """A function that gives the joules that the whole GPU has used so far; None without one.

    NVML counts since the driver was loaded, from Volta on; whatever else runs on the GPU counts.
    """
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:
        return None
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
