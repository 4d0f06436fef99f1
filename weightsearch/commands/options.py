"""What the commands share: their common options, and how an answer is printed."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from weightsearch.errors import ConfigError
from weightsearch.runtime.home import home_folder
from weightsearch.study.spec_fields import Value

if TYPE_CHECKING:
    from weightsearch.launch.preparation import Request
    from weightsearch.store.connection.database import Database

Answer = TypeVar("Answer")

DONE, STATED_ERROR, NO, INTERRUPTED = 0, 1, 3, 130  # exit codes; 2 is wrong usage

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
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


def launch_request(
    on: str,
    device: str,
    workers: int | None,
    data: Path | None,
    file: Path | None = None,
    quiet: bool = False,
) -> Request:
    """What a launch, a promotion or a night is asked for, not named yet; `file` is the study's.

    Raises ConfigError for a launcher that there is not.
    """
    from weightsearch.launch.places import LAUNCHERS
    from weightsearch.launch.preparation import Request

    if on not in LAUNCHERS:
        raise ConfigError(f"--on must be one of {', '.join(LAUNCHERS)}, but got '{on}'.")
    folders = [Path.cwd(), *([file.resolve().parent] if file else [])]
    return Request(
        name="",
        home=home_folder(),
        data=Path(os.path.realpath(data)) if data else None,
        device=device,
        workers=workers,
        on=on,
        quiet=quiet,
        path=tuple(map(str, folders)),
    )


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
