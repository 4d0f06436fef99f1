"""`worker` runs points of a planned study; `train` does one run outside a study."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from weightsearch.commands.options import (
    Data,
    Device,
    Json,
    Lanes,
    Storage,
    lanes_asked,
    open_storage,
    print_answer,
)
from weightsearch.runtime.home import home_folder
from weightsearch.worker.failure_kinds import REPLACE_ME

DATABASE_S = 60.0  # a worker that starts in an outage waits this long

app = typer.Typer()


@app.command()
def worker(
    name: Annotated[str, typer.Argument(help="A planned study.")],
    device: Device = "auto",
    lanes: Lanes = "1",
    data: Data = None,
    storage: Storage = None,
    lease: Annotated[
        float,
        typer.Option(
            min=1, help="Seconds without renewal until another worker takes a point over."
        ),
    ] = 60.0,
) -> None:
    """Run points of a planned study until none is left or SIGTERM arrives.

    Example: weightsearch worker paper-grid-grid --data /data/nyu --device cuda:0
    """
    from weightsearch.runtime import devices
    from weightsearch.runtime.stop_signals import Stop
    from weightsearch.runtime.worker_name import worker_name
    from weightsearch.store.connection.outage import retry_while_away
    from weightsearch.store.ledger import studies
    from weightsearch.worker import loop
    from weightsearch.worker.process import Unfit, Worker

    together = lanes_asked(lanes)
    until = time.monotonic() + DATABASE_S
    database = retry_while_away(lambda: open_storage(storage), lambda: time.monotonic() > until)
    study = studies.find(database.engine, name)
    studies.refuse_other_revision(database.engine, study)
    launcher = os.environ.get("WEIGHTSEARCH_LAUNCHER")
    asked = Worker(
        database=database,
        study=study,
        stop=Stop(launcher=int(launcher) if launcher else None),
        home=home_folder(),
        device=devices.pick(device, 1)[0],
        data=data,
        lease_s=lease,
        lanes=together,
        name=worker_name(os.environ.get("WEIGHTSEARCH_WORKER")),
        replaces=os.environ.get("WEIGHTSEARCH_REPLACES") or None,
    )
    try:
        loop.run(asked)
    except Unfit as error:
        print(f"{error}; this worker exits to be replaced", file=sys.stderr)
        sys.exit(REPLACE_ME)


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
    from weightsearch.study import loading
    from weightsearch.study import single_run as training

    spec = loading.load(loading.study_file(study))
    place = loading.data_path(spec, data)
    placed = devices.pick(device, 1)[0]
    summary: dict[str, Any] = {}
    for kind, found in training.train(spec, home_folder(), place, placed, out):
        print(study_status.epoch(kind, found, spec), file=sys.stderr)
        summary[kind] = found.metrics | {
            "images": found.images,
            "protocol": training.protocol(kind, spec),
        }
    print_answer({"out": str(out), **summary}, as_json, study_status.trained)
