"""A night's verdict for people: on a terminal, and as Markdown for the page of a CI job."""

from __future__ import annotations

import re
from collections.abc import Sequence

from weightsearch.nightly import values_table
from weightsearch.nightly.sweep import Accepted, History
from weightsearch.nightly.verdict_card import of_night
from weightsearch.report.evidence.units import group
from weightsearch.runtime.console import console
from weightsearch.runtime.safe_text import presentable
from weightsearch.runtime.tables import Column, Table
from weightsearch.stats.night_values import Moved, Row
from weightsearch.store.ledger.stored_night import NightVerdict

HEADINGS = ("what", "metric", "baseline", "tonight", "difference", "band", "seeds worse", "verdict")


def told(verdict: NightVerdict) -> None:
    """A verdict on a terminal: the headline, the comparisons, the notes."""
    for line in of_night(verdict).lines():
        console.print(line, soft_wrap=False)
    console.print()
    headings, rows = compared_or_measured(verdict)
    shown: list[str | Column] = [*headings]
    shown[0] = Column(headings[0], wraps=True)
    if verdict.rows:
        shown[4:7] = _less(headings[4:7])
    table = Table(f"night {verdict.night} of {verdict.sweep}", shown)
    for row in rows:
        table.add_row(*row)
    if rows:
        console.print(table)
        console.print()
    for note in verdict.notes:
        console.print(f"note: {note}")


def _less(names: Sequence[str]) -> list[Column]:
    return [Column(name, leave_out=k) for k, name in enumerate(names, start=1)]


def compared_or_measured(verdict: NightVerdict) -> tuple[Sequence[str], list[list[str]]]:
    """The table of a night: its comparisons, or where there are none the values themselves."""
    if verdict.rows:
        return HEADINGS, [cells(row) for row in verdict.rows]
    return values_table.HEADINGS, values_table.rows(verdict)


def cells(row: Row) -> list[str]:
    """A comparison as text, in the order of HEADINGS; the band is the one that decides."""
    return [
        row.canary or "best of the search",
        row.metric,
        f"{row.baseline:.4f}",
        "no number" if row.tonight is None else f"{row.tonight:.4f}",
        "" if row.difference is None else f"{row.difference:+.4f}",
        f"{row.limit:.4f}",
        f"{row.worse_seeds} of {row.seeds}" if row.canary else "",
        row.verdict,
    ]


def markdown(verdict: NightVerdict) -> str:
    """A verdict as Markdown; whatever stands in names and reasons is shown, not obeyed."""
    card = of_night(verdict)
    lines = [
        f"## {card.verdict}: {_plain(verdict.sweep)}, {_plain(verdict.night)}",
        "",
        _plain(card.sentence),
        "",
        *(f"- {name}: {_plain(fact)}" for name, fact in card.facts.items()),
        f"- next: {_typed(card.next_step)}",
        "",
    ]
    headings, rows = compared_or_measured(verdict)
    if rows:
        lines += [*_table(headings, rows), ""]
    for row in verdict.rows:
        if row.moved == Moved.WORSE and row.scenes:
            named = ", ".join(f"{scene} ({change:+.4f})" for scene, change in row.scenes)
            what = f"{_plain(row.metric)} of {_plain(row.canary or '')}"
            lines.append(f"- {what} by {group(verdict.of_depth)}: {_plain(named)}")
    lines += [f"- {_plain(note)}" for note in verdict.notes]
    lines.append(f"- commit {_plain(verdict.commit)}, began {verdict.began_at}")
    return "\n".join(lines) + "\n"


def accepted(found: Accepted) -> None:
    """What `nightly accept` did."""
    instead = f", instead of that of {found.before.night}" if found.before else ""
    made = found.made
    console.print(
        f"baseline of {found.sweep}: night {made.night}{instead}, accepted by"
        f" {made.accepted_by}: {made.why}"
    )
    for worse in found.worse:
        console.print(f"accepted though worse: {worse}")


def history(found: History) -> None:
    """Nights and baselines, the newest first."""
    metric = next((verdict.metric for verdict in found.verdicts() if verdict.metric), "")
    furthest = Column(f"{metric}, furthest", leave_out=1, wraps=True)
    headings = (Column("night", wraps=True), "verdict", Column("moved", leave_out=2), furthest)
    table = Table(f"sweep {found.sweep}", headings)
    for night in found.nights:
        verdict = night.verdict
        said = (
            (verdict.verdict, verdict.moved, _furthest(verdict)) if verdict else ("begun", "", "")
        )
        table.add_row(night.night, *said)
    console.print(table)
    console.print()
    for baseline in found.baselines:
        console.print(
            f"baseline since {baseline.accepted_at[:10]}: night {baseline.night}, accepted by"
            f" {baseline.accepted_by}: {baseline.why}"
        )


def _furthest(verdict: NightVerdict) -> str:
    """The canary whose metric is the furthest from the baseline, in bands; first one without a
    number, which is farther than any."""
    rows = [row for row in verdict.rows if row.metric == verdict.metric and row.canary]
    if not rows:
        return ""
    if gone := next((row for row in rows if row.difference is None), None):
        return f"no number ({gone.canary})"
    row = max(rows, key=lambda row: abs(row.difference or 0.0) / (row.limit or 1.0))
    return f"{row.difference:+.4f} ({row.canary})"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(values: Sequence[str]) -> str:
        return f"| {' | '.join(map(_plain, values))} |"

    return [line(headings), "|" + " --- |" * len(headings), *map(line, rows)]


def _plain(text: str) -> str:
    """Text in which nothing is Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]()<>#!|&~])", r"\\\1", presentable(text))


def _typed(text: str) -> str:
    """The same, where backquotes mark what is typed: without what would end it."""
    parts = text.split("`")
    return "`".join(
        re.sub(r"[^\w .+-]", "", part) if k % 2 else _plain(part) for k, part in enumerate(parts)
    )
