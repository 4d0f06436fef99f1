"""A study as an experiment of MLflow: one run for each attempt that has ended.

A run is made with its identity as a tag, in one step, and gets its state last: whoever is killed in
between leaves a run that is RUNNING, which the next one finds by its tag and completes.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from weightsearch.errors import ConfigError
from weightsearch.runtime import failpoints
from weightsearch.runtime.optional_packages import needs
from weightsearch.runtime.safe_text import presentable
from weightsearch.store.ledger.studies import Study
from weightsearch.store.sinks import runs
from weightsearch.store.sinks.runs import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

ID = "weightsearch_id"
DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Unless the environment says otherwise. MLflow asks a server that is away again for minutes, and
a launch would wait for it; nobody who launches a study has agreed to be counted; and its links to a
server's runs would stand before the answer of --json."""
METRICS_AT_ONCE = 1000  # MLflow takes no more
LONGEST = 5000  # characters of a tag or parameter; MLflow takes 6000


def write(engine: Engine, study: Study, uri: str) -> int:
    """Shows what is not shown yet; how many runs that were.

    Only one process at a time may do so for a study. Raises ConfigError where mlflow is not
    installed, or its server does not take a run.
    """
    needs("mlflow", "mlflow")
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow about its own dependencies
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            return _write(MlflowClient(tracking_uri=uri), engine, study)
        except MlflowException as error:
            first_line, *_ = str(error).splitlines() or [type(error).__name__]
            raise ConfigError(
                f"MLflow must take the runs of study '{study.name}', but says:"
                f" {presentable(first_line)[:300].rstrip('.')}."
            ) from error


def _write(client: MlflowClient, engine: Engine, study: Study) -> int:
    experiment = _experiment(client, study)
    whole: set[str] = set()
    begun: dict[str, str] = {}
    for run in _shown(client, experiment):
        key = run.data.tags[ID]
        if key in whole or key in begun:  # made by a request that outlived its process
            client.delete_run(run.info.run_id)
        elif run.info.status == "RUNNING":
            begun[key] = run.info.run_id
        else:
            whole.add(key)
    count = 0
    for attempt in runs.ended(engine, study, whole):
        _show(client, experiment, attempt, begun.get(attempt.id))
        count += 1
    return count


def _experiment(client: MlflowClient, study: Study) -> str:
    found = client.get_experiment_by_name(study.name)
    if found is None:
        about = {"mlflow.note.content": study.spec.goal}
        return str(client.create_experiment(study.name, tags=about))
    if found.lifecycle_stage != "active":
        raise ConfigError(
            f"MLflow must have no deleted experiment named '{study.name}', but does; restore it, or"
            " have MLflow forget it (`mlflow gc`)."
        )
    return str(found.experiment_id)


def _shown(client: MlflowClient, experiment: str) -> Iterator[Any]:
    """Runs with an identity; of several with one, the first that was begun comes first."""
    token = None
    while True:
        page = client.search_runs(
            [experiment], order_by=["attributes.start_time", "attributes.run_id"], page_token=token
        )
        yield from (run for run in page if ID in run.data.tags)
        token = page.token
        if not token:
            return


def _show(client: MlflowClient, experiment: str, run: Run, begun: str | None) -> None:
    from mlflow.entities import Param

    failpoints.reach("before-track")
    if begun is None:
        made = client.create_run(
            experiment,
            start_time=int(run.started_at.timestamp() * 1000),
            run_name=run.name,
            tags=_tags(run),
        )
        begun, has = made.info.run_id, frozenset[tuple[str, int]]()
    else:
        has = _has(client, begun)
    failpoints.reach("in-track")
    chosen = {**run.weights, **run.params, "seed": run.seed}
    params = [Param(_name(name), str(value)[:LONGEST]) for name, value in chosen.items()]
    client.log_batch(begun, params=params)
    metrics = [metric for metric in _metrics(run) if (metric.key, metric.step) not in has]
    for first in range(0, len(metrics), METRICS_AT_ONCE):
        client.log_batch(begun, metrics=metrics[first : first + METRICS_AT_ONCE])
    failpoints.reach("after-track")
    status = "FINISHED" if run.is_finished else "FAILED"
    client.set_terminated(begun, status, int(run.ended_at.timestamp() * 1000))


def _has(client: MlflowClient, run: str) -> frozenset[tuple[str, int]]:
    """What a run that was cut short has already: stores on files would take a value twice."""
    names = client.get_run(run).data.metrics
    histories = (client.get_metric_history(run, name) for name in names)
    return frozenset((metric.key, metric.step) for history in histories for metric in history)


def _metrics(run: Run) -> list[Metric]:
    """Per epoch, and of the best one; at the attempt's end, for the ledger knows no other time."""
    from mlflow.entities import Metric

    ended_ms = int(run.ended_at.timestamp() * 1000)
    values = [
        (name, value, epoch)
        for epoch, metrics in enumerate(run.epochs, start=1)
        for name, value in metrics.items()
    ]
    values += [(f"best_{name}", value, run.best_epoch) for name, value in run.best.items()]
    values += [(f"test_{name}", value, run.best_epoch) for name, value in run.test.items()]
    return [Metric(_name(name), value, ended_ms, step) for name, value, step in values]


def _tags(run: Run) -> dict[str, str]:
    facts = {"point": run.number, "outcome": run.outcome, "reason": run.reason}
    facts |= {"worker": run.worker, "device": run.device}
    told = {f"weightsearch_{name}": str(fact) for name, fact in facts.items() if fact is not None}
    return {ID: run.id} | {name: presentable(text)[:LONGEST] for name, text in told.items()}


def _name(name: str) -> str:
    """As MLflow takes names: letters, digits and `_ - . : /` and space."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:250]
