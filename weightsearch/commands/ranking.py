"""`best` and `verify`: what a study found, and whether each point is done exactly once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from weightsearch.commands.options import (
    DONE,
    NO,
    Json,
    Name,
    Storage,
    open_storage,
    print_answer,
)

if TYPE_CHECKING:
    pass

app = typer.Typer()


@app.command()
def verify(name: Name = None, storage: Storage = None, as_json: Json = False) -> None:
    """Check that every planned point is done exactly once, and that the Optuna study shows it.

    Exit 0, else 3 with the exceptions.

    Example: weightsearch verify quickstart-grid
    """
    from weightsearch.commands.answers import study_answers
    from weightsearch.commands.printing import study_status

    found = study_answers.verify(open_storage(storage).engine, name)
    print_answer(found, as_json, study_status.verified)
    sys.exit(DONE if found.ok else NO)


@app.command()
def best(name: Name = None, storage: Storage = None, as_json: Json = False) -> None:
    """Show the ranking, with intervals.

    Example: weightsearch best quickstart-grid
    """
    from weightsearch.commands.answers import study_answers
    from weightsearch.commands.printing import launch_result

    print_answer(
        study_answers.best(open_storage(storage).engine, name), as_json, launch_result.ranking
    )
