"""What the commands before a first launch print."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weightsearch.commands.answers.findings import WRONG
from weightsearch.runtime import own_traceback
from weightsearch.runtime.console import console
from weightsearch.runtime.safe_text import counted, presentable
from weightsearch.runtime.tables import FITTED, Column, Form, Table

if TYPE_CHECKING:
    from weightsearch.commands.answers.findings import Row
    from weightsearch.commands.answers.study_check import Checked


def rows(found: Sequence[Row]) -> None:
    """A line each: what is wrong stands out by its first word."""
    table = Table("", ("", "", Column("", wraps=True)))
    for row in found:
        table.add_row(row.state, row.part, row.said)
    for line in table.lines(console.width)[1:]:  # it needs no headings
        console.print(line)


def checked(found: Checked) -> None:
    for row in found.rows:
        if row.trace:
            print(presentable(own_traceback.shown(row.trace), lines=True), file=sys.stderr)
    rows(found.rows)
    wrong = sum(row.state == WRONG for row in found.rows)
    console.print(
        f"study {found.study} cannot be launched here: {wrong} to be put right"
        if wrong
        else f"study {found.study} can be launched here; `launch --dry-run` says the hours"
    )


def written(found: Mapping[str, Any]) -> None:
    console.print(f"written: {found['file']} ({counted(found['points'], 'point')})")
    for line in found["warnings"]:
        console.print(f"warning: {line}")
    console.print("next:")
    for command in found["next"]:
        console.print(f"  {command}")


def study_files(found: Sequence[Mapping[str, str]]) -> None:
    table = Table("files (weightsearch launch NAME)", ("  name", Column("goal", wraps=True)))
    for row in found:
        table.add_row(f"  {row['name']}", row["goal"])
    console.print(table)


def studies(found: Mapping[str, Any], form: Form = FITTED) -> None:
    headings = (Column("study", wraps=True), "state", "done", Column("promotion", leave_out=1))
    table = Table("in the database", headings, form.wide)
    for row in found["planned"]:
        done = f"{row['done']} of {row['points']}"
        table.add_row(row["name"], row["state"], done, row["verdict"] or "")
    if form.csv:
        print(table.csv(), end="")
        return
    study_files(found["files"])
    console.print(table if found["planned"] else "in the database: none yet")
