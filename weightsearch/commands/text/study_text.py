"""What the commands print for people; the same facts as their JSON."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weightsearch.runtime.console import columns, console, duration
from weightsearch.runtime.safe_text import size
from weightsearch.store.tables.states import StudyState
from weightsearch.study.objective import Summary
from weightsearch.study.single_run import protocol
from weightsearch.study.spec import StudySpec

ROWS = 20
"""So many rows of a ranking are printed; --json has all."""


def launched(answer: Mapping[str, Any]) -> None:
    """The end of a launch: the ranking, the verdict, and where everything is."""
    ranking(answer)
    name = answer["study"]
    console.print(f"\nEverything lies under {answer['home']}. Look further with:")
    for command in (f"best {name}", f"status {name}", f"verify {name}", "dashboard"):
        console.print(f"  {_ours()} {command}")


def _ours() -> str:
    """How this program is started here: a virtual environment need not be on the PATH."""
    if shutil.which("weightsearch"):
        return "weightsearch"
    started = Path(sys.argv[0])
    is_module = started.name == "__main__.py"
    return f"{sys.executable} -m weightsearch" if is_module else str(started)


def status(answer: Mapping[str, Any], drawn: Sequence[str] = ()) -> None:
    """Where a study stands; `drawn` is the triangle of its directions, for who stays to watch."""
    points = answer["points"]
    states = "  ".join(f"{n} {state}" for state, n in points.items() if state != "total")
    console.print(f"study {answer['study']}: {answer['goal']}", soft_wrap=False)  # prose
    if answer["state"] != StudyState.RUNNING:
        why = f" ({answer['state_reason']})" if answer["state_reason"] else ""
        console.print(f"{answer['state']}{why}; `weightsearch resume {answer['study']}` goes on")
    console.print(f"{points['total']} points: {states}")
    if answer["equivalent_left_out"]:
        console.print(f"{answer['equivalent_left_out']} points of equal direction were left out")
    if answer["promotion"]["total"]:
        console.print(
            f"promotion: {answer['promotion']['done']}/{answer['promotion']['total']} runs"
        )
    if answer["budget"]:
        _budget(answer["budget"])
    disk = [f"{kind} {size(count)}" for kind, count in answer["disk"].items() if count]
    console.print(f"disk: {', '.join(disk)}", soft_wrap=False)
    _workers(answer["workers"])
    if answer["seconds_a_point"] is not None:
        left = answer["seconds_left"]
        console.print(
            f"{duration(answer['seconds_a_point'])} a point"
            + (f", {duration(left)} left" if left else "")
            + (
                f", {answer['images_per_second']:.0f} images/s"
                if answer["images_per_second"]
                else ""
            )
        )
    for failure in answer["failures"]:
        console.print(f"point {failure['number']} failed: {failure['reason']}")
    if answer["diverged"]:
        console.print(f"diverged (done, not ranked): {answer['diverged']}")
    if answer["best"]:
        _ranking_table([answer["best"]], "best so far")
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
        console.print(f"no worker is at study {answer['study']}")


def failures(answer: Mapping[str, Any]) -> None:
    for row in answer["attempts"]:
        runs = "promotion run" if row["rung"] else "point"
        took = "" if row["seconds"] is None else f" after {duration(row['seconds'])}"
        console.print(
            f"{runs} {row['number']} attempt {row['attempt']} {row['outcome']}{took}"
            f" on {row['worker']}: {row['reason']} (now {row['state']})"
        )
    if not answer["attempts"]:
        console.print(f"every attempt of study {answer['study']} that has ended brought a result")


def changed(answer: Mapping[str, Any]) -> None:
    """What a command did to a study."""
    console.print(answer["did"])


def verified(answer: Mapping[str, Any]) -> None:
    word = "ok" if answer["ok"] else "not ok"
    console.print(
        f"{word}: {answer['done_once']} of {answer['points']} points done exactly once;"
        f" {answer['starts']} starts, {answer['lost']} lost, {answer['given_back']} given back"
    )
    for kind in ("missing", "duplicated"):
        if answer[kind]:
            console.print(f"{kind}: {answer[kind]}")


def ranking(answer: Mapping[str, Any]) -> None:
    by = f" by protocol {answer['protocol']}, {answer['split']} split" if answer["protocol"] else ""
    _ranking_table(answer["ranking"], f"study {answer['study']}: {answer['metric']}{by}")
    if answer["promoted"]:
        promoted(answer["promoted"])


def _ranking_table(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    if not rows:
        console.print(f"{title}: no point is finished yet")
        return
    varied = [n for n in rows[0]["params"] if len({str(r["params"][n]) for r in rows}) > 1]
    metrics = [n for n in rows[0] if isinstance(rows[0][n], float) and n != "seconds"]
    terms = " ".join(rows[0]["weights"])
    table = columns(title, ("#", "pt", *varied, terms, metrics[0], "95 % interval", *metrics[1:]))
    for row in rows[:ROWS]:
        table.add_row(
            f"{row['rank']}{'~' if row['against_best'] == 'not distinguishable' else ''}",
            str(row["number"]),
            *(str(row["params"][n]) for n in varied),
            _weights(row),
            f"{row[metrics[0]]:.4f}",
            _interval(row["interval"]),
            *("" if row[n] is None else f"{row[n]:.4f}" for n in metrics[1:]),
        )
    console.print(table)
    console.print()
    notes = [f"n = {rows[0]['images']} images, one seed"] if rows[0]["images"] else []
    notes += ["~ not distinguishable from the first"] if len(rows) > 1 else []
    notes += [f"{len(rows) - ROWS} more in --json"] if len(rows) > ROWS else []
    console.print("; ".join(notes))


def _weights(row: Mapping[str, Any]) -> str:
    return " ".join(f"{weight:.2f}" for weight in row["weights"].values())


def _interval(bounds: Sequence[float] | None) -> str:
    return f"{bounds[0]:.3f}..{bounds[1]:.3f}" if bounds else ""


def promoted(answer: Mapping[str, Any]) -> None:
    """The verdict of a promotion with its evidence."""
    metric = answer["metric"]
    first = answer["finalists"][0]
    varied = [
        n for n in first["params"] if len({str(f["params"][n]) for f in answer["finalists"]}) > 1
    ]
    tested = [n for n in (metric, "rel", "log10") if n in first.get("test", {})]
    headings = ["val", *("test" if name == metric else name for name in tested)]
    headings += ["95 % test"] if tested else []
    table = columns("full runs", (*varied, " ".join(first["weights"]), *headings))
    for row in answer["finalists"]:
        table.add_row(
            *(str(row["params"][n]) for n in varied),
            _weights(row),
            f"{row['validation'][metric]:.4f}",
            *(f"{row['test'][name]:.4f}" for name in tested),
            *([_interval(row.get("test_interval"))] if tested else []),
        )
    console.print(table)
    notes = [f"{metric}, means over {first['seeds']} fresh seeds"]
    notes += [f"test split of {first['test_images']} images"] if first.get("test_images") else []
    notes += [f"protocol {answer['protocol']}"] if answer["protocol"] else []
    console.print("; ".join(notes))
    for test in answer["comparisons"]:
        span = f"{test['low']:+.4f} .. {test['high']:+.4f}" if test["low"] is not None else "none"
        console.print(
            f"{test['point']} against {test['against']}: {metric} {test['difference']:+.4f},"
            f" {100 * test['level']:.3g} % interval {span}: {test['verdict']}" + _why(test)
        )
    console.print(
        f"promoted: {answer['point']} ({answer['verdict']}), checkpoint {answer['checkpoint']}"
    )


def _why(test: Mapping[str, Any]) -> str:
    """What makes a verdict weaker than the numbers, or what would settle it."""
    if test.get("harmed"):
        return f" ({', '.join(test['harmed'])} worse)"
    needed = test.get("seeds_needed")
    return f" (about {needed} seeds would tell)" if needed else ""


def epoch(kind: str, summary: Summary, spec: StudySpec) -> str:
    """One line about an epoch."""
    shown = ("loss", spec.objective.metric, *spec.objective.guards, "seconds")
    values = [f"{n} {summary.metrics[n]:.4f}" for n in shown if n in summary.metrics]
    by = protocol(kind, spec)
    return f"{kind}  " + "  ".join([*values, *([f"protocol {by}"] if by else [])])


def trained(answer: Mapping[str, Any]) -> None:
    console.print(f"checkpoints and metrics.json lie in {answer['out']}")
