"""The state of the random numbers that a training draws, as what `torch.load` reads safely."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def taken(device: str) -> dict[str, Any]:
    """Of Python, numpy, torch on the CPU and on this device where it is a GPU."""
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002  (what users draw from)
    numpy = [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest]
    found = {"python": random.getstate(), "numpy": numpy, "torch": torch.get_rng_state()}
    if device.startswith("cuda"):
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore(state: Mapping[str, Any], device: str) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if "cuda" in state and device.startswith("cuda"):
        torch.cuda.set_rng_state(state["cuda"], device)
