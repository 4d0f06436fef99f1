"""`weightsearch data ...`: what is in a data set, and packing it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from weightsearch.commands.options import Json, Option, Reader, print_answer, reader_options
from weightsearch.runtime.home import home_folder

log = logging.getLogger(__name__)

app = typer.Typer(help="Inspect and pack data sets.", no_args_is_help=True)


@app.command("inspect")
def data_inspect(
    path: Annotated[Path | None, typer.Argument(help="Path of the data set.")] = None,
    reader: Reader = None,
    option: Option = None,
    sample: Annotated[
        int, typer.Option(min=0, help="Number of frames to check, evenly spread; 0 for all.")
    ] = 16,
    val: Annotated[
        str, typer.Option(help="The validation split of a study, whose frames are checked.")
    ] = "blocks:10%",
    seed: Annotated[int, typer.Option(help="The seed of that study's training.")] = 0,
    picture: Annotated[
        Path | None, typer.Option(help="Write a contact sheet (RGB, depth, valid pixels) here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Inspect a data set: counts, sizes, units, holes, splits, leaks, with warnings.

    Example: weightsearch data inspect /data/nyu_data --picture sheet.png
    """
    from weightsearch.commands.printing import data_sets
    from weightsearch.data.inspection import report
    from weightsearch.data.readers import registry

    options = reader_options(option)
    reader = reader or registry.detect(path, options)
    found = report.inspect(reader, path, options, sample, val, seed, picture)
    print_answer(found, as_json, data_sets.inspected)


@app.command("pack")
def data_pack(
    path: Annotated[Path | None, typer.Argument(help="Path of the data set.")] = None,
    reader: Reader = None,
    option: Option = None,
    as_json: Json = False,
) -> None:
    """Pack a data set into one HDF5 file under WEIGHTSEARCH_HOME; training does so on its own.

    A pack that is there is read through; where it or a training copy is damaged, that file is
    removed and made again (a copy when it is next used), and nothing else is touched.

    Example: weightsearch data pack /data/nyu_depth_v2_labeled.mat --option depths=raw
    """
    from weightsearch.commands.printing import data_sets
    from weightsearch.data.packs import building
    from weightsearch.data.readers import registry
    from weightsearch.launch.display.progress import display

    options = reader_options(option)
    reader = reader or registry.detect(path, options)
    for file in building.remove_damaged(reader, path, options, home_folder()):
        log.warning("%s was damaged and is removed", file)
    with display("packing", as_json) as shown:
        made = building.ensure(
            reader,
            path,
            options,
            home_folder(),
            lambda done, total: shown.count(done, total, "frames"),
        )
    with building.Pack(made) as opened:
        facts = {"pack": str(made), "frames": len(opened.names), "digest": opened.digest}
        facts["skipped"] = list(opened.skipped)
    print_answer(facts, as_json, data_sets.packed)
