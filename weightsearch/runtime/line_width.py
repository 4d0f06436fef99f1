"""How wide lines for people are: as a terminal, or as COLUMNS says; where nobody looks at a screen,
as wide as they want."""

from __future__ import annotations

import logging
import os
import sys
import textwrap
from typing import IO

from weightsearch.runtime.safe_text import presentable


def width(stream: IO[str]) -> int | None:
    """In cells; None without a limit."""
    if (asked := os.environ.get("COLUMNS", "")).isdecimal() and int(asked):
        return int(asked)
    return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else None


def wrapped(text: str, stream: IO[str]) -> str:
    """Broken at spaces alone: a path or an option in two parts could not be copied."""
    limit = width(stream)
    if limit is None:
        return text
    lines = (
        textwrap.wrap(line, limit, break_long_words=False, break_on_hyphens=False) or [""]
        for line in text.splitlines()
    )
    return "\n".join(part for parts in lines for part in parts)


def say(text: str) -> None:
    """A sentence on stderr."""
    print(wrapped(presentable(text), sys.stderr), file=sys.stderr)


class _Wrapping(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if "\n" in text else wrapped(text, sys.stderr)  # tracebacks stay as they are


def wrap_logs() -> None:
    """From now on what this process logs is wrapped too: for who waits for it, not for files."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Wrapping("%(message)s"))
