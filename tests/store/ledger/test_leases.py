"""The ledger on a real PostgreSQL: claims, fences, take-over, and proof of it."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text, update
from sqlalchemy.exc import IntegrityError
from support.homes import promote
from support.specs import make_spec

from weightsearch.errors import StorageError, StudyError
from weightsearch.store.connection import database
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases as ledger
from weightsearch.store.ledger import queries, studies, verification
from weightsearch.store.ledger.leases import Lease
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables import schema
from weightsearch.store.tables.schema import attempts, meta, points
from weightsearch.store.tables.states import PointState, Rung
from weightsearch.study import planning
from weightsearch.study.spec import StudySpec

SHORT_S = 0.1
"""Leases of claims that take over: within one lease of its start the server hands nothing over."""
RESULT = {"outcome": "done", "metrics": {"rmse": 0.5}, "samples": {}, "groups": [], "images": 1}


def create(opened: Database, name: str = "study", spec: StudySpec | None = None) -> Study:
    spec = spec or make_spec()
    return studies.create(opened.engine, name, spec, planning.plan(spec))


def claim(opened: Database, study: Study, worker: str = "w1", lease_s: float = 60) -> Lease:
    lease = ledger.claim(opened.engine, study.id, worker, "cpu", lease_s)
    assert lease is not None
    return lease


def expire(opened: Database, lease: Lease) -> None:
    """As if the lease's time had passed: the database's clock is the only one that counts."""
    with opened.engine.begin() as connection:
        connection.execute(
            update(points)
            .where(points.c.id == lease.point_id)
            .values(lease_until=text("now() - interval '1 second'"))
        )


def test_points_are_claimed_in_the_plans_order_each_once(opened: Database) -> None:
    study = create(opened)
    leases = [claim(opened, study, f"w{k}") for k in range(10)]
    assert [lease.number for lease in leases] == list(range(10))
    assert ledger.claim(opened.engine, study.id, "w", "cpu", 60) is None
    assert [lease.point for lease in leases] == list(planning.plan(study.spec).points)


def _claim_all(storage: str, name: str, worker: str, queue: multiprocessing.Queue[int]) -> None:
    from pathlib import Path

    opened = database.open_database(storage, Path())
    study = studies.find(opened.engine, name)
    while (lease := ledger.claim(opened.engine, study.id, worker, "cpu", 60)) is not None:
        assert ledger.finish(opened.engine, lease, RESULT)
        queue.put(lease.number)
    queue.put(-1)


def test_many_processes_share_a_plan_without_double_or_missed_claims(
    opened: Database, storage: str
) -> None:
    study = create(opened, spec=make_spec(loss={"weights": {"grid": "simplex", "steps": 18}}))
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[int] = context.Queue()
    processes = [
        context.Process(target=_claim_all, args=(storage, study.name, f"w{k}", queue))
        for k in range(4)
    ]
    for process in processes:
        process.start()
    claimed, ended = [], 0
    while ended < 4:
        number = queue.get(timeout=120)
        ended += number == -1
        claimed += [number] if number >= 0 else []
    for process in processes:
        process.join()
    assert sorted(claimed) == list(range(190))
    assert verification.verify(opened.engine, study).ok


def test_an_expired_lease_is_taken_over_at_its_own_place(opened: Database) -> None:
    study = create(opened)
    dead = claim(opened, study, "dead")
    claim(opened, study, "alive")
    expire(opened, dead)
    taken = claim(opened, study, "third", lease_s=SHORT_S)
    assert (taken.number, taken.attempt) == (dead.number, 2)
    with opened.engine.connect() as connection:
        outcomes = connection.execute(
            select(attempts.c.outcome)
            .where(attempts.c.point_id == dead.point_id)
            .order_by(attempts.c.attempt)
        ).scalars()
        assert list(outcomes) == ["lost", None]


def test_a_worker_that_lost_its_lease_changes_nothing(opened: Database) -> None:
    study = create(opened)
    late = claim(opened, study, "late")
    expire(opened, late)
    taken = claim(opened, study, "other", lease_s=SHORT_S)
    engine = opened.engine
    assert ledger.renew(engine, late, 60) is None
    assert ledger.report(engine, late, 1, {"rmse": 1.0}) is None
    assert not ledger.retry(engine, late, "no", 3)
    assert not ledger.finish(engine, late, RESULT)
    assert not ledger.fail(engine, late, "no")
    assert not ledger.give_back(engine, late, "no", paused=False)
    assert ledger.finish(engine, taken, {**RESULT, "metrics": {"rmse": 0.25}})
    assert not ledger.finish(engine, late, RESULT)
    assert queries.done(engine, study)[0].result.metrics == {"rmse": 0.25}


def test_a_server_that_was_away_gives_everybody_one_lease_more(opened: Database) -> None:
    """As just after a restart: whoever could not renew meanwhile must not be taken for dead."""
    study = create(opened)
    held = claim(opened, study, "alive")
    expire(opened, held)
    since_start_s = 3600 * 24 * 365  # this server's start counts as within the lease
    taken = claim(opened, study, "other", lease_s=since_start_s)
    assert taken.number == 1
    assert ledger.renew(opened.engine, held, 60) == "running"


def test_a_late_worker_whose_point_nobody_took_may_still_finish(opened: Database) -> None:
    study = create(opened)
    late = claim(opened, study)
    expire(opened, late)
    assert ledger.finish(opened.engine, late, RESULT)


def test_finishing_twice_is_finishing_once(opened: Database) -> None:
    study = create(opened)
    lease = claim(opened, study)
    assert ledger.finish(opened.engine, lease, RESULT)
    assert ledger.finish(opened.engine, lease, RESULT)
    found = verification.verify(opened.engine, study)
    assert (found.done_once, found.duplicated) == (1, [])


def test_a_point_whose_workers_keep_dying_is_failed_with_the_reason(opened: Database) -> None:
    study = create(opened)
    for attempt in range(1, 3 + 1):
        lease = claim(opened, study, f"w{attempt}", lease_s=SHORT_S)
        assert (lease.number, lease.attempt) == (0, attempt)
        expire(opened, lease)
    assert claim(opened, study, lease_s=SHORT_S).number == 1
    assert (
        queries.failed(opened.engine, study)[0]["reason"] == "its worker was lost (tried 3 times)"
    )


def test_giving_back_costs_no_attempt_and_keeps_the_place(opened: Database) -> None:
    study = create(opened)
    for _ in range(2 * 3):
        lease = claim(opened, study)
        assert lease.number == 0
        assert ledger.give_back(opened.engine, lease, "asked", paused=True)
    counts = queries.counts(opened.engine, study)
    assert counts["paused"] == 1
    assert sum(counts[s] for s in PointState) == counts["total"] == 10


def test_a_worker_whose_claim_was_answered_to_nobody_is_given_the_same_point(
    opened: Database,
) -> None:
    """The connection broke after the claim was committed: the worker asks again."""
    study = create(opened)
    assert claim(opened, study) == claim(opened, study)
    assert queries.counts(opened.engine, study)["leased"] == 1


def test_an_attempt_of_the_same_worker_is_told_from_the_next(opened: Database) -> None:
    study = create(opened)
    first = claim(opened, study)
    ledger.give_back(opened.engine, first, "asked", paused=False)
    second = claim(opened, study)
    assert (first.worker, first.point_id) == (second.worker, second.point_id)
    assert not ledger.finish(opened.engine, first, RESULT)
    assert ledger.finish(opened.engine, second, RESULT)


def test_planning_again_goes_on_and_planning_otherwise_is_refused(opened: Database) -> None:
    study = create(opened)
    claim(opened, study)
    again = create(opened)
    assert again.id == study.id
    assert queries.counts(opened.engine, again)["leased"] == 1
    other = make_spec(train={"epochs": 9}, goal="another wording")
    with pytest.raises(StudyError, match=r"settings \(train.epochs was 2, now 9\); restore it, or"):
        create(opened, spec=other)
    with pytest.raises(StudyError, match="unknown study 'stdy'; did you mean 'study'"):
        studies.find(opened.engine, "stdy")


def _create_at_once(storage: str, queue: multiprocessing.Queue[int]) -> None:
    from pathlib import Path

    opened = database.open_database(storage, Path())
    queue.put(create(opened, "same").id)


def test_two_launches_at_once_plan_one_study(opened: Database, storage: str) -> None:
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[int] = context.Queue()
    processes = [context.Process(target=_create_at_once, args=(storage, queue)) for _ in range(3)]
    for process in processes:
        process.start()
    ids = {queue.get(timeout=120) for _ in processes}
    for process in processes:
        process.join()
    assert len(ids) == 1
    study = studies.find(opened.engine, "same")
    assert queries.counts(opened.engine, study)["total"] == 10


def test_the_data_of_a_study_stays_the_same(opened: Database) -> None:
    study = create(opened)
    studies.record_data(opened.engine, study, "a" * 64)
    studies.record_data(opened.engine, study, "a" * 64)
    with pytest.raises(StudyError, match="was begun on data with digest aaaaaaaaaaaa"):
        studies.record_data(opened.engine, study, "b" * 64)
    for digests in (("b" * 64, "a" * 64), ("b" * 64, "c" * 64, "a" * 64)):  # of earlier releases
        studies.record_data(opened.engine, study, *digests)


def test_places_of_an_adaptive_sampler_are_filled_once(opened: Database) -> None:
    study = create(opened, spec=make_spec(sampler={"kind": "tpe", "trials": 2}))
    first, second = claim(opened, study), claim(opened, study, "w2")
    assert first.point is None
    chosen = planning.ask(study.spec, 0, [])
    assert chosen is not None
    assert ledger.fill(opened.engine, first, chosen)
    assert not ledger.fill(opened.engine, second, chosen)
    seen = ledger.seen(opened.engine, study)
    assert [(s.point, s.value) for s in seen] == [(chosen, None)]
    assert ledger.finish(opened.engine, first, RESULT)
    assert [s.value for s in ledger.seen(opened.engine, study)] == [0.5]


def test_promotion_runs_stand_beside_the_points(opened: Database) -> None:
    study = create(opened)
    finalists = [p for p in planning.plan(study.spec).points[:2] if p]
    for _ in range(2):
        promote(opened, study, finalists)
    assert queries.counts(opened.engine, study, Rung.PROMOTION)["total"] == 4
    assert queries.counts(opened.engine, study)["total"] == 10
    assert queries.planned(opened.engine, study, Rung.PROMOTION) == finalists
    leases = [claim(opened, study, f"w{k}") for k in range(12)]
    assert [lease.rung for lease in leases] == [0] * 10 + [1] * 2


@pytest.mark.parametrize(
    "change",
    ["state = 'done'", "result = '{}'", "state = 'lost'", "number = 1", "key = 'place'"],
)
def test_the_database_itself_refuses_a_broken_ledger(opened: Database, change: str) -> None:
    study = create(opened)
    with opened.engine.begin() as connection:
        connection.execute(text("UPDATE ws_points SET key = 'place' WHERE number = 1"))
    with pytest.raises(IntegrityError), opened.engine.begin() as connection:
        connection.execute(
            text(f"UPDATE ws_points SET {change} WHERE number = 0 AND study_id = {study.id}")
        )


def test_verify_names_what_is_missing_and_what_is_double(opened: Database) -> None:
    study = create(opened)
    lease = claim(opened, study)
    assert ledger.finish(opened.engine, lease, RESULT)
    with opened.engine.begin() as connection:  # what no code path can do
        connection.execute(
            attempts.insert().values(
                point_id=lease.point_id, attempt=7, worker="ghost", outcome="done"
            )
        )
    found = verification.verify(opened.engine, study)
    assert not found.ok
    assert found.duplicated == [0]
    assert found.missing == list(range(1, 10))


def test_a_newer_schema_is_refused(opened: Database, storage: str, tmp_path: object) -> None:
    with opened.engine.begin() as connection:
        connection.execute(meta.update().values(version=schema.VERSION + 1))
    with pytest.raises(
        StorageError,
        match=f"must be of version {schema.VERSION} or older, but it is {schema.VERSION + 1}",
    ):
        database.open_database(storage, tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:sesame@127.0.0.1:1/x", "cannot be used"),
        ("postgresql://u:p@h:sesame/x", "cannot be read as one"),
        ("sqlite:///sesame.db", "must name a PostgreSQL database"),
        ("sesame", "cannot be read as one"),
        ("postgresql://u@127.0.0.1:1/x?password=sesame", "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line_without_the_password(
    url: str, said: str, tmp_path: object
) -> None:
    with pytest.raises(StorageError, match=said) as caught:
        database.open_database(url, tmp_path)  # type: ignore[arg-type]
    assert "sesame" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "--storage" in str(caught.value)
    assert "psycopg" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://u:sesame@127.0.0.1:1/x", "sqlite:///x.db", "here"])
def test_a_database_that_the_variable_names_wrongly_is_told_of_the_variable(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIGHTSEARCH_STORAGE", url)
    with pytest.raises(StorageError, match="WEIGHTSEARCH_STORAGE") as caught:
        database.open_database(None, tmp_path)
    assert "--storage" not in str(caught.value)
    if "@" in url:
        assert "at postgresql://u:***@127.0.0.1:1/x cannot be used" in str(caught.value)


def test_a_server_that_is_too_old_is_refused(
    opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "OLDEST_SERVER", 99)
    with pytest.raises(StorageError, match="must be version 99 or newer"):
        schema.prepare(opened.engine)


def test_a_large_plan_is_written_in_small_statements(opened: Database) -> None:
    """One statement with a hundred thousand rows took longer to build, on a busy machine, than the
    server lets a transaction idle."""
    lengths: list[int] = []

    def before(*args: Any) -> None:
        if args[2].startswith("INSERT INTO ws_points"):
            lengths.append(len(args[3]))

    event.listen(opened.engine, "before_cursor_execute", before)
    spec = make_spec(sampler={"kind": "random", "trials": 2500})
    studies.create(opened.engine, "large", spec, planning.plan(spec))
    assert lengths == [1000, 1000, 500]
    counted = queries.counts(opened.engine, studies.find(opened.engine, "large"))
    assert counted["total"] == counted["waiting"] == 2500
