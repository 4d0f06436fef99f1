"""`weightsearch data ...`: what is in a data set, and packing it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from weightsearch import config
from weightsearch.cli_common import Json, print_answer
from weightsearch.errors import ConfigError

app = typer.Typer(help="Data sets: what is in them, and packing them.", no_args_is_help=True)


@app.command("inspect")
def data_inspect(
    path: Annotated[Path | None, typer.Argument(help="Where the data set lies.")] = None,
    reader: Annotated[str | None, typer.Option(help="Its reader; else found out.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Reader option KEY=VALUE.")] = None,
    as_json: Json = False,
) -> None:
    """What is in a data set: frames by split, sizes, depth range.

    Example: weightsearch data inspect /data/nyu_data --json
    """
    from weightsearch import show
    from weightsearch.data import inspect, readers

    reader = reader or readers.detect(path)
    print_answer(inspect.inspect(reader, path, _options(option)), as_json, show.inspected)


@app.command("pack")
def data_pack(
    path: Annotated[Path | None, typer.Argument(help="Where the data set lies.")] = None,
    reader: Annotated[str | None, typer.Option(help="Its reader; else found out.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Reader option KEY=VALUE.")] = None,
    as_json: Json = False,
) -> None:
    """Pack a data set into one HDF5 file under WEIGHTSEARCH_HOME; training does it by itself.

    Example: weightsearch data pack /data/nyu_depth_v2_labeled.mat --option depths=raw
    """
    from weightsearch import show
    from weightsearch.data import pack, readers
    from weightsearch.launch.progress import display

    reader = reader or readers.detect(path)
    with display("packing", as_json) as shown:
        made = pack.ensure(
            reader,
            path,
            _options(option),
            config.home(),
            lambda done, total: shown.count(done, total, "frames"),
        )
    with pack.Pack(made) as opened:
        facts = {"pack": str(made), "frames": len(opened.names), "digest": opened.digest}
        facts["skipped"] = list(opened.skipped)
    print_answer(facts, as_json, show.facts)


def _options(given: list[str] | None) -> dict[str, config.Value]:
    """`half_step=false` as reader options: true, false, numbers, else text."""
    found: dict[str, config.Value] = {}
    for text in given or []:
        key, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"--option must read KEY=VALUE, but got '{text}'.")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found
