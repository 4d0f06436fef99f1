"""The command line: each command parses, calls one function, and prints what it returns.

Heavy imports stay inside the commands, so that `weightsearch --help` loads neither torch nor
optuna.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from weightsearch.commands import control, dashboard, evaluate, housekeeping, model, nightly, report
from weightsearch.commands import data as cli_data
from weightsearch.commands import database as cli_database
from weightsearch.commands.options import (
    DONE,
    INTERRUPTED,
    NO,
    STATED_ERROR,
    Data,
    Device,
    Json,
    Name,
    On,
    Storage,
    Workers,
    check_name,
    check_on,
    interrupt_on_sigterm,
    open_storage,
    print_answer,
)
from weightsearch.errors import WeightsearchError
from weightsearch.runtime import safe_text
from weightsearch.runtime.home import home_folder
from weightsearch.study import loading
from weightsearch.worker.failure_kinds import REPLACE_ME

if TYPE_CHECKING:
    from weightsearch.launch.session import Request
    from weightsearch.store.connection.database import Database

DATABASE_S = 60.0  # a worker that starts in an outage waits this long

app = typer.Typer(
    name="weightsearch",
    help="Finds the weights of a multi-term loss, and the encoder to go with them; trains the"
    " winner in full.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
PARTS = (
    *(model, control, housekeeping, evaluate),
    *(report, cli_database, dashboard),
)
for part in PARTS:
    app.add_typer(part.app)
app.add_typer(cli_data.app, name="data")
app.add_typer(nightly.app, name="nightly")


def main() -> NoReturn:
    """Runs the command line; a stated error is one line on stderr and exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    safe_text.guard()
    try:
        app(standalone_mode=True)
    except WeightsearchError as error:
        said = str(error)
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


@app.command()
def launch(
    study: Annotated[str, typer.Argument(help="A file, or the name of one in studies/.")] = (
        "quickstart"
    ),
    sampler: Annotated[str | None, typer.Option(help="grid, random, qmc or tpe.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many points.")] = None,
    seed: Annotated[int | None, typer.Option(help="The sampler's seed.")] = None,
    workers: Workers = None,
    device: Device = "auto",
    data: Data = None,
    storage: Storage = None,
    name: Annotated[str | None, typer.Option(help="The study's name in the database.")] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(help="2h, '100 points' or '8 device-h'; repeatable. None: all points."),
    ] = None,
    on: On = "local",
    promote: Annotated[bool, typer.Option(help="Train the best in full afterwards.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
    as_json: Json = False,
) -> None:
    """Plan a study (or go on with it), run it, rank it, and train the best in full.

    Example: weightsearch launch quickstart --sampler grid
    """
    from weightsearch.commands.text import study_text
    from weightsearch.launch import session
    from weightsearch.study import budget as budgets

    check_on(on)
    check_name("name", name)
    file = loading.study_file(study)
    spec = loading.load(
        file,
        {"sampler.kind": sampler, "sampler.trials": trials, "sampler.seed": seed},
    )
    request = session.Request(
        name=name or f"{file.stem}-{spec.sampler.kind}",
        budget=budgets.parse(budget or ()),
        home=home_folder(),
        data=Path(os.path.realpath(data)) if data else None,
        device=device,
        workers=workers,
        on=on,
        promote=promote,
        quiet=quiet,
        path=(str(Path.cwd()), str(file.resolve().parent)),
    )
    interrupt_on_sigterm()
    try:
        database = open_storage(storage)
        outcome = session.launch(database, spec, request)
    except KeyboardInterrupt:
        print(
            f"interrupted: study {request.name} is saved; the same command goes on with it.",
            file=sys.stderr,
        )
        sys.exit(INTERRUPTED)
    print_answer(outcome, as_json, study_text.launched)
    if outcome["promoted"]:
        _show_pictures(database, request)


@app.command()
def worker(
    name: Annotated[str, typer.Argument(help="A planned study.")],
    device: Device = "auto",
    data: Data = None,
    storage: Storage = None,
    lease: Annotated[
        float,
        typer.Option(min=1, help="Seconds without a sign of life until a point is taken over."),
    ] = 60.0,
) -> None:
    """Run points of a planned study until none is left, or SIGTERM.

    Example: weightsearch worker paper-grid-grid --data /data/nyu --device cuda:0
    """
    from weightsearch.runtime import devices
    from weightsearch.runtime.stop_signals import Stop
    from weightsearch.store.connection.outage import retry_while_away
    from weightsearch.store.ledger import studies
    from weightsearch.worker import loop
    from weightsearch.worker.process import Unfit, Worker, new_name

    until = time.monotonic() + DATABASE_S
    database = retry_while_away(lambda: open_storage(storage), lambda: time.monotonic() > until)
    launcher = os.environ.get("WEIGHTSEARCH_LAUNCHER")
    asked = Worker(
        database=database,
        study=studies.find(database.engine, name),
        stop=Stop(launcher=int(launcher) if launcher else None),
        home=home_folder(),
        device=devices.pick(device, 1)[0],
        data=data,
        lease_s=lease,
        name=new_name(os.environ.get("WEIGHTSEARCH_WORKER")),
        replaces=os.environ.get("WEIGHTSEARCH_REPLACES") or None,
    )
    try:
        loop.run(asked)
    except Unfit as error:
        print(f"{error}; this worker must be replaced", file=sys.stderr)
        sys.exit(REPLACE_ME)


@app.command()
def verify(name: Name = None, storage: Storage = None, as_json: Json = False) -> None:
    """Exit 0 when every planned point is done exactly once; otherwise 3, and what is not.

    Example: weightsearch verify quickstart-grid
    """
    from weightsearch.commands.answers import study_answers
    from weightsearch.commands.text import study_text

    found = study_answers.verify(open_storage(storage).engine, name)
    print_answer(found, as_json, study_text.verified)
    sys.exit(DONE if found["ok"] else NO)


@app.command()
def best(name: Name = None, storage: Storage = None, as_json: Json = False) -> None:
    """The ranking, with intervals.

    Example: weightsearch best quickstart-grid
    """
    from weightsearch.commands.answers import study_answers
    from weightsearch.commands.text import study_text

    print_answer(
        study_answers.best(open_storage(storage).engine, name), as_json, study_text.ranking
    )


@app.command()
def promote(
    name: Name = None,
    workers: Annotated[int | None, typer.Option(min=1)] = None,
    device: Device = "auto",
    data: Data = None,
    storage: Storage = None,
    on: On = "local",
    as_json: Json = False,
) -> None:
    """Train the best configurations in full with fresh seeds, compare them, mark the winner.

    Example: weightsearch promote paper-grid-grid --data /data/nyu
    """
    from weightsearch.commands.text import study_text
    from weightsearch.launch import session
    from weightsearch.store.ledger import studies

    check_on(on)
    database = open_storage(storage)
    study = studies.find(database.engine, name)
    request = session.Request(
        name=study.name,
        home=home_folder(),
        data=Path(os.path.realpath(data)) if data else None,
        device=device,
        workers=workers,
        on=on,
        path=(str(Path.cwd()),),
    )
    interrupt_on_sigterm()
    try:
        verdict = session.promote_study(database, study, request)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    print_answer(verdict, as_json, study_text.promoted)
    _show_pictures(database, request)


@app.command()
def train(
    study: Annotated[str, typer.Argument(help="A study file that describes one configuration.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and metrics.")],
    data: Data = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """One run outside a study: train a configuration, evaluate it on the test split.

    Example: weightsearch train first-1-equal --data /data/nyu_data --out runs/equal
    """
    from weightsearch.commands.text import study_text
    from weightsearch.runtime import devices
    from weightsearch.study import single_run as training

    spec = loading.load(loading.study_file(study))
    placed = devices.pick(device, 1)[0]
    summary: dict[str, Any] = {}
    for kind, found in training.train(spec, home_folder(), data, placed, out):
        print(study_text.epoch(kind, found, spec), file=sys.stderr)
        summary[kind] = found.metrics | {
            "images": found.images,
            "protocol": training.protocol(kind, spec),
        }
    print_answer({"out": str(out), **summary}, as_json, study_text.trained)


def _show_pictures(database: Database, request: Request) -> None:
    """Pictures for the dashboard; a launch that went well does not fail for them."""
    from weightsearch.commands.answers import report_pages

    here = report_pages.Here(request.home, request.data, request.device)
    try:
        report_pages.show_pictures(database, request.name, here)
    except Exception as error:
        logging.getLogger(__name__).warning("no pictures for the dashboard: %s", error)
