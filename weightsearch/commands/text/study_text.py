"""What the commands print for people; the same facts as their JSON."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightsearch.runtime.console import columns, console, duration
from weightsearch.runtime.safe_text import size
from weightsearch.stats.verdicts import Verdict
from weightsearch.store.tables.states import PointState, StudyState
from weightsearch.study.objective import Summary
from weightsearch.study.single_run import protocol
from weightsearch.study.spec import StudySpec
from weightsearch.study.table import Value

if TYPE_CHECKING:
    from weightsearch.commands.answers.study_answers import Status
    from weightsearch.launch.session import Launched
    from weightsearch.report.evidence.ranking import RankedPoint, Ranking
    from weightsearch.store.ledger.promotion_verdict import FinalistComparison, PromotionVerdict
    from weightsearch.store.ledger.queries import Verification

ROWS = 20
"""Rows of a ranking that are printed; --json has all."""


def launched(found: Launched) -> None:
    """The end of a launch: the ranking, the verdict, and where everything is."""
    ranking(found.ranking)
    name = found.ranking.study
    console.print(f"\nEverything is under {found.home}. To look further:")
    for command in (f"best {name}", f"status {name}", f"verify {name}", "dashboard"):
        console.print(f"  {_ours()} {command}")


def _ours() -> str:
    """How this program is started here: a virtual environment need not be on the PATH."""
    if shutil.which("weightsearch"):
        return "weightsearch"
    started = Path(sys.argv[0])
    is_module = started.name == "__main__.py"
    return f"{sys.executable} -m weightsearch" if is_module else str(started)


def status(found: Status, drawn: Sequence[str] = ()) -> None:
    """Where a study stands; `drawn` is the triangle of its directions, for who stays to watch."""
    points = found.points
    states = "  ".join(f"{n} {state}" for state, n in points.items() if state != "total")
    console.print(f"study {found.study}: {found.goal}", soft_wrap=False)  # prose
    if found.state != StudyState.RUNNING:
        why = f" ({found.state_reason})" if found.state_reason else ""
        console.print(f"{found.state}{why}; `weightsearch resume {found.study}` continues it")
    console.print(f"{points['total']} points: {states}")
    if found.equivalent_left_out:
        console.print(f"{found.equivalent_left_out} points of equal direction were left out")
    if found.promotion["total"]:
        console.print(
            f"promotion: {found.promotion[PointState.DONE]}/{found.promotion['total']} runs"
        )
    if found.budget:
        _budget(found.budget)
    disk = [f"{kind} {size(count)}" for kind, count in found.disk.items() if count]
    console.print(f"disk: {', '.join(disk)}", soft_wrap=False)
    _workers(found.workers)
    if found.seconds_a_point is not None:
        left = found.seconds_left
        console.print(
            f"{duration(found.seconds_a_point)} a point"
            + (f", {duration(left)} left" if left else "")
            + (f", {found.images_per_second:.0f} images/s" if found.images_per_second else "")
        )
    for failure in found.failures:
        console.print(f"point {failure['number']} failed: {failure['reason']}")
    if found.diverged:
        console.print(f"diverged (done, not ranked): {found.diverged}")
    if found.best:
        _ranking_table([found.best], "best so far")
    for line in drawn:
        console.print(line)


def _budget(budget: Mapping[str, Any]) -> None:
    spent, parts = budget["spent"], []
    if "points" in budget:
        parts.append(f"{spent['points']} of {budget['points']} points begun")
    if "device_seconds" in budget:
        allowed = duration(budget["device_seconds"])
        parts.append(f"{duration(spent['device_seconds'])} of {allowed} on devices")
    if budget["until"]:
        parts.append(f"until {budget['until']}")
    console.print(f"budget: {', '.join(parts)}")


def _workers(rows: Sequence[Mapping[str, Any]]) -> None:
    for worker in rows:
        at = f"at point {worker['point']}" if worker["point"] is not None else "between points"
        seen = f", seen {duration(worker['seen_s'])} ago" if worker["seen_s"] > 15 else ""
        console.print(f"worker {worker['id']} on {worker['device']}: {at}{seen}")


def workers(answer: Mapping[str, Any]) -> None:
    _workers(answer["workers"])
    if not answer["workers"]:
        console.print(f"no worker is running study {answer['study']}")


def failures(answer: Mapping[str, Any]) -> None:
    for row in answer["attempts"]:
        runs = "promotion run" if row["rung"] else "point"
        took = "" if row["seconds"] is None else f" after {duration(row['seconds'])}"
        console.print(
            f"{runs} {row['number']} attempt {row['attempt']} {row['outcome']}{took}"
            f" on {row['worker']}: {row['reason']} (now {row['state']})"
        )
    if not answer["attempts"]:
        console.print(f"no failed attempts in study {answer['study']}")


def changed(answer: Mapping[str, Any]) -> None:
    """What a command did to a study."""
    console.print(answer["did"])


def verified(found: Verification) -> None:
    word = "ok" if found.ok else "not ok"
    console.print(
        f"{word}: {found.done_once} of {found.points} points done exactly once;"
        f" {found.starts} starts, {found.lost} lost, {found.given_back} given back"
    )
    for kind, numbers in {"missing": found.missing, "duplicated": found.duplicated}.items():
        if numbers:
            console.print(f"{kind}: {numbers}")


def ranking(found: Ranking) -> None:
    yardstick = found.yardstick
    by = f" by protocol {yardstick.protocol}, {yardstick.split} split" if yardstick.protocol else ""
    _ranking_table(found.rows, f"study {found.study}: {yardstick.metric}{by}")
    if found.promoted:
        promoted(found.promoted)


def _ranking_table(rows: Sequence[RankedPoint], title: str) -> None:
    if not rows:
        console.print(f"{title}: no point is finished yet")
        return
    varied = _varied([row.params for row in rows])
    first, *others = [name for name, value in rows[0].metrics.items() if value is not None]
    terms = " ".join(rows[0].weights)
    table = columns(title, ("#", "pt", *varied, terms, first, "95 % interval", *others))
    for row in rows[:ROWS]:
        table.add_row(
            f"{row.rank}{'~' if row.against_best == Verdict.NOT_DISTINGUISHABLE else ''}",
            str(row.number),
            *(str(row.params[n]) for n in varied),
            _weights(row.weights),
            f"{row.value:.4f}",
            _interval(row.interval),
            *("" if (value := row.metrics[n]) is None else f"{value:.4f}" for n in others),
        )
    console.print(table)
    console.print()
    notes = [f"n = {rows[0].images} images, one seed"] if rows[0].images else []
    notes += ["~ not distinguishable from the first"] if len(rows) > 1 else []
    notes += [f"{len(rows) - ROWS} more in --json"] if len(rows) > ROWS else []
    console.print("; ".join(notes))


def _varied(params: Sequence[Mapping[str, Value]]) -> list[str]:
    """The choices that are not the same everywhere."""
    return [name for name in params[0] if len({str(one[name]) for one in params}) > 1]


def _weights(weights: Mapping[str, float]) -> str:
    return " ".join(f"{weight:.2f}" for weight in weights.values())


def _interval(bounds: Sequence[float] | None) -> str:
    return f"{bounds[0]:.3f}..{bounds[1]:.3f}" if bounds else ""


def promoted(verdict: PromotionVerdict) -> None:
    """The verdict of a promotion with its evidence."""
    metric, first = verdict.metric, verdict.finalists[0]
    varied = _varied([finalist.params for finalist in verdict.finalists])
    tested = [name for name in (metric, "rel", "log10") if name in (first.test or {})]
    headings = ["val", *("test" if name == metric else name for name in tested)]
    headings += ["95 % test"] if tested else []
    table = columns("full runs", (*varied, " ".join(first.weights), *headings))
    for finalist in verdict.finalists:
        table.add_row(
            *(str(finalist.params[n]) for n in varied),
            _weights(finalist.weights),
            f"{finalist.validation[metric]:.4f}",
            *(f"{(finalist.test or {})[name]:.4f}" for name in tested),
            *([_interval(finalist.test_interval)] if tested else []),
        )
    console.print(table)
    notes = [f"{metric}, means over {first.seeds} fresh seeds"]
    notes += [f"test split of {first.test_images} images"] if first.test_images else []
    notes += [f"protocol {verdict.protocol}"] if verdict.protocol else []
    console.print("; ".join(notes))
    for comparison in verdict.comparisons:
        console.print(_compared(metric, comparison))
    console.print(f"promoted: {verdict.point} ({verdict.verdict}), checkpoint {verdict.checkpoint}")


def _compared(metric: str, found: FinalistComparison) -> str:
    test = found.deciding
    span = "{:+.4f} .. {:+.4f}".format(*test.interval) if test.interval else "none"
    why = ""  # what makes the verdict weaker than the numbers, or what would settle it
    if found.harmed:
        why = f" ({', '.join(found.harmed)} worse)"
    elif test.seeds_needed:
        why = f" (about {test.seeds_needed} seeds would decide)"
    return (
        f"{found.point} against {found.against}: {metric} {test.difference:+.4f},"
        f" {100 * test.level:.3g} % interval {span}: {test.verdict}{why}"
    )


def epoch(kind: str, summary: Summary, spec: StudySpec) -> str:
    """One line about an epoch."""
    shown = ("loss", spec.objective.metric, *spec.objective.guards, "seconds")
    values = [f"{n} {summary.metrics[n]:.4f}" for n in shown if n in summary.metrics]
    by = protocol(kind, spec)
    return f"{kind}  " + "  ".join([*values, *([f"protocol {by}"] if by else [])])


def trained(answer: Mapping[str, Any]) -> None:
    console.print(f"checkpoints and metrics.json lie in {answer['out']}")
