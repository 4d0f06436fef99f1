"""Networks whose tensors are all about to be replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

RANDOM = {torch.ops.aten.normal_.default, torch.ops.aten.uniform_.default}


class Unfilled(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it, tensors are made, but not filled with random numbers, which is most of the work of
    making a large network (tf_efficientnet_l2: 7.6 of 8 s); and torch's own state stays."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return args[0] if func in RANDOM else func(*args, **(kwargs or {}))
