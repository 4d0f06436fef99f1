"""What kind of failure an exception is: it decides whether a point is tried again, and how."""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass
from typing import Literal

from weightsearch.runtime import out_of_memory, own_traceback

Kind = Literal["memory", "device", "hang", "code"]

REPLACE_ME = 75
"""Exit code of a worker that cannot go on in this process, while nothing is wrong with the study:
its device is gone, or an attempt hung. (EX_TEMPFAIL of sysexits.h.)"""

DEVICE = ("cuda error", "cudnn error", "cublas error", "cuda driver", "nccl error", "hip error")


def kind(error: BaseException) -> Kind:
    """`memory`: again with less of it. `device`: again, in another process, as the context of a
    failed device is lost. `code`: not again, it would fail the same way.

    Told by names and messages, because the service does not import torch: torch.OutOfMemoryError,
    torch.AcceleratorError (2.8 and later), RuntimeError("CUDA error: ...") before it.
    """
    name, said = type(error).__name__, own_traceback.message(error).lower()
    if out_of_memory.said_by(error):
        return "memory"
    if name in ("AcceleratorError", "RankLost"):  # of a full run, another process is gone
        return "device"
    if isinstance(error, RuntimeError) and any(words in said for words in DEVICE):
        return "device"
    return "code"


@dataclass(frozen=True)
class Failure:
    """What remains of a failed attempt: text alone, as its frames would hold on to its memory."""

    kind: Kind
    reason: str
    """One line for the ledger."""
    trace: str = ""
    """The objective's own traceback, for the log."""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        return cls(kind(error), own_traceback.line(error), own_traceback.of(error))


def free_memory() -> None:
    """Gives back what nobody refers to any more, of the device too."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
