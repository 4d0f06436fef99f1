"""What is told of a worker that trains several points at once: it is one, with one time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text, update
from support.specs import make_spec

from weightsearch.commands.answers import study_answers
from weightsearch.commands.printing import study_status
from weightsearch.report.evidence import answer, records
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases, queries, studies, study_control
from weightsearch.store.ledger.leases import Lease
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.schema import attempts, points
from weightsearch.study import planning

RESULT = {"outcome": "done", "metrics": {"rmse": 0.5}, "samples": {}, "groups": [], "images": 1}
LANES = 3


def begin(opened: Database) -> tuple[Study, list[Lease]]:
    """One worker has three points, another one; since 400 s."""
    spec = make_spec()
    study = studies.create(opened.engine, "study", spec, planning.plan(spec))
    lead = leases.claim(opened.engine, study.id, "w1", "cpu", 60.0)
    assert lead is not None
    beside = leases.claim_beside(opened.engine, lead, "cpu", 60.0, LANES - 1, ())
    other = leases.claim(opened.engine, study.id, "w2", "cpu", 60.0)
    assert other is not None
    with opened.engine.begin() as connection:
        began = text("now() - interval '400 seconds'")
        connection.execute(update(attempts).values(started_at=began))
    return study, [lead, *beside, other]


def test_the_report_and_best_count_a_workers_time_once_also_while_it_runs(opened: Database) -> None:
    study, held = begin(opened)
    assert queries.device_seconds(opened.engine, study) == pytest.approx(2 * 400, abs=5)
    for lease in held[:LANES]:
        leases.finish(opened.engine, replace(lease, share=1 / LANES), RESULT)
    found = records.read(opened.engine, "study")
    told = answer.found(opened.engine, study).headline
    assert told is not None
    assert found.device_seconds == pytest.approx(2 * 400, abs=5)
    assert told.device_seconds == pytest.approx(found.device_seconds, abs=5)
    assert sum(a.device_s for a in found.attempts) == pytest.approx(found.device_seconds, abs=5)
    assert {round(a.seconds(), -1) for a in found.attempts} == {400}  # from beginning to end


def test_a_worker_is_one_row_with_all_its_points(
    opened: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    study, held = begin(opened)
    for name in ("w1", "w2", "w3"):
        study_control.sign_on(opened.engine, study, name, "here", 7, "cpu")
    listed = study_answers.workers(opened.engine, "study")
    mine = [lease.number for lease in held[:LANES]]
    assert [(row["id"], row["point"], row["points"]) for row in listed["workers"]] == [
        ("w1", mine[0], mine),
        ("w2", held[LANES].number, [held[LANES].number]),
        ("w3", None, []),
    ]
    study_status.workers(listed)
    study_status._workers(listed["workers"])
    said = capsys.readouterr().out
    assert "worker w1 on cpu: at points 0, 1, 2\n" in said
    assert "worker w2 on cpu: at point 3\n" in said
    assert "worker w3 on cpu: between points\n" in said
    assert "w1      cpu     0, 1, 2" in said


def test_images_per_second_are_a_workers_not_a_lanes(opened: Database) -> None:
    study, held = begin(opened)
    assert queries.images_per_second(opened.engine, study) is None
    for lease, speed in zip(held, (100.0, 100.0, 130.0, 50.0), strict=True):
        with opened.engine.begin() as connection:
            mine = attempts.c.point_id == lease.point_id
            epochs = [{"images_per_second": 1.0}, {"images_per_second": speed}]
            connection.execute(update(attempts).where(mine).values(epochs=epochs))
    assert queries.images_per_second(opened.engine, study) == pytest.approx(110 + 50)


def test_a_dead_workers_time_is_charged_once(opened: Database) -> None:
    study, _ = begin(opened)
    study_control.sign_on(opened.engine, study, "w1", "here", 7, "cpu")
    assert study_control.sign_off(opened.engine, "w1", "its process died") == LANES
    lost = [row["seconds"] for row in queries.troubles(opened.engine, study)]
    assert lost == pytest.approx([400 / LANES] * LANES, abs=5)


def test_a_worker_whose_leases_run_out_is_charged_once(opened: Database) -> None:
    study, held = begin(opened)
    mine = [lease.point_id for lease in held[:LANES]]
    with opened.engine.begin() as connection:
        ran_out = update(points).where(points.c.id.in_(mine))
        connection.execute(ran_out.values(lease_until=text("to_timestamp(0)")))
    for worker in ("w3", "w4", "w5"):  # one after the other
        taken = leases.claim(opened.engine, study.id, worker, "cpu", 60.0)
        assert taken is not None
        assert taken.attempt == 2
    lost = [row["seconds"] for row in queries.troubles(opened.engine, study)]
    assert lost == pytest.approx([400 / LANES] * LANES, abs=5)
