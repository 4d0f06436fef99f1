"""What is printed for people: tables that fit, and durations."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleDimensions
from rich.control import Control
from rich.text import Text

from weightsearch.runtime.line_width import width
from weightsearch.runtime.safe_text import presentable


def duration(seconds: float) -> str:
    """`0.4 s`, `45 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


WHOLE = 1000  # cells: wide enough for whatever is printed


class Plain(Console):
    """Shows text as it is; what it cannot show, or must not, as `presentable` has it."""

    @property  # type: ignore[misc]  # of the moment: who prints may ask for COLUMNS later
    def size(self) -> ConsoleDimensions:
        return ConsoleDimensions(width(self.file) or WHOLE, super().size.height)

    def render_str(self, text: str, **how: Any) -> Text:
        # Everything goes through here: what is printed, each cell, each title.
        return super().render_str(presentable(text, lines=True), **how)


# Whole lines, however long: a path that is broken in two can be neither copied nor searched for.
# Where nobody looks at a screen, tables and sentences are as wide as they want.
console = Plain(highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def fresh_page() -> Iterator[None]:
    """What is printed in the block replaces what a terminal shows; elsewhere it follows it."""
    if console.is_terminal:
        with console.capture() as page:
            yield
        console.control(Control.home())
        # Line by line, each cleared to its end: a cleared screen would flicker.
        lines = page.get().splitlines()[: console.height - 1]
        sys.stdout.write("".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        sys.stdout.flush()
    else:
        yield
        console.print()
