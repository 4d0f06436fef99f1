"""What a study looks like in MLflow, and a process that dies while it shows one there."""

from __future__ import annotations

import os
import random
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

from weightsearch.store.connection import database
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import studies
from weightsearch.store.ledger.studies import Study
from weightsearch.store.sinks import mlflow_runs, runs

Found = dict[str, Any]


def client(uri: str) -> Any:
    """MLflow's, of a store or a server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=uri)


def found(uri: str) -> Found:
    """Each active run by its identity: name, state, parameters and every value of each metric."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader = client(uri)
        experiment = reader.get_experiment_by_name("study")
        shown = reader.search_runs([experiment.experiment_id])
        told = [
            (
                run.data.tags["weightsearch_id"],
                {
                    "name": run.info.run_name,
                    "state": run.info.status,
                    "began": run.info.start_time,
                    "ended": run.info.end_time,
                    "reason": run.data.tags.get("weightsearch_reason"),
                    "params": run.data.params,
                    "values": sorted(
                        (metric.key, metric.step, metric.value)
                        for name in run.data.metrics
                        for metric in reader.get_metric_history(run.info.run_id, name)
                    ),
                },
            )
            for run in shown
        ]
    assert len(dict(told)) == len(told)  # none is there twice
    return dict(told)


def expected(opened: Database, study: Study) -> Found:
    """What `found` must find, from the ledger."""
    return {
        run.id: {
            "name": run.name,
            "state": "FINISHED" if run.outcome in ("done", "diverged") else "FAILED",
            "began": int(run.started_at.timestamp() * 1000),
            "ended": int(run.ended_at.timestamp() * 1000),
            "reason": run.reason and run.reason.replace("\x1b", "\\x1b"),
            "params": {k: str(v) for k, v in {**run.weights, **run.params}.items()}
            | {"seed": str(run.seed)},
            "values": sorted(
                [
                    (name.replace("<", "_"), epoch, value)
                    for epoch, metrics in enumerate(run.epochs, start=1)
                    for name, value in metrics.items()
                ]
                + [(f"best_{name}", 2, value) for name, value in run.best.items()]
                + [(f"test_{name}", 2, value) for name, value in run.test.items()]
            ),
        }
        for run in runs.ended(opened.engine, study, ())
    }


def show_and_kill(study: Study, storage: str, home: Path, uri: str, calls: int, kills: int) -> None:
    """Shows the study at `uri` in processes that are killed at random moments, so many of them.

    `calls` is how many functions showing all of it calls (`counted`).
    """
    random_ = random.Random(0)
    left = kills
    while left:
        at = random_.randrange(calls // 4)  # so that ten kills do not need a hundred runs
        left -= killed(at, storage, home, study.name, uri)


def counted(work: Any) -> int:
    """How many Python functions a piece of work calls."""
    count = 0

    def count_calls(frame: Any, event: str, _: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(count_calls)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def killed(at: int, storage: str, home: Path, name: str, uri: str) -> bool:
    """Whether a process that shows the study was killed, as it called its so manieth function."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of threads; this one has none
        child = os.fork()
    if child == 0:
        try:
            own = database.open_database(storage, home)
            count = 0

            def kill(frame: Any, event: str, _: Any) -> None:
                nonlocal count
                count += event == "call"
                if count > at:
                    os.kill(os.getpid(), signal.SIGKILL)

            study = studies.find(own.engine, name)
            client(uri).search_experiments()
            sys.setprofile(kill)
            mlflow_runs.write(own.engine, study, uri)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)
