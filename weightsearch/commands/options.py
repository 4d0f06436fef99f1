"""What the commands share: their common options, and how an answer is printed."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from weightsearch.errors import ConfigError
from weightsearch.runtime.home import home_folder

if TYPE_CHECKING:
    from weightsearch.launch.preparation import Request
    from weightsearch.runtime.tables import Form
    from weightsearch.store.connection.database import Database
    from weightsearch.study.spec_fields import Value

Answer = TypeVar("Answer")

DONE, STATED_ERROR, NO, INTERRUPTED = 0, 1, 3, 130  # exit codes; 2 is wrong usage

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Wide = Annotated[
    bool, typer.Option("--wide", help="Every column and row, however wide the table becomes.")
]
Csv = Annotated[bool, typer.Option("--csv", help="The whole table as CSV, and nothing else.")]
Storage = Annotated[
    str | None,
    typer.Option(
        help="URL of a PostgreSQL database; by default WEIGHTSEARCH_STORAGE (put a password there:"
        " others can read arguments), else the embedded database.",
        show_default=False,
    ),
]
Data = Annotated[Path | None, typer.Option(help="Path of the data set on this machine.")]
Reader = Annotated[str | None, typer.Option(help="The data's reader; detected by default.")]
Option = Annotated[list[str] | None, typer.Option(help="Reader option KEY=VALUE.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:N.")]
Sampler = Annotated[str | None, typer.Option(help="grid, random, qmc, tpe, gp, cmaes or mixture.")]
Trials = Annotated[int | None, typer.Option(min=1, help="How many points.")]
On = Annotated[str, typer.Option(help="Where workers run: local, ray or slurm.")]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Worker processes; by default one per GPU, or per core of the CPU."),
]
Lanes = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        help="Points that a worker trains together, on one pass of data and augmentation; auto: as"
        " many as measure fastest on its GPU, one on a CPU.",
    ),
]
PromoteTop = Annotated[
    int | None,
    typer.Option("--promote-top", min=1, help="How many finalists; by default the study's."),
]
PromoteSeeds = Annotated[
    str | None,
    typer.Option("--promote-seeds", help="Fresh seeds of each finalist's full runs, as in 1,2,3."),
]
PromoteEpochs = Annotated[
    int | None, typer.Option("--promote-epochs", min=1, help="Epochs of a full run at most.")
]
Name = Annotated[str | None, typer.Argument(help="The study; by default the newest.")]


def _study_names(incomplete: str) -> list[str]:
    """For a shell's completion; a path is completed by the shell itself."""
    from weightsearch.study import loading

    own = [path.name for path in sorted(Path().glob("*.toml"))]
    return [name for name in (*loading.study_files(), *own) if name.startswith(incomplete)]


StudyFile = Annotated[
    str,
    typer.Argument(help="A file, or the name of one in studies/.", autocompletion=_study_names),
]


class FirstByDefault(TyperGroup):
    """`GROUP ARGUMENT` is `GROUP COMMAND ARGUMENT` with the first of its commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first, *_ = self.commands
        is_named = args and args[0] in (*self.commands, *ctx.help_option_names)
        if not is_named and (args or not self.no_args_is_help):
            args = [first, *args]
        return super().parse_args(ctx, args)


def open_storage(storage: str | None) -> Database:
    """The database that --storage, or the environment, names; its tables are there."""
    from weightsearch.store.connection.database import open_database

    return open_database(storage, home_folder())


def lanes_asked(lanes: str) -> int | None:
    """How many points a worker trains together; None for `auto`. Raises ConfigError."""
    if lanes == "auto":
        return None
    if lanes.isdecimal() and int(lanes) >= 1:
        return int(lanes)
    raise ConfigError(f"--lanes must be auto or a number of at least 1, but got '{lanes}'.")


def launch_request(
    on: str,
    device: str,
    workers: int | None,
    data: Path | None,
    file: Path | None = None,
    quiet: bool = False,
    lanes: str = "1",
) -> Request:
    """What a launch, a promotion or a night is asked for, not named yet; `file` is the study's.

    Raises ConfigError for a launcher that there is not, and for lanes that are no number.
    """
    from weightsearch.api import requests

    check_on(on)
    lanes_asked(lanes)
    request = requests.request(on, device, workers, data, file)
    return replace(request, lanes=lanes, quiet=quiet)


def check_on(on: str) -> None:
    """Raises ConfigError for a launcher that there is not."""
    from weightsearch.launch.places import LAUNCHERS

    if on not in LAUNCHERS:
        raise ConfigError(f"--on must be one of {', '.join(LAUNCHERS)}, but got '{on}'.")


def promote_settings(top: int | None, seeds: str | None, epochs: int | None) -> dict[str, Any]:
    """What is asked for of a study's `promote` table. Raises ConfigError for what are no seeds."""
    found = None
    if seeds is not None:
        parts = seeds.split(",")
        if not all(part.strip().isdecimal() for part in parts):
            raise ConfigError(
                f"--promote-seeds must be numbers with commas, as in 1,2,3, but got '{seeds}'."
            )
        found = [int(part) for part in parts]
    given = {"top": top, "seeds": found, "epochs": epochs}
    return {name: value for name, value in given.items() if value is not None}


def interrupt_on_sigterm() -> None:
    """Has SIGTERM and SIGHUP end what runs as Ctrl-C does: its state is saved."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)


def print_answer(answer: Answer, as_json: bool, show: Callable[[Answer], None]) -> None:
    """An answer as JSON (typed ones say how: `to_json`), or as people read it."""
    if as_json:
        print(json.dumps(answer, allow_nan=False, default=lambda typed: typed.to_json()))
    else:
        show(answer)


def table_form(wide: bool, as_csv: bool, as_json: bool) -> Form:
    """Raises ConfigError where an answer is to be in two forms."""
    if as_csv and as_json:
        raise ConfigError("--csv and --json are two forms of one answer; give only one of them.")
    from weightsearch.runtime.tables import Form

    return Form(wide, as_csv)


def reader_options(given: list[str] | None) -> dict[str, Value]:
    """`half_step=false` as reader options: true, false, numbers, else text."""
    found: dict[str, Value] = {}
    for text in given or []:
        key, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"--option must read KEY=VALUE, but got '{text}'.")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found


def check_name(option: str, text: str | None) -> None:
    """Raises ConfigError for a name that could not be part of a path, a URL and a command."""
    if text is not None and not re.fullmatch(r"[\w][\w.+-]*", text):
        raise ConfigError(f"--{option} must be letters, digits and . _ + -, but got '{text}'.")
