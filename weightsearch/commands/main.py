"""The command line: each command parses, calls one function, and prints what it returns.

Heavy imports stay inside the commands, so that `weightsearch --help` loads neither torch nor
optuna.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated, NoReturn

import typer

from weightsearch.commands import (
    control,
    dashboard,
    data,
    database,
    evaluate,
    housekeeping,
    launch,
    model,
    nightly,
    ranking,
    report,
    start,
    weights,
    worker,
)
from weightsearch.commands.options import (
    DONE,
    STATED_ERROR,
)
from weightsearch.errors import ObjectiveError, WeightsearchError
from weightsearch.runtime import own_traceback, safe_text

app = typer.Typer(
    name="weightsearch",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
PARTS = (
    *(start, launch, worker, ranking),
    *(model, control, housekeeping, evaluate),
    *(report, database, dashboard),
)
for part in PARTS:
    app.add_typer(part.app)
app.add_typer(data.app, name="data")
app.add_typer(nightly.app, name="nightly")
app.add_typer(weights.app, name="weights")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"weightsearch {version('weightsearch')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Finds the weights of a multi-term loss, and the encoder to go with them; trains the winner in
    full."""


def main() -> NoReturn:
    """Runs the command line; a stated error is one line on stderr and exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    safe_text.guard()
    try:
        app(prog_name="weightsearch", standalone_mode=True)
    except WeightsearchError as error:
        said = str(error)
        if isinstance(error, ObjectiveError) and error.trace:
            trace = own_traceback.shown(error.trace)
            print(safe_text.presentable(trace, lines=True), file=sys.stderr)
    except OSError as error:
        if error.filename is None:
            raise
        said = f"{error.filename}: {error.strerror}."
    except Exception as error:
        if not type(error).__module__.startswith(("sqlalchemy", "psycopg")):
            raise
        from weightsearch.store.connection.outage import reason

        said = f"the database cannot be used: {reason(error)}."
    else:
        sys.exit(DONE)
    print(f"error: {safe_text.presentable(said)}", file=sys.stderr)
    sys.exit(STATED_ERROR)
