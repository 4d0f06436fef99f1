"""A table that pairs pictures with depth, as people's programs write them.

Whatever cannot be misread is read: columns parted by commas, semicolons, tabs, bars or blanks;
headers in capitals; lines that are empty or start with `#`; paths with backslashes, or absolute
ones below the root. What was converted is noted once. Everything that is wrong with a table is one
error, of the first ten lines.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from weightsearch.data.readers import frame_lists, split_words
from weightsearch.data.untrusted import archive_files
from weightsearch.errors import SHOWN, DataError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
FILE = re.compile(r".+\.\w{1,5}")
"""A cell that names a file: whoever parts a line elsewhere gets a cell that ends otherwise."""
EXCEL = re.compile(r"sep=(.)", re.IGNORECASE)
FOREIGN = re.compile(r"[A-Za-z]:/|/")
"""Where an absolute path starts, Windows' ones too."""
NAMING = "must name an RGB and a depth file without '..' and of letters that can be shown"


@dataclass(frozen=True)
class Row:
    """One frame as its pattern or its table names it; split and group are '' where it does not."""

    rgb: str
    depth: str
    split: str
    group: str


@dataclass
class Told:
    """What is to be said of a table."""

    converted: Counter[str] = field(default_factory=Counter)
    """What was done, and how often."""
    wrong: list[tuple[int, str, str]] = field(default_factory=list)
    """Line, law, and what was got."""


def rows(
    table: Path, root: Path, columns: Sequence[str], notes: list[str], warnings: list[str]
) -> list[Row]:
    """The frames of the table, in its order; `columns` are what its header calls RGB, depth, split
    and group, which is their order where there is no header.

    Paths are relative to the root. `notes` and `warnings` get what is to be said of the table.
    Raises DataError.
    """
    text = frame_lists.text(archive_files.folder(table.parent), table.name, warnings=warnings)
    told = Told()
    lines = list(_cells(text, columns, told, table))
    if len(lines) > frame_lists.MAX_LINES:
        raise DataError(f"{table}: must have at most {frame_lists.MAX_LINES} lines.")
    order, lines = _order(lines, columns, table, told)
    known: dict[str, tuple[Row, int]] = {}
    again: list[int] = []
    for line, cells in lines:
        row = _row(line, cells, order, root, told)
        if row is None:
            continue
        if row.rgb not in known:
            known[row.rgb] = row, line
        elif known[row.rgb][0] == row:
            again.append(line)
        else:
            law = "a picture must have one depth, split and group"
            told.wrong.append((line, law, f"{row.rgb} of line {known[row.rgb][1]}"))
    if told.wrong:
        raise DataError(_errors(table, told.wrong, len(lines)))
    notes += [f"{table.name}: {what}." for what in told.converted]
    warnings += frame_lists.repeated(table.name, again)
    return [row for row, _ in known.values()]


def is_listing(table: Path, columns: Sequence[str]) -> bool:
    """Whether the first line that says something is a header with these columns, or names files."""
    try:
        text = frame_lists.text(archive_files.folder(table.parent), table.name)
        _, first = next(_cells(text, columns, Told(), table), (0, [""]))
    except DataError:
        return False
    return _is_header(first, columns) or _names_files(first)


# Lines


def _cells(
    text: str, columns: Sequence[str], told: Told, table: Path
) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each line that says something."""
    lines = io.StringIO(text, newline=None).readlines()
    said = [i for i, line in enumerate(lines) if line.strip(f"{''.join(DELIMITERS)}\n")]
    comments = [i for i in said if lines[i].lstrip().startswith("#")]
    data = [i for i in said if i not in set(comments)]
    delimiter = _delimiter(lines[data[0]] if data else "", columns)
    if data and (named := EXCEL.fullmatch(lines[data[0]].strip())):
        delimiter, data = named[1], data[1:]
    headed = data and _is_header(_parted(lines[data[0]], delimiter), columns)
    for i in comments:
        told.converted["lines that start with # are left out"] += 1
        # Without another header, one behind a # is what names the columns, which may be swapped.
        head = lines[i].lstrip("# \t")
        if data and not headed and i < data[0] and _is_header(_parted(head, delimiter), columns):
            lines[i], headed = head, True
            data.insert(0, i)
    if delimiter != ",":
        told.converted[f"columns are parted by {DELIMITERS.get(delimiter, repr(delimiter))}"] += 1
    kept = set(data)
    reader = csv.reader(
        (line if i in kept else "\n" for i, line in enumerate(lines)),
        delimiter=delimiter,
        skipinitialspace=True,
    )
    line = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{table}: must be CSV in UTF-8, but {error}.") from None


def _delimiter(line: str, columns: Sequence[str]) -> str:
    """The one under which the line is a header, or names two files; else the comma."""
    for delimiter in DELIMITERS:
        cells = _parted(line, delimiter)
        if _is_header(cells, columns) or _names_files(cells):
            return delimiter
    return ","


def _names_files(cells: Sequence[str]) -> bool:
    return len(cells) > 1 and all(FILE.fullmatch(cell) for cell in cells[:2])


def _parted(line: str, delimiter: str) -> list[str]:
    rows = csv.reader([line], delimiter=delimiter, skipinitialspace=True)
    return [cell.strip() for cell in next(rows, [])]


def _is_header(cells: Sequence[str], columns: Sequence[str]) -> bool:
    return {name.casefold() for name in columns[:2]} <= {cell.casefold() for cell in cells}


def _order(
    lines: list[tuple[int, list[str]]], columns: Sequence[str], table: Path, told: Told
) -> tuple[list[int | None], list[tuple[int, list[str]]]]:
    """Where RGB, depth, split and group stand in a line, and the lines below the header."""
    if not lines:
        return [0, 1, 2, 3], lines
    header = lines[0][1]
    if not _is_header(header, columns):
        if not any("." in cell or "/" in cell for cell in header):
            raise DataError(
                f"{table}: a header must name the columns '{columns[0]}' and '{columns[1]}', but"
                f" is {','.join(header)[:200]!r}; say what they are called in the options"
                " rgb_column and depth_column, or part columns by"
                f" {', '.join(DELIMITERS.values())}."
            )
        return [0, 1, 2, 3], lines
    order: list[int | None] = []
    for name in columns:
        exact = [i for i, cell in enumerate(header) if cell == name]
        found = exact or [i for i, cell in enumerate(header) if cell.casefold() == name.casefold()]
        if len(found) > 1:
            raise DataError(f"{table}: a header must name a column once, but '{name}' is twice.")
        order.append(found[0] if found else None)
        if found and not exact:
            told.converted["capitals in the header are as good as small letters"] += 1
    return order, lines[1:]


# Rows


def _row(
    line: int, cells: list[str], order: Sequence[int | None], root: Path, told: Told
) -> Row | None:
    """The frame that the line names; None where something is wrong with it."""
    rgb, depth, split, group = (cells[i] if i is not None and i < len(cells) else "" for i in order)
    places = [_below(cell, root, told) for cell in (rgb, depth)]
    wrong: list[tuple[str, str]] = []
    for cell, place in zip((rgb, depth), places, strict=True):
        if FOREIGN.match(place) and ".." not in place.split("/"):
            law = f"paths must lie below {root} (the option root names another folder)"
            wrong.append((law, cell))
    shown = all(archive_files.can_be_shown(cell) for cell in (rgb, depth, split, group))
    if not shown or (not wrong and not all(p and archive_files.inside(p) for p in places)):
        wrong = [(NAMING, ",".join(cells))]
    if split and split_words.side(split) is None:
        wrong.append((f"a split must be one of {', '.join(split_words.WORDS)}", split))
    if not wrong:
        places = [_there(root, place) or place for place in places]
        wrong = [
            ("each listed file must be there", place)
            for place in places
            if not (root / place).exists()
        ]
    told.wrong += [(line, law, got) for law, got in wrong]
    return None if wrong else Row(places[0], places[1], split, group)


def _below(cell: str, root: Path, told: Told) -> str:
    """The path relative to the root, with slashes; as it is where it lies elsewhere."""
    if "\\" in cell:
        told.converted["backslashes are read as slashes"] += 1
        cell = cell.replace("\\", "/")
    if not cell or not archive_files.can_be_shown(cell):
        return cell
    path = PurePosixPath(cell)
    for base in (root.absolute(), root.resolve()):
        if path.is_absolute() and path.is_relative_to(base):
            told.converted[f"absolute paths are taken relative to {root}"] += 1
            return str(path.relative_to(base))
    return str(path)


def _there(root: Path, place: str) -> str | None:
    """The name under which the file lies there: macOS writes accents apart from their letters."""
    forms = (place, unicodedata.normalize("NFC", place), unicodedata.normalize("NFD", place))
    return next((form for form in forms if (root / form).exists()), None)


def _errors(table: Path, wrong: Sequence[tuple[int, str, str]], lines: int) -> str:
    """One line on the first ten, by what must hold."""
    if len(wrong) == 1:
        line, law, got = wrong[0]
        return f"{table}:{line}: {law}, but is {got[:200]!r}."
    laws: dict[str, list[str]] = {}
    for line, law, got in wrong[:SHOWN]:
        laws.setdefault(law, []).append(f"line {line} has {got[:100]!r}")
    told = "; ".join(f"{law}, but {', '.join(found)}" for law, found in laws.items())
    count = len({line for line, *_ in wrong})
    more = ", ..." if len(wrong) > SHOWN else ""
    return f"{table}: {told}{more} ({count} of {lines} lines)."
