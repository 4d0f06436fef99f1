"""Commands about a study that runs: how far it is, and what is done to it meanwhile."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from weightsearch.commands.options import (
    DONE,
    Csv,
    Json,
    Name,
    Storage,
    Wide,
    open_storage,
    print_answer,
    table_form,
)
from weightsearch.errors import ConfigError
from weightsearch.runtime.home import home_folder
from weightsearch.store.tables.states import OPEN, Phase, StudyState

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from weightsearch.commands.answers.study_answers import Status
    from weightsearch.store.ledger.studies import Study

WATCH_EVERY_S = 2.0

app = typer.Typer()

Why = Annotated[str | None, typer.Option(help="The reason, shown by `status`.")]


@app.command()
def status(
    name: Name = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep running and refresh.")] = False,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Show a study's progress: points by state, workers, the best so far, failures.

    Example: weightsearch status quickstart-grid --watch
    """
    from weightsearch.commands.answers import study_answers
    from weightsearch.commands.printing import study_status

    engine = open_storage(storage).engine
    if watch and as_json:
        raise ConfigError(
            "--watch refreshes a terminal, --json prints one document; give only one of them."
        )
    if watch:
        _watch(engine, lambda last: study_answers.status(engine, name, home_folder(), last))
    else:
        print_answer(
            study_answers.status(engine, name, home_folder()), as_json, study_status.status
        )


def _watch(engine: Engine, ask: Callable[[Status | None], Status]) -> None:
    """Shows the status until the study is over, or Ctrl-C."""
    from weightsearch.commands.printing import study_status
    from weightsearch.runtime import console
    from weightsearch.store.connection.outage import retry_while_away

    found = None
    try:
        while True:
            found = retry_while_away(partial(ask, found))
            drawn = retry_while_away(partial(_drawn, engine, found.study))
            with console.fresh_page():
                study_status.status(found, drawn)
            left = [part[state] for part in (found.points, found.promotion) for state in OPEN]
            is_over = not any(left) or found.state in (Phase.DONE, Phase.PROMOTED)
            if is_over and not found.workers:
                return
            time.sleep(WATCH_EVERY_S)
    except KeyboardInterrupt:
        sys.exit(DONE)


def _drawn(engine: Engine, name: str) -> list[str]:
    """Where the search has been, for a terminal."""
    from weightsearch.launch.display import progress
    from weightsearch.store.ledger import studies

    return progress.picture(engine, studies.find(engine, name)) if sys.stdout.isatty() else []


@app.command()
def workers(
    name: Name = None,
    wide: Wide = False,
    as_csv: Csv = False,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """List the workers: host, process, device and current point.

    Example: weightsearch workers
    """
    form = table_form(wide, as_csv, as_json)
    from weightsearch.commands.answers import study_answers
    from weightsearch.commands.printing import study_status

    found = study_answers.workers(open_storage(storage).engine, name)
    print_answer(found, as_json, partial(study_status.workers, form=form))


@app.command()
def failures(name: Name = None, storage: Storage = None, as_json: Json = False) -> None:
    """List the attempts that ended without a result, with the reason, and the last traceback.

    Example: weightsearch failures quickstart-grid
    """
    from weightsearch.commands.answers import study_answers
    from weightsearch.commands.printing import study_status

    found = study_answers.failures(open_storage(storage).engine, name)
    logs = home_folder() / "logs" / found["study"]
    print_answer(found, as_json, partial(study_status.failures, logs=logs))


@app.command()
def logs(
    point: Annotated[int, typer.Argument(min=0, help="The point's number, as `best` has it.")],
    name: Name = None,
    promotion: Annotated[
        bool, typer.Option("--promotion", help="A run of the promotion with this number.")
    ] = False,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Show the attempts at a point, and what the workers of this machine logged of them.

    Example: weightsearch logs 12 quickstart-grid
    """
    from weightsearch.commands.answers import point_logs
    from weightsearch.commands.printing import study_status

    engine = open_storage(storage).engine
    found = point_logs.find(engine, name, point, promotion, home_folder())
    print_answer(found, as_json, study_status.logs)


@app.command()
def pause(
    name: Name = None, why: Why = None, storage: Storage = None, as_json: Json = False
) -> None:
    """Pause a study: workers give their points back after the current epoch, and wait.

    Example: weightsearch pause paper-grid-grid --why "the GPUs are needed until noon"
    """
    said = "is paused: workers give their points back and wait; `weightsearch resume` goes on"
    _set_state(name, storage, as_json, StudyState.PAUSED, why, said)


@app.command()
def resume(name: Name = None, storage: Storage = None, as_json: Json = False) -> None:
    """Resume a paused or stopped study; a stopped one also needs new workers (`launch`).

    Example: weightsearch resume paper-grid-grid
    """
    _set_state(name, storage, as_json, StudyState.RUNNING, None, "goes on")


@app.command()
def stop(
    name: Name = None, why: Why = None, storage: Storage = None, as_json: Json = False
) -> None:
    """Stop a study: workers give their points back after the current epoch, and exit.

    Example: weightsearch stop paper-grid-grid
    """
    said = "is stopped: workers give their points back and leave; the same launch goes on"
    _set_state(name, storage, as_json, StudyState.STOPPED, why, said)


@app.command()
def retry(
    name: Name = None,
    failed: Annotated[bool, typer.Option("--failed", help="Points that were given up.")] = False,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Retry points that were given up, each with a full set of attempts.

    Example: weightsearch retry quickstart-grid --failed
    """
    from weightsearch.store.ledger import study_control

    if not failed:
        raise ConfigError("`retry` must be told what to retry; add --failed.")

    def again(engine: Engine, study: Study) -> str:
        number = study_control.retry_failed(engine, study)
        return f"{number} points of study {study.name} wait to be tried again"

    _change(name, storage, as_json, again)


def _set_state(
    name: str | None, storage: str | None, as_json: bool, state: str, why: str | None, said: str
) -> None:
    from weightsearch.store.ledger import study_control

    def change(engine: Engine, study: Study) -> str:
        study_control.set_state(engine, study, state, why)
        return f"study {study.name} {said}"

    _change(name, storage, as_json, change)


def _change(
    name: str | None,
    storage: str | None,
    as_json: bool,
    change: Callable[[Engine, Study], str],
) -> None:
    from weightsearch.commands.printing import study_status
    from weightsearch.store.ledger import studies

    engine = open_storage(storage).engine
    study = studies.find(engine, name)
    did = change(engine, study)
    print_answer({"study": study.name, "did": did}, as_json, study_status.changed)
