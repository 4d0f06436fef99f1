"""A night's verdict for people: on a terminal, and as Markdown for the page of a CI job."""

from __future__ import annotations

import re
from collections.abc import Sequence

from weightsearch.nightly.sweep import Accepted, History
from weightsearch.runtime.console import columns, console
from weightsearch.runtime.safe_text import presentable
from weightsearch.stats.night_values import Moved, Row
from weightsearch.store.ledger.stored_night import NightVerdict, NightWord

MARKS = {
    NightWord.OK: "No regression",
    NightWord.REGRESSION: "Regression",
    NightWord.NOT_JUDGED: "Not judged",
}
HEADINGS = ("what", "metric", "baseline", "tonight", "difference", "band", "seeds worse", "verdict")


def told(verdict: NightVerdict) -> None:
    """A verdict on a terminal."""
    table = columns(f"night {verdict.night} of {verdict.sweep}", HEADINGS)
    for row in verdict.rows:
        table.add_row(*cells(row))
    if verdict.rows:
        console.print(table)
        console.print()
    for note in verdict.notes:
        console.print(f"note: {note}")
    console.print(verdict.answer, soft_wrap=False)


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
    baseline = verdict.baseline
    lines = [
        f"## {MARKS[verdict.verdict]}: {_plain(verdict.sweep)}, {_plain(verdict.night)}",
        "",
        _plain(verdict.answer),
        "",
    ]
    if verdict.rows:
        lines += _table(HEADINGS, [cells(row) for row in verdict.rows])
        lines += ["", f"All comparisons together hold at {100 * verdict.level:g} %.", ""]
    for row in verdict.rows:
        if row.moved == Moved.WORSE and row.scenes:
            named = ", ".join(f"{scene} ({change:+.4f})" for scene, change in row.scenes)
            what = f"{_plain(row.metric)} of {_plain(row.canary or '')}"
            lines.append(f"- {what} by scene: {_plain(named)}")
    lines += [f"- {_plain(note)}" for note in verdict.notes]
    if baseline is not None:
        lines.append(
            f"- baseline: night {_plain(baseline.night)}, accepted by"
            f" {_plain(baseline.accepted_by)} on {baseline.accepted_at}:"
            f" {_plain(baseline.why)}"
        )
        if verdict.verdict == NightWord.REGRESSION:
            before, now = _commit(baseline.night), _commit(verdict.night)
            if before != now:
                lines.append(f"- what changed: `git log {_code(before)}..{_code(now)}`")
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


def history(found: History) -> None:
    """Nights and baselines, the newest first."""
    metric = next((verdict.metric for verdict in found.verdicts() if verdict.metric), "")
    table = columns(f"sweep {found.sweep}", ("night", "verdict", "moved", f"{metric}, furthest"))
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


def _code(text: str) -> str:
    return re.sub(r"[^\w.+-]", "", text)


def _commit(night: str) -> str:
    """Of `2026-11-25-5cfad25abc-1a2b3c`: the commit alone."""
    return "-".join(night.split("-")[3:4])
