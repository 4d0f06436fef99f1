"""What a device can do, as torch sees it."""

from __future__ import annotations

import torch

from weightsearch.errors import DeviceError


def native_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself: emulated, it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # not in torch 2.10
        return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16", "sve_bf16"))
    return False


def pick(name: str) -> torch.device:
    """The device of this name; raises DeviceError where it is not there."""
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(
                f"device '{name}' needs a GPU that torch can use, but there is none; take --device"
                " cpu."
            )
        torch.set_float32_matmul_precision("high")  # TF32, where autocast leaves float32
    return device
