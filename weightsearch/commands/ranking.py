"""`best` and `verify`: what a study found, and whether each point is done exactly once."""

from __future__ import annotations

import sys
from functools import partial

import typer

from weightsearch.commands.options import (
    DONE,
    NO,
    Csv,
    Json,
    Name,
    Storage,
    Wide,
    open_storage,
    print_answer,
    table_form,
)

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
def best(
    name: Name = None,
    wide: Wide = False,
    as_csv: Csv = False,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Show the ranking, with intervals.

    Example: weightsearch best quickstart-grid
    """
    form = table_form(wide, as_csv, as_json)
    from weightsearch.api.study_view import study
    from weightsearch.commands.printing import launch_result

    found = study(name, storage=storage).answer()
    print_answer(found, as_json, partial(launch_result.ranking, form=form))
