"""What was found of one part of a study, or of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from weightsearch.errors import ObjectiveError, WeightsearchError

OK, WARNING, WRONG = "ok", "warning", "wrong"


@dataclass(frozen=True)
class Row:
    part: str
    state: str
    """`ok`, `warning`, or `wrong`: nothing can be launched so."""
    said: str
    trace: str = ""
    """Of the user's own code, where that has raised."""


def all_well(rows: Iterable[Row]) -> bool:
    """Whether nothing is in the way."""
    return all(row.state != WRONG for row in rows)


def asked(part: str, ask: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """What is found of a part, up to its first error."""
    try:
        yield from ask()
    except WeightsearchError as error:
        trace = error.trace if isinstance(error, ObjectiveError) else ""
        yield Row(part, WRONG, str(error), trace)
