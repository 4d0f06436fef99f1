"""A study as TensorBoard reads it: a folder with one event file for each attempt that has ended.

A file is named after its attempt, and is there whole or not at all: one that is there is done.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from weightsearch.runtime import failpoints
from weightsearch.runtime.atomic_file import write_atomically
from weightsearch.runtime.optional_packages import needs
from weightsearch.store.ledger.studies import Study
from weightsearch.store.sinks import runs
from weightsearch.store.sinks.runs import Run

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

FIRST = "brain.Event:2"
"""The version of the format, which an event file begins with."""


def write(engine: Engine, study: Study, place: str) -> int:
    """Writes the files that are not there yet, below `place`; how many.

    Raises ConfigError where tensorboard is not installed, and OSError.
    """
    needs("tensorboard", "tensorboard")
    folder = Path(place) / study.name
    there = {file.name for file in folder.glob("*/events.out.tfevents.*")}
    database = runs.identity(engine)
    shown = {_attempt(name, database) for name in there}
    count = 0
    for run in runs.ended(engine, study, shown):
        file = folder / run.name / _file(run)
        file.parent.mkdir(parents=True, exist_ok=True)
        failpoints.reach("before-track")
        write_atomically(file, _document(run))
        failpoints.reach("after-track")
        count += 1
    return count


def _file(run: Run) -> str:
    """`events.out.tfevents.SECONDS.DATABASE-POINT-ATTEMPT`: TensorBoard sorts by the seconds."""
    return f"events.out.tfevents.{run.started_at.timestamp():.0f}.{run.id.replace('/', '.')}"


def _attempt(name: str, database: str) -> str:
    """The id of the attempt that a file is named after; of no attempt where it is another's."""
    *_, owner, point, attempt = name.rsplit(".", 3)
    return f"{owner}/{point}/{attempt}" if owner == database else ""


def _document(run: Run) -> bytes:
    from tensorboard.summary.writer.record_writer import RecordWriter

    held = io.BytesIO()
    writer = RecordWriter(held)
    for event in _events(run):
        writer.write(event.SerializeToString())
    return held.getvalue()


def _events(run: Run) -> Iterator[Event]:
    """The settings and metrics, as of the attempt's end: the ledger knows no other time."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import summary_v2 as hparams

    def event(**held: Any) -> Event:
        return Event(wall_time=run.ended_at.timestamp(), **held)

    def scalars(values: dict[str, float], step: int) -> Event:
        tags = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        return event(step=step, summary=Summary(value=tags))

    chosen = {**run.weights, **run.params, "seed": run.seed}
    began_s = run.started_at.timestamp()
    yield event(file_version=FIRST)
    yield event(summary=hparams.hparams_pb(chosen, trial_id=run.name, start_time_secs=began_s))
    for epoch, metrics in enumerate(run.epochs, start=1):
        yield scalars(dict(metrics), epoch)
    best = {f"best_{name}": value for name, value in run.best.items()}
    best |= {f"test_{name}": value for name, value in run.test.items()}
    if best:
        yield scalars(best, run.best_epoch)
    yield event(summary=_end(run))


def _end(run: Run) -> Summary:
    """The state of the attempt, for the tab HPARAMS; tensorboard's own needs tensorflow."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    status = api_pb2.STATUS_SUCCESS if run.is_finished else api_pb2.STATUS_FAILURE
    ended = SessionEndInfo(status=status, end_time_secs=run.ended_at.timestamp())
    about = metadata.create_summary_metadata(HParamsPluginData(session_end_info=ended))
    tag, nothing = metadata.SESSION_END_INFO_TAG, metadata.NULL_TENSOR
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=nothing)])
