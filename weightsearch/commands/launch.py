"""`launch` and `promote`: a study from its file to the promoted checkpoint."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weightsearch.commands.options import (
    INTERRUPTED,
    NO,
    Data,
    Device,
    Json,
    Lanes,
    Name,
    On,
    PromoteEpochs,
    PromoteSeeds,
    PromoteTop,
    Sampler,
    Storage,
    StudyFile,
    Trials,
    Workers,
    check_name,
    check_on,
    interrupt_on_sigterm,
    lanes_asked,
    launch_request,
    open_storage,
    print_answer,
    promote_settings,
)
from weightsearch.errors import ConfigError, WeightsearchError
from weightsearch.runtime.line_width import say, wrap_logs

if TYPE_CHECKING:
    from weightsearch.launch.expected_cost import Expected
    from weightsearch.launch.preparation import Request
    from weightsearch.store.connection.database import Database
    from weightsearch.store.ledger.studies import Study
    from weightsearch.study.spec import PromoteSpec, StudySpec

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
    lanes: Lanes = "1",
    data: Data = None,
    storage: Storage = None,
    name: Annotated[str | None, typer.Option(help="The study's name in the database.")] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="30min, 2h, '100 points', '8 device-h' (repeatable), or none; else the file's."
        ),
    ] = None,
    on: On = "local",
    repeats: Annotated[
        int | None,
        typer.Option(min=1, help="How often each configuration is trained, with other seeds."),
    ] = None,
    pruner: Annotated[
        str | None,
        typer.Option(help="Which configurations go on: none (all), racing or rungs."),
    ] = None,
    extend: Annotated[
        str | None,
        typer.Option(
            help="Grow a study of the database, by its name: trials=40, repeats=5, or both with a"
            " comma. What is done stays.",
            show_default=False,
        ),
    ] = None,
    promote: Annotated[bool, typer.Option(help="Train the best in full afterwards.")] = True,
    promote_top: PromoteTop = None,
    promote_seeds: PromoteSeeds = None,
    promote_epochs: PromoteEpochs = None,
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
    from weightsearch.api import requests
    from weightsearch.commands.printing import launch_result
    from weightsearch.launch import preparation, session

    check_name("name", name)
    full = promote_settings(promote_top, promote_seeds, promote_epochs)
    if full and not promote:
        raise ConfigError("--no-promote leaves out what the other --promote options are about.")
    overrides: dict[str, Any] = {
        "sampler.kind": sampler,
        "sampler.trials": trials,
        "sampler.seed": seed,
        "answer.repeats": repeats,
    }
    if pruner is not None:
        overrides |= {"pruner.kind": pruner, "pruner.rungs": None if pruner == "rungs" else []}
    overrides |= {f"promote.{name}": value for name, value in full.items()}
    if extend is None:
        spec, file = requests.named(study, overrides)
        known = name
    else:
        if name is not None or any(given is not None for given in overrides.values()):
            raise ConfigError("--extend takes the study as it is stored, by its name alone.")
        file, known, spec = None, study, _grown(storage, study, extend)
    check_on(on)
    lanes_asked(lanes)
    request = replace(
        requests.asked(spec, file, known, data, device, workers, on, budget),
        lanes=lanes,
        quiet=quiet,
        promote=promote,
        extends=extend is not None,
        repeat=bool(full),
    )
    request = replace(request, agree=lambda cost: _agree(request.name, cost, yes))
    interrupt_on_sigterm()
    wrap_logs()
    database = None
    try:
        database = open_storage(storage)
        if dry_run:
            found = preparation.prospect(database, spec, request)
            print_answer(found, as_json, partial(launch_result.foreseen, request.name))
            return
        outcome = session.launch(database, spec, request)
    except KeyboardInterrupt:
        say(f"interrupted: {_left(database, request.name, spec, dry_run)}")
        sys.exit(INTERRUPTED)
    print_answer(outcome, as_json, launch_result.launched)
    if outcome.ranking.promoted:
        show_pictures(database, request)


def _left(database: Database | None, name: str, spec: StudySpec, dry_run: bool) -> str:
    """What an interrupted launch leaves behind."""
    from pydantic import ValidationError
    from sqlalchemy.exc import SQLAlchemyError

    from weightsearch.store.ledger import studies

    if dry_run:
        return "nothing was planned."
    if database is None:
        return "run the same command to go on."
    try:
        planned = studies.is_planned(database.engine, name, spec)
    except (WeightsearchError, ValidationError, SQLAlchemyError):
        planned = True  # by other settings, as where it is extended; or the database is away
    if planned:
        return f"study {name} is saved; run the same command to resume it."
    return f"study {name} was not planned yet; the same command begins it."


def _grown(storage: str | None, name: str, extend: str) -> StudySpec:
    """The settings that a stored study grows to."""
    from weightsearch.store.ledger import studies
    from weightsearch.study import loading

    if name.endswith(".toml"):
        raise ConfigError(
            f"--extend takes a study of the database, but got the file '{name}'; give its name, as"
            " `weightsearch studies` lists it."
        )
    stored = studies.find(open_storage(storage).engine, name)
    return loading.extended(stored.spec, extend, f"study '{name}'")


def _agree(name: str, cost: Expected, yes: bool) -> None:
    """Says what a new study is expected to take, and asks where that is long."""
    say(f"study {name}: {cost.told()}")
    if cost.full_runs:
        say(
            "the full runs: --no-promote leaves them out; --promote-top, --promote-seeds and"
            " --promote-epochs change them"
        )
    _confirm(
        cost.seconds,
        yes,
        "a study",
        "bound it with --budget or --trials (the full runs with --no-promote)",
        "Launch it?",
    )


def _confirm(seconds: float, yes: bool, what: str, instead: str, question: str) -> None:
    """Asks about what takes long; exits where the answer is no."""
    from weightsearch.launch.expected_cost import hours

    if yes or seconds <= ASK_ABOVE_S:
        return
    if not sys.stdin.isatty():
        raise ConfigError(
            f"{what} of more than {hours(ASK_ABOVE_S)} must be confirmed, but this one is expected"
            f" to take about {hours(seconds)} and stdin is not a terminal; add --yes, or {instead}."
        )
    if not typer.confirm(question, err=True):
        say("nothing was planned")
        sys.exit(NO)


@app.command()
def promote(
    name: Name = None,
    workers: Workers = None,
    device: Device = "auto",
    data: Data = None,
    storage: Storage = None,
    on: On = "local",
    top: PromoteTop = None,
    seeds: PromoteSeeds = None,
    epochs: PromoteEpochs = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask, though more than 12 hours are expected.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would follow, plan nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train the best configurations in full with fresh seeds, compare them and mark the winner.

    With other settings than before it is repeated: full runs that fit them are taken over, and the
    earlier verdict is kept in the new one's history.

    Example: weightsearch promote paper-grid-grid --promote-top 2 --promote-epochs 50
    """
    from weightsearch.commands.printing import launch_result
    from weightsearch.launch import promotion, session
    from weightsearch.launch.places import PLACED
    from weightsearch.runtime.console import console
    from weightsearch.store.ledger import studies

    request = launch_request(on, device, workers, data)
    full = promote_settings(top, seeds, epochs)
    database = open_storage(storage)
    study = studies.find(database.engine, name)
    request = replace(request, name=study.name)
    asked = _asked(study, full)
    coming = promotion.ahead(database.engine, study, asked)
    devices = PLACED[on](device, workers)
    if dry_run:
        told = {"study": study.name, "full_runs": coming.runs, "done": coming.done}
        told |= {"seconds": coming.seconds(devices), "settings": asked.model_dump(mode="json")}
        said = f"study {study.name}: {coming.told(devices)}"
        print_answer(told, as_json, lambda _: console.print(said, soft_wrap=False))
        return
    fewer = "change it with --promote-top, --promote-seeds or --promote-epochs"
    _confirm(coming.seconds(devices) or 0.0, yes, "a promotion", fewer, "Promote?")
    interrupt_on_sigterm()
    wrap_logs()
    try:
        verdict = session.promote_study(database, study, request, asked)
    except KeyboardInterrupt:
        say("interrupted: run the same command to resume.")
        sys.exit(INTERRUPTED)
    print_answer(verdict, as_json, launch_result.promoted)
    show_pictures(database, request)


def _asked(study: Study, changes: Mapping[str, Any]) -> PromoteSpec:
    """The study's `promote` table with changes. Raises ConfigError for what cannot be meant."""
    from weightsearch.study import loading

    spec = study.spec.resolved()
    if spec["promote"] is None and not changes:
        raise ConfigError(
            f"study '{study.name}' has no [promote] table; say how many to promote:"
            f" `weightsearch promote {study.name} --promote-top N`."
        )
    table = {**(spec["promote"] or {}), **changes}
    found = loading.parse(spec | {"promote": table}, f"study '{study.name}'").promote
    assert found is not None
    return found


def show_pictures(database: Database, request: Request) -> None:
    """Pictures for the dashboard; a launch that went well does not fail for them."""
    from weightsearch.launch.session import child_environment
    from weightsearch.runtime import child_python

    place = [str(request.data)] if request.data else []
    arguments = (request.name, request.device, *place)
    ended = subprocess.run(
        child_python.command("weightsearch.commands.answers.promoted_panels", *arguments),
        env=child_python.environment(request.path) | child_environment(database, request),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # the launch's own has its answer
        start_new_session=True,  # Ctrl-C reaches us, and we end it
        check=False,
    )
    if ended.returncode:
        told = "no pictures for the dashboard: drawing them %s"
        logging.getLogger(__name__).warning(told, child_python.how_ended(ended.returncode))
