"""What the commands print for people; the same facts as their JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightsearch.commands.printing.launch_result import _ranking_table, answer
from weightsearch.runtime import own_traceback
from weightsearch.runtime.console import console, duration
from weightsearch.runtime.safe_text import counted, size
from weightsearch.runtime.tables import FITTED, Column, Form, Table
from weightsearch.store.tables.states import OPEN, Phase, PointState
from weightsearch.study.objective_contract import Summary
from weightsearch.study.point_text import described, labelled, named
from weightsearch.study.search_space import Point, decode
from weightsearch.study.single_run import protocol
from weightsearch.study.spec import StudySpec

if TYPE_CHECKING:
    from weightsearch.commands.answers.study_answers import Status
    from weightsearch.store.ledger.verification import Verification


def status(found: Status, drawn: Sequence[str] = ()) -> None:
    """The answer so far, and where a study stands; `drawn` is the triangle of its directions, for
    who stays to watch."""
    points = found.points
    states = "  ".join(f"{n} {state}" for state, n in points.items() if state != "total" and n)
    if found.headline:
        answer(found.headline, found.next_step)
        console.print()
    console.print(f"study {found.study}: {found.goal}", soft_wrap=False)  # prose
    console.print(_stands(found), soft_wrap=False)
    console.print(f"{counted(points['total'], 'point')}: {states}")
    if network := _network(found.spec):
        console.print(network, soft_wrap=False)
    for grown in found.history:
        said = ", ".join(f"{k} {was} to {now}" for k, (was, now) in grown["changed"].items())
        console.print(f"extended at {grown['at']}: {said}")
    for look in found.looks:
        console.print(f"look {look['look'] + 1}: {look['told']}", soft_wrap=False)
        if audits := look["audits"]:
            better, shown = (sum(a[of] for a in audits) for of in ("is_better", "is_shown_better"))
            said = f"{better} ended better, {shown} beyond chance"
            console.print(f"  of {len(audits)} dropped ones trained on, {said}")
    if found.equivalent_left_out:
        console.print(f"{counted(found.equivalent_left_out, 'point')} of equal direction left out")
    if found.promotion["total"]:
        console.print(
            f"promotion: {found.promotion[PointState.DONE]}/{found.promotion['total']} runs"
        )
    if found.budget:
        _budget(found.budget)
    console.print(f"disk: {disk(found.disk)}", soft_wrap=False)
    _workers(found.workers)
    if found.seconds_a_point is not None:
        left = found.seconds_left
        console.print(
            f"{duration(found.seconds_a_point)} a point"
            + (f", {duration(left)} left" if left else "")
            + (f", {found.images_per_second:.0f} images/s" if found.images_per_second else "")
        )
    for failure in found.failures:
        kind = "promotion run" if failure["rung"] else "point"
        name = _of_key(failure["key"])
        console.print(
            f"{kind} {failure['number']}{name} failed: {failure['reason']}", soft_wrap=False
        )
    if found.diverged:
        console.print(f"diverged (done, not ranked): {found.diverged}")
    for why, numbers in found.not_comparable.items():
        console.print(f"not comparable (done, not ranked): {numbers}: {why}")
    if found.best:
        _ranking_table([found.best], "best so far", found.spec["data"] is not None)
    for line in drawn:
        console.print(line)


def _stands(found: Status) -> str:
    """`promoted: 0.6 mae 0.4 ssim [0e4e612f2d] (winner)`; what to do, where something is to be."""
    verdict, halted = found.promoted, found.state in (Phase.PAUSED, Phase.STOPPED)
    why = f" ({found.state_reason})" if halted and found.state_reason else ""
    if verdict is not None and (found.state == Phase.PROMOTED or (halted and _is_over(found))):
        chosen = labelled(named(verdict.weights, verdict.params), verdict.point)
        return f"promoted: {chosen} ({verdict.verdict}){f'; {found.state}{why}' if halted else ''}"
    if found.state == Phase.PAUSED:
        return f"paused{why}; `weightsearch resume {found.study}` continues it"
    if found.state == Phase.STOPPED and found.failures:
        retry = f"`weightsearch retry {found.study} --failed`"
        return f"stopped{why}; once that is mended, {retry} and the same launch"
    if found.state == Phase.STOPPED:  # its workers have left
        return f"stopped{why}; the same launch goes on"
    if found.state == Phase.WAITING:
        return "waiting: nobody is at work on it; the same launch goes on"
    if found.state == Phase.DONE and found.failures:
        return f"done, but for what failed; `weightsearch failures {found.study}` says why"
    if found.state == Phase.DONE and found.spec["promote"] is not None:
        return f"done, not promoted; `weightsearch promote {found.study}` trains the best in full"
    return str(found.state)


def _is_over(found: Status) -> bool:
    """Nothing is left that a study could go on with."""
    return not any(counts.get(s, 0) for counts in (found.points, found.promotion) for s in OPEN)


def _of_key(key: str) -> str:
    """A point's name from its key; nothing for a place that no point has filled."""
    try:
        facts = json.loads(key)
    except ValueError:
        return ""
    return f" ({described(Point(decode(facts['weights']), facts['params']))})"


def _network(spec: Mapping[str, Any]) -> str:
    """What is the same for all points; what is searched stands in their names."""
    model = spec["model"] or {}
    if not isinstance(model.get("encoder"), str):
        return ""
    decoder = f", decoder {model['decoder']}" if isinstance(model["decoder"], str) else ""
    return f"every point: encoder {model['encoder']}{decoder}"


def disk(bytes_of: Mapping[str, int]) -> str:
    """`132 MB: checkpoints 96 MB, database server 30 MB, packs 6 MB; 20 GB free`."""
    kinds = {kind: count for kind, count in bytes_of.items() if count and kind != "free"}
    if "server" in kinds:  # the database is in it
        kinds = {k: v for k, v in kinds.items() if k not in ("database", "server")} | {
            "database server": kinds["server"]
        }
    largest = sorted(kinds.items(), key=lambda kind: -kind[1])
    parts = ", ".join(f"{kind} {size(count)}" for kind, count in largest)
    return f"{size(sum(kinds.values()))}: {parts}; {size(bytes_of['free'])} free"


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
        numbers = _numbers(worker["points"])
        kind = "points" if len(worker["points"]) > 1 else "point"
        at = f"at {kind} {numbers}" if numbers else "between points"
        seen = f", seen {duration(worker['seen_s'])} ago" if worker["seen_s"] > 15 else ""
        console.print(f"worker {worker['id']} on {worker['device']}: {at}{seen}", soft_wrap=False)


def _numbers(points: Sequence[int]) -> str:
    return ", ".join(map(str, points))


def workers(answer: Mapping[str, Any], form: Form = FITTED) -> None:
    headings = (Column("worker", wraps=True), "device", "point", "seen", Column("host", 2))
    table = Table("", (*headings, Column("pid", 1)), form.wide)
    for row in answer["workers"]:
        at = _numbers(row["points"])
        seen = f"{duration(row['seen_s'])} ago"
        table.add_row(row["id"], row["device"], at, seen, row["host"], str(row["pid"]))
    if form.csv:
        print(table.csv(), end="")
    elif not answer["workers"]:
        console.print(f"no worker is running study {answer['study']}")
    else:
        console.print(table)


def failures(answer: Mapping[str, Any], logs: Path) -> None:
    """The attempts, and the last traceback among the logs, where they lie on this machine."""
    for row in answer["attempts"]:
        runs = "promotion run" if row["rung"] else "point"
        took = "" if row["seconds"] is None else f" after {duration(row['seconds'])}"
        console.print(
            f"{runs} {row['number']}{_of_key(row['key'])} attempt {row['attempt']}"
            f" {row['outcome']}{took} on {row['worker']}: {row['reason']} (now {row['state']})",
            soft_wrap=False,
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
    console.print(answer["did"], soft_wrap=False)


def verified(found: Verification) -> None:
    word = "ok" if found.ok else "not ok"
    console.print(
        f"{word}: {found.done_once} of {found.points} points done exactly once;"
        f" {found.starts} starts, {found.lost} lost, {found.given_back} given back"
    )
    if found.looks:
        console.print(f"{counted(found.looks, 'look')}, {counted(found.dropped, 'point')} dropped")
    if found.look_due:
        console.print("a look is due: the same launch takes it, and goes on")
    wrong = [look + 1 for look in found.wrong_looks]
    kinds = {"missing": found.missing, "duplicated": found.duplicated}
    for kind, numbers in (kinds | {"decided otherwise than its rows say, look": wrong}).items():
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
