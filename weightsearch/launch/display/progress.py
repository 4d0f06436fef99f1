"""How far a launch is, on stderr: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from weightsearch.launch.display.weight_triangle import CORNERS, triangle
from weightsearch.runtime.console import duration
from weightsearch.runtime.line_width import wrapped
from weightsearch.store.ledger import queries
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.states import OPEN, PointState, Rung
from weightsearch.study import point_text, search_space

PLAIN_EVERY_S = 10.0  # between lines where stderr is no terminal
DRAWN = 2000  # points: more are too many to read twice a second


@dataclass(frozen=True)
class Standing:
    """What a display shows at one moment."""

    finished: int
    total: int
    failed: int
    best: str
    seconds_a_point: float | None
    seconds_left: float | None
    images_per_second: float | None = None
    picture: Sequence[str] = ()
    """Where the search has been; for terminals only."""

    def line(self) -> str:
        parts = [f"{self.finished}/{self.total} points"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.best:
            parts.append(f"best {self.best}")
        if self.seconds_a_point is not None:
            parts.append(f"{duration(self.seconds_a_point)} a point")
        if self.images_per_second is not None:
            parts.append(f"{self.images_per_second:.0f} images/s")
        if self.seconds_left is not None and self.finished < self.total:
            parts.append(f"{duration(self.seconds_left)} left")
        return "  ".join(parts)


def standing(engine: Engine, study: Study, rung: int, workers: int) -> Standing:
    """Where a rung of a study stands now."""
    counts = queries.counts(engine, study, rung)
    each = queries.point_seconds(engine, study, rung)
    remaining = sum(counts[state] for state in OPEN)
    leader = queries.leader(engine, study, rung)
    best = ""
    if leader is not None:
        point, value = leader
        best = f"{study.spec.objective.metric} {value:.4f} ({point_text.described(point)})"
    return Standing(
        finished=counts[PointState.DONE],
        total=counts["total"] - counts[PointState.DROPPED],
        failed=counts[PointState.FAILED],
        best=best,
        seconds_a_point=each,
        seconds_left=None if each is None else each * remaining / max(1, workers),
        images_per_second=queries.images_per_second(engine, study),
        picture=_picture(engine, study, leader, counts["total"])
        if rung == Rung.SEARCH and sys.stderr.isatty()
        else (),
    )


def picture(engine: Engine, study: Study) -> list[str]:
    """The triangle of a search of three terms that has at most `DRAWN` points."""
    counts = queries.counts(engine, study)
    return _picture(engine, study, queries.leader(engine, study), counts["total"])


def _picture(
    engine: Engine, study: Study, leader: tuple[search_space.Point, float] | None, total: int
) -> list[str]:
    if total > DRAWN or len(study.spec.loss.terms) != CORNERS:
        return []
    drawn = leader is not None and leader[0].weighting is None
    best = [(leader[0].weights, "best")] if leader is not None and drawn else []
    shares = [
        ({term: float(weight) for term, weight in weights.items()}, state)
        for weights, state in [*queries.places(engine, study), *best]
    ]
    return triangle(study.spec.loss.terms, shares)


@dataclass
class Display:
    """Shows standings as they come; `show` is called as often as one likes."""

    title: str
    console: Console
    live: Live | None = None
    last_line: str = ""
    last_at: float = field(default=float("-inf"))

    def show(self, now: Standing) -> None:
        """Where a rung of a study stands."""
        if self.live is not None:
            self.live.update(_panel(self.title, now))
        else:
            self._plain(now.line(), now.finished + now.failed == now.total)

    def count(self, done: int, total: int, unit: str) -> None:
        """How far a countable piece of work is."""
        if self.live is not None:
            bar = Table.grid(padding=(0, 2))
            bar.add_row(self.title, ProgressBar(max(1, total), done, width=30))
            bar.add_row("", f"{done}/{total} {unit}")
            self.live.update(bar)
        else:
            self._plain(f"{done}/{total} {unit}", done == total)

    def say(self, doing: str) -> None:
        """What is being done now, where that may take long."""
        if self.live is not None:
            self.live.update(Text(f"{self.title}  {doing}"))
        else:
            self._plain(doing, True)

    def _plain(self, line: str, last: bool) -> None:
        due = time.monotonic() - self.last_at >= PLAIN_EVERY_S
        if line != self.last_line and (due or last):
            said = wrapped(f"{self.title}: {line}", self.console.file)
            self.console.print(said, soft_wrap=True, highlight=False)
            self.last_line, self.last_at = line, time.monotonic()


def _panel(title: str, now: Standing) -> Table:
    table = Table.grid(padding=(0, 2))
    done = now.finished + now.failed
    table.add_row(title, ProgressBar(max(1, now.total), done, width=30), f"{done}/{now.total}")
    facts: Mapping[str, Any] = {
        "a point": duration(now.seconds_a_point) if now.seconds_a_point is not None else "",
        "left": duration(now.seconds_left) if now.seconds_left and done < now.total else "",
        "images/s": f"{now.images_per_second:.0f}" if now.images_per_second is not None else "",
        "failed": f"{now.failed} (weightsearch status shows why)" if now.failed else "",
    }
    grid = Table.grid()
    grid.add_row(table)
    if now.best:
        grid.add_row(f"best {now.best}")
    grid.add_row("   ".join(f"{name} {value}" for name, value in facts.items() if value))
    for line in now.picture:
        grid.add_row(Text(line))
    return grid


@contextlib.contextmanager
def display(title: str, quiet: bool = False) -> Iterator[Display]:
    """A display that is gone, its last state left standing, when the block ends."""
    console = Console(stderr=True, quiet=quiet)
    if not sys.stderr.isatty() or quiet:
        yield Display(title, console)
        return
    with Live(console=console, refresh_per_second=4) as live:
        yield Display(title, console, live)
