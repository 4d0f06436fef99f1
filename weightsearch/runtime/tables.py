"""Tables for people: as wide as the terminal, by what matters; or whole; or as CSV."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.text import Text

from weightsearch.runtime.safe_text import presentable

NARROWEST = 24  # cells of a column that wraps
GAP = "  "
TOGETHER = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Column:
    """What to do with a column where a table is wider than its place."""

    name: str
    leave_out: int = 0
    """The highest is left out first, 1 only where wrapping is not enough, 0 never."""
    wraps: bool = False


@dataclass(frozen=True)
class Form:
    """How tables are asked for; by default they fit the terminal."""

    wide: bool = False
    csv: bool = False


FITTED = Form()


@dataclass
class Table:
    """Rows of text under headings. A heading that is only a name is never left out."""

    title: str
    headings: Sequence[str | Column]
    wide: bool = False
    """Whole, whatever the place."""
    more: str = "--wide"
    """What shows the columns that were left out."""
    rows: list[Sequence[str]] = field(default_factory=list)

    def add_row(self, *cells: str) -> None:
        self.rows.append([presentable(cell) for cell in cells])

    def lines(self, width: int | None) -> list[str]:
        """In a place of so many cells."""
        columns = [Column(h) if isinstance(h, str) else h for h in self.headings]
        widths = [
            max(cell_len(text) for text in (column.name, *(row[k] for row in self.rows)))
            for k, column in enumerate(columns)
        ]
        shown, narrow = _fitted(columns, widths, None if self.wide else width)
        found = [self.title] if self.title else []
        for cells in ([column.name for column in columns], *self.rows):
            found += _row([(cells[k], narrow[k]) for k in shown])
        gone = [column.name for k, column in enumerate(columns) if k not in shown]
        return [*found, f"not shown: {', '.join(gone)} ({self.more})"] if gone else found

    def csv(self) -> str:
        """All of it, with a line of headings."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([h if isinstance(h, str) else h.name for h in self.headings])
        writer.writerows(self.rows)
        return out.getvalue()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        for line in self.lines(options.max_width):
            yield Text(line)


def _fitted(
    columns: Sequence[Column], widths: Sequence[int], width: int | None
) -> tuple[list[int], dict[int, int]]:
    """Which columns are shown, and how wide each is."""
    shown, narrow = list(range(len(columns))), dict(enumerate(widths))
    if width is None:
        return shown, narrow

    def over() -> int:
        return sum(narrow[k] for k in shown) + len(GAP) * (len(shown) - 1) - width

    for level in sorted({column.leave_out for column in columns if column.leave_out > 1})[::-1]:
        if over() > 0:
            shown = [k for k in shown if columns[k].leave_out != level]
    wrapping = [k for k in shown if columns[k].wraps]
    room = sum(max(0, narrow[k] - NARROWEST) for k in wrapping)
    if over() > room:
        shown = [k for k in shown if columns[k].leave_out != 1]
    for k in sorted((k for k in wrapping if k in shown), key=lambda k: -narrow[k]):
        if (much := over()) > 0:
            narrow[k] = max(min(NARROWEST, narrow[k]), narrow[k] - much)
    return shown, narrow


def _row(cells: Sequence[tuple[str, int]]) -> list[str]:
    """A row as lines: what is too long goes on below, broken at spaces where it has any."""
    parts = [_wrapped(text, width) for text, width in cells]
    found = []
    for k in range(max(map(len, parts))):
        line = ((part[k] if k < len(part) else "") for part in parts)
        padded = (t + " " * (w - cell_len(t)) for t, (_, w) in zip(line, cells, strict=True))
        found.append(GAP.join(padded).rstrip())
    return found


def _wrapped(text: str, width: int) -> list[str]:
    if cell_len(text) <= width:
        return [text]
    # A path that is broken in two could not be copied; `0.33 mae` is one thing.
    whole = re.sub(r"(?<=\d) (?=[a-z])", TOGETHER, text)
    parts = textwrap.wrap(whole, width, break_long_words=False, break_on_hyphens=False)
    return [part.replace(TOGETHER, " ") for part in parts]
