"""`launch` and `promote`: a study from its file to the promoted checkpoint."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from weightsearch.commands.options import (
    INTERRUPTED,
    NO,
    Data,
    Device,
    Json,
    Name,
    On,
    Sampler,
    Storage,
    StudyFile,
    Trials,
    Workers,
    check_name,
    interrupt_on_sigterm,
    launch_request,
    open_storage,
    print_answer,
)
from weightsearch.errors import ConfigError
from weightsearch.runtime.safe_text import presentable
from weightsearch.study import loading

if TYPE_CHECKING:
    from weightsearch.launch.expected_cost import Expected
    from weightsearch.launch.preparation import Request
    from weightsearch.store.connection.database import Database

ASK_ABOVE_S = 12 * 3600.0

app = typer.Typer()


@app.command()
def launch(
    study: StudyFile = "quickstart",
    sampler: Sampler = None,
    trials: Trials = None,
    seed: Annotated[int | None, typer.Option(help="The sampler's seed.")] = None,
    workers: Workers = None,
    device: Device = "auto",
    data: Data = None,
    storage: Storage = None,
    name: Annotated[str | None, typer.Option(help="The study's name in the database.")] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="2h, '100 points' or '8 device-h', repeatable; or none. By default the file's."
        ),
    ] = None,
    on: On = "local",
    promote: Annotated[bool, typer.Option(help="Train the best in full afterwards.")] = True,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask, though more than 12 hours are expected.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Pack the data, say what it would take, plan nothing."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
    as_json: Json = False,
) -> None:
    """Plan a study or resume it, run it, rank its points, and train the best in full.

    Example: weightsearch launch quickstart --sampler grid
    """
    from weightsearch.commands.printing import launch_result
    from weightsearch.launch import preparation, session
    from weightsearch.study import budget as budgets

    check_name("name", name)
    file = loading.study_file(study)
    spec = loading.load(
        file,
        {"sampler.kind": sampler, "sampler.trials": trials, "sampler.seed": seed},
    )
    place = loading.data_path(spec, data)
    request = launch_request(on, device, workers, place, file, quiet)
    request = replace(
        request,
        name=name or f"{file.stem}-{spec.sampler.kind}",
        budget=budgets.parse(budget or spec.budget),
        promote=promote,
    )
    request = replace(request, agree=lambda cost: _agree(request.name, cost, yes))
    interrupt_on_sigterm()
    try:
        database = open_storage(storage)
        if dry_run:
            found = preparation.prospect(database, spec, request)
            print_answer(found, as_json, partial(launch_result.foreseen, request.name))
            return
        outcome = session.launch(database, spec, request)
    except KeyboardInterrupt:
        print(
            f"interrupted: study {request.name} is saved; run the same command to resume it.",
            file=sys.stderr,
        )
        sys.exit(INTERRUPTED)
    print_answer(outcome, as_json, launch_result.launched)
    if outcome.ranking.promoted:
        show_pictures(database, request)


def _agree(name: str, cost: Expected, yes: bool) -> None:
    """Says what a new study is expected to take, and asks where that is long."""
    from weightsearch.launch.expected_cost import hours

    print(presentable(f"study {name}: {cost.told()}"), file=sys.stderr)
    if yes or cost.seconds <= ASK_ABOVE_S:
        return
    if not sys.stdin.isatty():
        raise ConfigError(
            f"a study of more than {hours(ASK_ABOVE_S)} must be confirmed, but this one is expected"
            f" to take about {hours(cost.seconds)} and stdin is not a terminal; add --yes, or bound"
            " it with --budget or --trials (the full runs with --no-promote)."
        )
    if not typer.confirm("Launch it?", err=True):
        print("nothing was planned", file=sys.stderr)
        sys.exit(NO)


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
    """Train the best configurations in full with fresh seeds, compare them and mark the winner.

    Example: weightsearch promote paper-grid-grid --data /data/nyu
    """
    from weightsearch.commands.printing import launch_result
    from weightsearch.launch import session
    from weightsearch.store.ledger import studies

    request = launch_request(on, device, workers, data)
    database = open_storage(storage)
    study = studies.find(database.engine, name)
    request = replace(request, name=study.name)
    interrupt_on_sigterm()
    try:
        verdict = session.promote_study(database, study, request)
    except KeyboardInterrupt:
        print("interrupted: run the same command to resume.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    print_answer(verdict, as_json, launch_result.promoted)
    show_pictures(database, request)


def show_pictures(database: Database, request: Request) -> None:
    """Pictures for the dashboard; a launch that went well does not fail for them."""
    from weightsearch.commands.answers import report_pages

    here = report_pages.Here(request.home, request.data, request.device)
    try:
        report_pages.show_pictures(database, request.name, here)
    except Exception as error:
        logging.getLogger(__name__).warning("no pictures for the dashboard: %s", error)
