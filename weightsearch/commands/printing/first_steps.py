"""What the commands before a first launch print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weightsearch.commands.answers.findings import WRONG
from weightsearch.runtime.console import columns, console

if TYPE_CHECKING:
    from weightsearch.commands.answers.findings import Row
    from weightsearch.commands.answers.study_check import Checked


def rows(found: Sequence[Row]) -> None:
    """A line each: what is wrong stands out by its first word."""
    wide = max((len(row.part) for row in found), default=0)
    for row in found:
        console.print(f"{row.state:<8} {row.part:<{wide}}  {row.said}")


def checked(found: Checked) -> None:
    rows(found.rows)
    wrong = sum(row.state == WRONG for row in found.rows)
    console.print(
        f"study {found.study} cannot be launched here: {wrong} to be put right"
        if wrong
        else f"study {found.study} can be launched here; `launch --dry-run` says the hours"
    )


def written(found: Mapping[str, Any]) -> None:
    console.print(f"written: {found['file']} ({found['points']} points)")
    for line in found["warnings"]:
        console.print(f"warning: {line}")
    console.print("next:")
    for command in found["next"]:
        console.print(f"  {command}")


def study_files(found: Sequence[Mapping[str, str]]) -> None:
    wide = max(len(row["name"]) for row in found)
    console.print("files (weightsearch launch NAME)")
    for row in found:
        console.print(f"  {row['name']:<{wide}}  {row['goal']}")


def studies(found: Mapping[str, Any]) -> None:
    study_files(found["files"])
    if not found["planned"]:
        console.print("in the database: none yet")
        return
    table = columns("in the database", ("study", "state", "done", "promotion"))
    for row in found["planned"]:
        done = f"{row['done']} of {row['points']}"
        table.add_row(row["name"], row["state"], done, row["verdict"] or "")
    console.print(table)
