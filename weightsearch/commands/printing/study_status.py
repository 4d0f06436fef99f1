"""What the commands print for people; the same facts as their JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightsearch.commands.printing.launch_result import _ranking_table
from weightsearch.runtime import own_traceback
from weightsearch.runtime.console import console, duration
from weightsearch.runtime.safe_text import size
from weightsearch.store.tables.states import PointState, StudyState
from weightsearch.study.objective_contract import Summary
from weightsearch.study.single_run import protocol
from weightsearch.study.spec import StudySpec

if TYPE_CHECKING:
    from weightsearch.commands.answers.study_answers import Status
    from weightsearch.store.ledger.queries import Verification


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
    for why, numbers in found.not_comparable.items():
        console.print(f"not comparable (done, not ranked): {numbers}: {why}")
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


def failures(answer: Mapping[str, Any], logs: Path) -> None:
    """The attempts, and the last traceback among the logs, where they lie on this machine."""
    for row in answer["attempts"]:
        runs = "promotion run" if row["rung"] else "point"
        took = "" if row["seconds"] is None else f" after {duration(row['seconds'])}"
        console.print(
            f"{runs} {row['number']} attempt {row['attempt']} {row['outcome']}{took}"
            f" on {row['worker']}: {row['reason']} (now {row['state']})"
        )
    if not answer["attempts"]:
        console.print(f"no failed attempts in study {answer['study']}")
    elif found := own_traceback.newest(logs):
        file, trace = found
        console.print(f"the last traceback (all: {file.parent}), {own_traceback.shown(trace)}")


def logs(answer: Mapping[str, Any]) -> None:
    what = f"{answer['kind']} {answer['point']} of study {answer['study']}"
    if not answer["attempts"]:
        console.print(f"{what}: not begun yet")
        return
    for row in answer["attempts"]:
        took = "" if row["seconds"] is None else f" after {duration(row['seconds'])}"
        why = f": {row['reason']}" if row["reason"] else ""
        console.print(
            f"{what}: attempt {row['attempt']} {row['outcome'] or 'runs'}{took} on {row['worker']}"
            f" ({row['device']}), started {row['started_at']}{why}"
        )
    for log in answer["logs"]:
        console.print(f"{log['file']}:")
        for line in log["lines"]:
            console.print(f"  {line}")
    if not answer["logs"]:
        console.print(f"no log of it in {answer['folder']}: its worker ran elsewhere")


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
    if found.behind:
        console.print(
            f"behind: the Optuna study does not show {found.behind} attempts that have ended; the"
            " same launch brings it up to date, or says what is in its way"
        )


def epoch(kind: str, summary: Summary, spec: StudySpec) -> str:
    """One line about an epoch."""
    shown = ("loss", spec.objective.metric, *spec.objective.guards, "seconds")
    values = [f"{n} {summary.metrics[n]:.4f}" for n in shown if n in summary.metrics]
    by = protocol(kind, spec)
    return f"{kind}  " + "  ".join([*values, *([f"protocol {by}"] if by else [])])


def trained(answer: Mapping[str, Any]) -> None:
    folder = Path(answer["out"])
    others = folder.is_dir() and any(file.name != "metrics.json" for file in folder.iterdir())
    what = "checkpoints and metrics.json lie" if others else "metrics.json lies"
    console.print(f"{what} in {folder}")
