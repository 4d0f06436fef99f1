"""Errors that say that memory ran out: told by names and messages, with or without torch."""

from __future__ import annotations

from weightsearch.runtime import own_traceback

WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "status_alloc_failed")


def said_by(error: BaseException) -> bool:
    """Of torch.OutOfMemoryError, of what torch raises on a CPU, and of Python's MemoryError."""
    if "OutOfMemory" in type(error).__name__ or isinstance(error, MemoryError):
        return True
    said = own_traceback.message(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in WORDS)
