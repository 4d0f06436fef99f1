"""The Optuna study that shows what the ledger holds: one trial per attempt, followed while it runs.

The ledger is the truth; the study is what optuna-dashboard, importances and samplers read. `sync`
may be called by anyone at any time, and again after any crash: one process at a time does the work
(an advisory lock), and the order of its steps leaves nothing that a later call cannot repair:
1) say that a trial is about to be made, 2) make it, 3) write down its number. Where 1) is found
without 3), the trial is looked for before another is made.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import Connection, Row, func, or_, select, update

from weightsearch import space
from weightsearch.store.database import KEEPALIVE, Database
from weightsearch.store.ledger import PROMOTION, SEARCH, Study
from weightsearch.store.schema import MIGRATION_LOCK, attempts, points

MIRROR_LOCK = 0x6D697272  # with the study's number, the advisory lock's key: "mirr"
ANNOUNCED = -1  # in place of a trial's number: step 1 was taken, step 3 was not

log = logging.getLogger(__name__)


class Mirror:
    """An open Optuna storage beside the ledger, for one study."""

    def __init__(self, database: Database, study: Study) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.database, self.study = database, study
        self.distributions = _distributions(study)
        with database.engine.begin() as connection:
            # Optuna makes its tables without a lock of its own.
            connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            self.storage = RDBStorage(
                database.url.render_as_string(hide_password=False),
                engine_kwargs={
                    "pool_size": 1,
                    "max_overflow": 1,
                    "pool_pre_ping": True,
                    "connect_args": KEEPALIVE,
                },
            )
            self.studies = {
                SEARCH: self._optuna_study(study.name),
                PROMOTION: self._optuna_study(f"{study.name}-promotion"),
            }

    def _optuna_study(self, name: str) -> int:
        spec = self.study.spec
        study = optuna.create_study(
            study_name=name,
            storage=self.storage,
            direction=spec.objective.direction,
            load_if_exists=True,
        )
        if study.metric_names is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names([spec.objective.metric])
            study.set_user_attr("goal", spec.goal)
            study.set_user_attr("study", spec.resolved())
        return study._study_id

    def sync(self, wait: bool = False) -> int:
        """Brings the Optuna study up to date; how many attempts it touched.

        Where another process is doing it: 0, or with `wait` what that one has left over.
        """
        take = func.pg_advisory_lock if wait else func.pg_try_advisory_lock
        with self.database.engine.connect() as connection:
            locked = connection.execute(select(take(MIRROR_LOCK, self.study.id))).scalar_one()
            connection.commit()
            if locked is False:
                return 0
            try:
                rows = self._behind(connection)
                self._announce(connection, [r for r in rows if r.trial_id is None])
                for row in rows:
                    self._follow(connection, row)
                return len(rows)
            finally:
                connection.execute(select(func.pg_advisory_unlock(MIRROR_LOCK, self.study.id)))
                connection.commit()

    def close(self) -> None:
        self.storage.remove_session()
        self.storage.engine.dispose()

    def _behind(self, connection: Connection) -> list[Row[Any]]:
        rows = connection.execute(
            select(attempts, points.c.number, points.c.rung, points.c.seed, points.c.weights)
            .add_columns(points.c.params, points.c.key)
            .add_columns(points.c.result, points.c.attempt.label("last_attempt"))
            .join(points, points.c.id == attempts.c.point_id)
            .where(
                points.c.study_id == self.study.id,
                points.c.weights.is_not(None),
                or_(
                    attempts.c.trial_id.is_(None),
                    attempts.c.trial_id == ANNOUNCED,
                    attempts.c.mirrored_epochs < func.jsonb_array_length(attempts.c.epochs),
                    attempts.c.outcome.is_not(None) & ~attempts.c.mirrored_end,
                ),
            )
            .order_by(attempts.c.started_at, attempts.c.point_id)
        ).all()
        connection.commit()
        return list(rows)

    def _announce(self, connection: Connection, rows: list[Row[Any]]) -> None:
        for row in rows:
            connection.execute(_update(row).values(trial_id=ANNOUNCED))
        connection.commit()

    def _follow(self, connection: Connection, row: Row[Any]) -> None:
        trial_id, shown = row.trial_id, row.mirrored_epochs
        if trial_id == ANNOUNCED:
            trial_id = self._find(row)
        if trial_id is None or trial_id == ANNOUNCED:
            trial_id = self.storage.create_new_trial(self.studies[row.rung], self._trial(row))
        elif not self.storage.get_trial(trial_id).state.is_finished():
            for step, metrics in enumerate(row.epochs[shown:], start=shown + 1):
                if (value := metrics.get(self.study.spec.objective.metric)) is not None:
                    self.storage.set_trial_intermediate_value(trial_id, step, value)
            if row.outcome is not None:
                for name, fact in _facts(row).items():
                    self.storage.set_trial_user_attr(trial_id, name, fact)
                state, value = self._end(row)
                self.storage.set_trial_state_values(
                    trial_id, state, None if value is None else [value]
                )
        connection.execute(
            _update(row).values(
                trial_id=trial_id,
                mirrored_epochs=len(row.epochs),
                mirrored_end=row.outcome is not None,
            )
        )
        connection.commit()

    def _find(self, row: Row[Any]) -> int | None:
        """The trial that a crashed process may have made for this attempt."""
        for trial in self.storage.get_all_trials(self.studies[row.rung], deepcopy=False):
            attrs = trial.user_attrs
            if (attrs.get("point"), attrs.get("attempt")) == (row.number, row.attempt):
                return trial._trial_id
        return None

    def _trial(self, row: Row[Any]) -> FrozenTrial:
        metric = self.study.spec.objective.metric
        state, value = self._end(row)
        weights = space.decode(row.weights)
        trial = create_trial(
            state=state,
            value=value,
            params={t: float(w) for t, w in weights.items()}
            | {name: value for name, value in row.params.items() if name in self.distributions},
            distributions=self.distributions,
            user_attrs=_facts(row),
            intermediate_values={
                step: metrics[metric]
                for step, metrics in enumerate(row.epochs, start=1)
                if metric in metrics
            },
        )
        trial.datetime_start = row.started_at.astimezone().replace(tzinfo=None)
        if row.ended_at is not None:
            trial.datetime_complete = row.ended_at.astimezone().replace(tzinfo=None)
        return trial

    def _end(self, row: Row[Any]) -> tuple[TrialState, float | None]:
        if row.outcome is None:
            return TrialState.RUNNING, None
        if row.outcome == "done" and row.attempt == row.last_attempt and row.result is not None:
            return TrialState.COMPLETE, row.result["metrics"][self.study.spec.objective.metric]
        return TrialState.FAIL, None


def _update(row: Row[Any]) -> Any:
    return update(attempts).where(
        attempts.c.point_id == row.point_id, attempts.c.attempt == row.attempt
    )


def _facts(row: Row[Any]) -> dict[str, Any]:
    """The user attributes of an attempt's trial; more of them once it has ended."""
    point = space.Point(space.decode(row.weights), row.params)
    facts: dict[str, Any] = {}
    if row.outcome is not None:
        facts |= row.epochs[-1] if row.epochs else {}
        facts |= row.result["metrics"] if row.outcome == "done" and row.result else {}
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
    if not space.are_directions(spec.loss, spec.train):
        given = (float(w) for vector in space.grid_weights(spec.loss) for w in vector.values())
        highest = max(given, default=1.0)
    found: dict[str, BaseDistribution] = {
        t: FloatDistribution(0.0, highest) for t in spec.loss.terms
    }
    for name, options in space.choices(spec).items():
        if len(options) > 1:
            found[name] = CategoricalDistribution(options)
    return found
