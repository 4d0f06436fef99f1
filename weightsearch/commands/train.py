"""`train`: one run outside a study."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weightsearch.commands.options import (
    Data,
    Device,
    Json,
    print_answer,
)
from weightsearch.runtime.home import home_folder
from weightsearch.study import loading

if TYPE_CHECKING:
    pass

app = typer.Typer()


@app.command()
def train(
    study: Annotated[str, typer.Argument(help="A study file that describes one configuration.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and metrics.")],
    data: Data = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train one configuration outside a study and evaluate it on the test split.

    Example: weightsearch train first-1-equal --data /data/nyu_data --out runs/equal
    """
    from weightsearch.commands.printing import study_status
    from weightsearch.runtime import devices
    from weightsearch.study import single_run as training

    spec = loading.load(loading.study_file(study))
    placed = devices.pick(device, 1)[0]
    summary: dict[str, Any] = {}
    for kind, found in training.train(spec, home_folder(), data, placed, out):
        print(study_status.epoch(kind, found, spec), file=sys.stderr)
        summary[kind] = found.metrics | {
            "images": found.images,
            "protocol": training.protocol(kind, spec),
        }
    print_answer({"out": str(out), **summary}, as_json, study_status.trained)
