"""A study in Weights & Biases' offline form: a folder for each attempt that has ended.

W&B's own client writes a run's log aside, and the log is put in place when it is whole: one that is
there is done. `wandb sync` uploads them.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from weightsearch.errors import ConfigError
from weightsearch.runtime import failpoints
from weightsearch.runtime.atomic_file import write_atomically
from weightsearch.runtime.optional_packages import needs
from weightsearch.runtime.safe_text import presentable
from weightsearch.store.ledger.studies import Study
from weightsearch.store.sinks import runs
from weightsearch.store.sinks.runs import Run

if TYPE_CHECKING:
    from wandb import Settings

FOLDER = "wandb"
"""Below the place: where `wandb sync --sync-all` looks."""
TOGETHER = 50
"""Runs that are written between a start and an end of W&B's service, which take a second."""


def write(engine: Engine, study: Study, place: str) -> int:
    """Writes the runs that are not there yet to `place`/wandb; how many.

    Raises ConfigError where wandb is not installed or its client fails, and OSError.
    """
    needs("wandb", "wandb")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # before the import, which sets it
    os.environ.pop("WANDB_SERVICE", None)  # a notebook's own service, whose end nobody could await
    import wandb

    folder = Path(place) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    database = runs.identity(engine)
    mine = f".{database}-{study.id}-"
    for left in folder.glob(f"{mine}*"):  # of somebody who was killed
        shutil.rmtree(left, ignore_errors=True)
    shown = {_attempt(file.stem, database) for file in folder.glob("offline-run-*/run-*.wandb")}
    aside = Path(tempfile.mkdtemp(prefix=mine, dir=folder))
    new, count = runs.ended(engine, study, shown), 0
    try:
        while batch := list(itertools.islice(new, TOGETHER)):
            for run, log in _logs(batch, study, aside):
                file = folder / _place(run)
                file.parent.mkdir(exist_ok=True)
                failpoints.reach("before-track")
                write_atomically(file, log.read_bytes())
                failpoints.reach("after-track")
                count += 1
    except wandb.Error as error:
        first_line, *_ = str(error).splitlines() or [type(error).__name__]
        raise ConfigError(
            f"W&B's client must write the runs of study '{study.name}', but says:"
            f" {presentable(first_line)[:300].rstrip('.')}."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return count


def _logs(batch: list[Run], study: Study, aside: Path) -> list[tuple[Run, Path]]:
    """The log of each, whole: only when W&B's service has ended is all of them on disk."""
    import wandb

    try:
        return [(run, _begun(run, study, aside)) for run in batch]
    finally:
        wandb.teardown()


def _place(run: Run) -> str:
    """Named as W&B names them: by the second at which they began."""
    return f"offline-run-{run.started_at:%Y%m%d_%H%M%S}-{_key(run)}/run-{_key(run)}.wandb"


def _key(run: Run) -> str:
    """W&B's id of the run; in it no `/` may be."""
    return run.id.replace("/", ".")


def _attempt(stem: str, database: str) -> str:
    """The id of the attempt that `run-KEY.wandb` is of; of no attempt where it is another's."""
    owner, *numbers = stem.removeprefix("run-").rsplit(".", 2)
    return "/".join([owner, *numbers]) if owner == database else ""


def _settings(aside: Path) -> Settings:
    """Nothing of this machine or the current folder is told, and nothing is printed."""
    import wandb

    return wandb.Settings(
        root_dir=str(aside),
        console="off",
        disable_code=True,
        disable_git=True,
        host="",
        silent=True,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )


def _begun(run: Run, study: Study, aside: Path) -> Path:
    """The log, all that `wandb sync` reads of a run; the service is still writing it."""
    import wandb

    shown = wandb.init(
        config=_config(run),
        group="full runs" if "-full-" in run.name else "search",
        id=_key(run),
        mode="offline",
        name=run.name,
        notes=presentable(run.reason or ""),
        project=study.name,
        settings=_settings(aside),
        tags=[run.outcome],
    )
    for epoch, metrics in enumerate(run.epochs, start=1):
        shown.log(dict(metrics), step=epoch)
    for prefix, metrics in (("best", run.best), ("test", run.test)):
        shown.summary.update({f"{prefix}_{name}": value for name, value in metrics.items()})
    log = Path(shown.dir).with_name(f"run-{_key(run)}.wandb")
    shown.finish(exit_code=0 if run.is_finished else 1)
    return log


def _config(run: Run) -> dict[str, Any]:
    """What was chosen; and when it ran, for W&B's own times are of the writing."""
    times = {"started_at": run.started_at.isoformat(), "ended_at": run.ended_at.isoformat()}
    about = {"seed": run.seed, "worker": run.worker, "device": run.device}
    return {**times, **about, **run.weights, **run.params}  # what was chosen keeps its name
