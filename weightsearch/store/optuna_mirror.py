"""The Optuna study that shows what the ledger holds: one trial per attempt, followed while it runs.

The ledger is the truth; the study is what optuna-dashboard, importances and samplers read. Both lie
in one database, so what is shown and the note that it was shown are one transaction: `sync` may be
called by anyone and die at any time, and nothing is shown twice or not at all. Optuna's own calls
need a dozen statements and one transaction per trial; a whole batch takes about ten here, written
into the tables that Optuna's models describe.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    FloatDistribution,
    distribution_to_json,
)
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.study.study import _SYSTEM_ATTR_METRIC_NAMES
from optuna.trial import TrialState
from sqlalchemy import (
    Connection,
    Row,
    Table,
    column,
    func,
    insert,
    select,
    update,
    values,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from weightsearch.errors import StudyError
from weightsearch.runtime import failpoints
from weightsearch.store.administration import migration
from weightsearch.store.connection import connecting
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import queries, studies
from weightsearch.store.ledger.results import Result
from weightsearch.store.ledger.studies import Study, optuna_names
from weightsearch.store.tables.schema import attempts, points
from weightsearch.store.tables.states import Outcome, Rung
from weightsearch.study import search_space
from weightsearch.study.samplers.asking_optuna import distribution

MIRROR_LOCK = 0x6D697272  # with the study's number, the advisory lock's key: "mirr"
BATCH = 500  # attempts in one transaction

STUDIES: Table = models.StudyModel.__table__
FACTS: Table = models.StudySystemAttributeModel.__table__
TRIALS: Table = models.TrialModel.__table__
PARAMS: Table = models.TrialParamModel.__table__
ATTRIBUTES: Table = models.TrialUserAttributeModel.__table__
VALUES: Table = models.TrialValueModel.__table__
STEPS: Table = models.TrialIntermediateValueModel.__table__
FINITE = models.TrialValueModel.TrialValueType.FINITE
FINITE_STEP = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE


class Mirror:
    """Optuna's studies of one study of ours: its search, and its promotion.

    Raises StudyError where the study was deleted.
    """

    def __init__(self, database: Database, study: Study) -> None:
        self.database, self.study = database, study
        if studies.find(database.engine, study.name).id != study.id:
            raise StudyError(f"study '{study.name}' must exist, but was deleted meanwhile.")
        self.distributions = _distributions(study)
        self.last_stage = {Rung.SEARCH: len(study.spec.stages()) - 1}
        migration.prepare_optuna(database)
        self.studies = _optuna_studies(database, study)
        self._forget_what_is_gone()

    def sync(self, wait: bool = False) -> int:
        """Brings the Optuna study up to date; how many attempts it touched.

        Where another process is doing it: 0, or with `wait` what that one has left over.
        """
        touched = 0
        while number := self._batch(wait):
            touched += number
        return touched

    def _batch(self, wait: bool) -> int:
        take = func.pg_advisory_xact_lock if wait else func.pg_try_advisory_xact_lock
        place = queries.ITS_POINT.c
        with self.database.engine.begin() as connection:
            if connection.execute(select(take(MIRROR_LOCK, self.study.id))).scalar_one() is False:
                return 0
            rows = connection.execute(
                queries.unshown(self.study.id, attempts, place.number, place.rung)
                .add_columns(place.seed, place.weights, place.params, place.result, place.stage)
                .add_columns(place.attempt.label("last_attempt"))
                .order_by(attempts.c.started_at, attempts.c.point_id, attempts.c.attempt)
                .limit(BATCH)
            ).all()
            if rows:
                failpoints.reach("before-mirror")
                self._show(connection, rows)
                failpoints.reach("in-mirror")
        return len(rows)

    def _show(self, connection: Connection, rows: Sequence[Row[Any]]) -> None:
        trials = self._trials(connection, rows)
        shown = [(trial, row) for trial, row in zip(trials, rows, strict=True)]
        _put(
            connection,
            ATTRIBUTES,
            "key",
            [
                {"trial_id": trial, "key": name, "value_json": json.dumps(fact)}
                for trial, row in shown
                if row.trial_id is None or row.outcome is not None
                for name, fact in _facts(row).items()
            ],
        )
        metric = self.study.spec.objective.metric
        _put(
            connection,
            STEPS,
            "step",
            [
                {
                    "trial_id": trial,
                    "step": step,
                    "intermediate_value": metrics[metric],
                    "intermediate_value_type": FINITE_STEP,
                }
                for trial, row in shown
                for step, metrics in enumerate(row.epochs, start=1)
                if step > row.mirrored_epochs and metric in metrics
            ],
        )
        ended = [(trial, row, *self._end(row)) for trial, row in shown if row.outcome is not None]
        _put(
            connection,
            VALUES,
            "objective",
            [
                {"trial_id": trial, "objective": 0, "value": value, "value_type": FINITE}
                for trial, _, _, value in ended
                if value is not None
            ],
        )
        _set(
            connection,
            TRIALS,
            [TRIALS.c.trial_id],
            [TRIALS.c.state, TRIALS.c.datetime_complete],
            [(trial, state, _utc(row.ended_at)) for trial, row, state, _ in ended],
        )
        _set(
            connection,
            attempts,
            [attempts.c.point_id, attempts.c.attempt],
            [attempts.c.trial_id, attempts.c.mirrored_epochs, attempts.c.mirrored_end],
            [
                (row.point_id, row.attempt, trial, len(row.epochs), row.outcome is not None)
                for trial, row in shown
            ],
        )

    def _trials(self, connection: Connection, rows: Sequence[Row[Any]]) -> list[int]:
        """The number of each row's trial in Optuna's table, made where it is not there yet."""
        made: dict[tuple[int, int], int] = {}
        for rung, study in self.studies.items():
            of = [row for row in rows if min(row.rung, Rung.PROMOTION) == rung]
            new = [row for row in of if row.trial_id is None]
            if not new:
                continue
            # As Optuna does, whose numbers must have no gap and no double.
            connection.execute(
                select(STUDIES.c.study_id).filter_by(study_id=study).with_for_update()
            )
            number = connection.execute(
                select(func.coalesce(func.max(TRIALS.c.number) + 1, 0)).filter_by(study_id=study)
            ).scalar_one()
            found = connection.execute(
                insert(TRIALS).returning(TRIALS.c.trial_id, sort_by_parameter_order=True),
                [
                    {
                        "number": number + k,
                        "study_id": study,
                        "state": TrialState.RUNNING,
                        "datetime_start": _utc(row.started_at),
                    }
                    for k, row in enumerate(new)
                ],
            ).scalars()
            keys = [(row.point_id, row.attempt) for row in new]
            made |= dict(zip(keys, found, strict=True))
        _put(
            connection,
            PARAMS,
            "param_name",
            [
                {
                    "trial_id": made[row.point_id, row.attempt],
                    "param_name": name,
                    "param_value": self.distributions[name].to_internal_repr(value),
                    "distribution_json": distribution_to_json(self.distributions[name]),
                }
                for row in rows
                if row.trial_id is None
                for name, value in _chosen(row).items()
                if name in self.distributions
            ],
        )
        return [row.trial_id or made[row.point_id, row.attempt] for row in rows]

    def _end(self, row: Row[Any]) -> tuple[TrialState, float | None]:
        if row.outcome == Outcome.DROPPED or row.stage != self.last_stage.get(row.rung, 0):
            # A part of a run: its values stand as intermediate ones, as Optuna's pruners do it. Or
            # one whose start is shared, as Optuna would rank it beside those from scratch.
            done = row.outcome in (Outcome.DROPPED, Outcome.DONE)
            return TrialState.PRUNED if done else TrialState.FAIL, None
        if (
            row.outcome == Outcome.DONE
            and row.attempt == row.last_attempt
            and row.result is not None
        ):
            metric = self.study.spec.objective.metric
            return TrialState.COMPLETE, Result.from_json(row.result).metrics[metric]
        return TrialState.FAIL, None

    def _forget_what_is_gone(self) -> None:
        """Attempts whose trials somebody removed from the Optuna study are shown again."""
        of_this = select(points.c.id).where(points.c.study_id == self.study.id)
        there = select(TRIALS.c.trial_id).where(TRIALS.c.trial_id == attempts.c.trial_id)
        with self.database.engine.begin() as connection:
            connection.execute(
                update(attempts)
                .where(
                    attempts.c.point_id.in_(of_this),
                    attempts.c.trial_id.is_not(None),
                    ~there.exists(),
                )
                .values(trial_id=None, mirrored_epochs=0, mirrored_end=False)
            )


def _optuna_studies(database: Database, study: Study) -> dict[int, int]:
    """The number of the Optuna study of each rung, made where it is not there yet."""
    names = dict(zip((Rung.SEARCH, Rung.PROMOTION), optuna_names(study.name), strict=True))
    whole = FACTS.c.key == _SYSTEM_ATTR_METRIC_NAMES  # which `_optuna_study` notes last
    query = select(STUDIES.c.study_name, STUDIES.c.study_id).join(FACTS).where(whole)
    with database.engine.connect() as connection:
        found = connection.execute(query.where(STUDIES.c.study_name.in_(names.values()))).all()
    numbers: dict[str, int] = {row.study_name: row.study_id for row in found}
    if len(numbers) == len(names):
        return {rung: numbers[name] for rung, name in names.items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = RDBStorage(
        connecting.DRIVER,
        engine_kwargs=connecting.pooled(database.connect),
        skip_compatibility_check=True,
        skip_table_creation=True,
    )
    try:
        return {rung: _optuna_study(storage, study, name) for rung, name in names.items()}
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _optuna_study(storage: RDBStorage, study: Study, name: str) -> int:
    made = optuna.create_study(
        study_name=name,
        storage=storage,
        direction=study.spec.objective.direction,
        load_if_exists=True,
    )
    if made.metric_names is None:
        made.set_user_attr("goal", study.spec.goal)
        for part, value in study.spec.resolved().items():
            if part != "goal" and value is not None:
                made.set_user_attr(part, _readable(value))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            made.set_metric_names([study.spec.objective.metric])
    return made._study_id


def _readable(setting: Any) -> Any:
    """`terms: ["mae", "edge"], scale: 1`: the dashboard shows JSON as it is."""
    if not isinstance(setting, dict):
        return setting
    return ", ".join(f"{k}: {json.dumps(v)}" for k, v in setting.items() if v is not None)


def _put(connection: Connection, table: Table, name: str, rows: Sequence[dict[str, Any]]) -> None:
    """Rows into a table of Optuna's that has one for each trial and `name`; the newer one stays."""
    for some in _chunks(rows, 2000):  # PostgreSQL takes 65535 parameters
        statement = upsert(table).values(some)
        rest = {key: statement.excluded[key] for key in some[0] if key not in ("trial_id", name)}
        connection.execute(
            statement.on_conflict_do_update(index_elements=["trial_id", name], set_=rest)
        )


def _set(
    connection: Connection,
    table: Table,
    keys: Sequence[Any],
    columns: Sequence[Any],
    rows: Sequence[tuple[Any, ...]],
) -> None:
    """One UPDATE for all rows, each a tuple of the keys' values and then the columns'."""
    if not rows:
        return
    given = values(*(column(c.name, c.type) for c in (*keys, *columns)), name="given").data(
        list(rows)
    )
    connection.execute(
        update(table)
        .where(*(key == given.c[key.name] for key in keys))
        .values({c.name: given.c[c.name].cast(c.type) for c in columns})  # an enum comes as text
    )


def _chunks(rows: Sequence[dict[str, Any]], size: int) -> Iterable[list[dict[str, Any]]]:
    return (list(rows[k : k + size]) for k in range(0, len(rows), size))


def _utc(moment: datetime) -> datetime:
    """As Optuna stores it: UTC without saying so."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def _chosen(row: Row[Any]) -> dict[str, Any]:
    weights = {t: float(w) for t, w in search_space.decode(row.weights).items()}
    return weights | {search_space.WEIGHTING: search_space.FIXED} | dict(row.params)


def _facts(row: Row[Any]) -> dict[str, Any]:
    """The user attributes of an attempt's trial; more of them once it has ended."""
    point = search_space.Point(search_space.decode(row.weights), row.params)
    facts: dict[str, Any] = {}
    if row.outcome is not None:
        facts |= row.epochs[-1] if row.epochs else {}
        if row.outcome == Outcome.DONE and row.result:
            facts |= Result.from_json(row.result).metrics
        facts |= {"outcome": row.outcome, "seconds": row.seconds}
        facts |= {"fail_reason": row.reason} if row.reason else {}
    return facts | {
        **row.params,
        "point": row.number,
        "point id": point.id(),
        "attempt": row.attempt,
        "seed": row.seed,
        "worker": row.worker,
        "device": row.device,
    }


def _distributions(study: Study) -> dict[str, BaseDistribution]:
    """The weights, and each choice that has more than one option; what is fixed is an attribute."""
    spec = study.spec
    highest = 1.0
    if not search_space.are_directions(spec.loss, spec.train):
        given = (
            float(w) for vector in search_space.grid_weights(spec.loss) for w in vector.values()
        )
        highest = max(given, default=1.0)
    found: dict[str, BaseDistribution] = {
        t: FloatDistribution(0.0, highest) for t in spec.loss.terms
    }
    for name, options in search_space.varied(spec).items():
        found[name] = distribution(options)
    return found
