"""`worker`: a process that runs points of a planned study."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from weightsearch.commands.options import (
    Data,
    Device,
    Storage,
    open_storage,
)
from weightsearch.runtime.home import home_folder
from weightsearch.worker.failure_kinds import REPLACE_ME

if TYPE_CHECKING:
    pass

DATABASE_S = 60.0  # a worker that starts in an outage waits this long

app = typer.Typer()


@app.command()
def worker(
    name: Annotated[str, typer.Argument(help="A planned study.")],
    device: Device = "auto",
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
        name=worker_name(os.environ.get("WEIGHTSEARCH_WORKER")),
        replaces=os.environ.get("WEIGHTSEARCH_REPLACES") or None,
    )
    try:
        loop.run(asked)
    except Unfit as error:
        print(f"{error}; this worker exits to be replaced", file=sys.stderr)
        sys.exit(REPLACE_ME)
