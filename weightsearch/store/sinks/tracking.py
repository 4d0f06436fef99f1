"""Shows a study in the places that its table [track] names; the ledger stays the truth.

Written from what is committed, by whoever asks: nothing that trains waits for it, and a place that
is away now is made up for by the next call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, func, select

from weightsearch.errors import ConfigError, StudyError
from weightsearch.store.ledger.studies import Study
from weightsearch.store.sinks import mlflow_runs, tensorboard_files, wandb_folders
from weightsearch.study.tables.track_spec import TrackSpec

SINKS = {
    "mlflow": mlflow_runs.write,
    "tensorboard": tensorboard_files.write,
    "wandb": wandb_folders.write,
}
"""By the key in [track]: shows a study's ended attempts in the place that the key names."""
TRACK_LOCK = 0x7472636B  # with the study's number, the advisory lock's key: "trck"


@dataclass(frozen=True)
class Tracked:
    """What was shown now, that was not before."""

    study: str
    runs: dict[str, int]
    """By sink."""

    def to_json(self) -> dict[str, Any]:
        return {"study": self.study, "runs": self.runs}


def track(engine: Engine, study: Study, wanted: TrackSpec) -> Tracked:
    """Brings each place up to date with the ended attempts.

    Raises ConfigError where no place is named, a package is missing or a server refuses, StudyError
    where another process is at it, and OSError where a folder cannot be written.
    """
    places = {name: getattr(wanted, name) for name in SINKS if getattr(wanted, name)}
    if not places:
        raise ConfigError(
            f"study '{study.name}' must say where it is tracked; name one or more of"
            f" {', '.join(SINKS)} in its table [track], or with an option."
        )
    with _alone(engine, study):
        return Tracked(
            study.name, {name: SINKS[name](engine, study, place) for name, place in places.items()}
        )


@contextlib.contextmanager
def _alone(engine: Engine, study: Study) -> Iterator[None]:
    """Of two processes, both would make the runs that neither finds. Held by the session, for a
    transaction that waits for another server would be ended."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        taken = connection.execute(select(func.pg_try_advisory_lock(TRACK_LOCK, study.id)))
        if not taken.scalar_one():
            raise StudyError(
                f"only one process at a time may track study '{study.name}', but another is at it;"
                " ask again when it is done."
            )
        try:
            yield
        finally:
            connection.execute(select(func.pg_advisory_unlock(TRACK_LOCK, study.id)))
