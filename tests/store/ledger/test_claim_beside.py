"""Points that are claimed to be trained together: which, how many, and what they are charged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event, select, text, update
from support.specs import make_spec

from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import claim, full_runs, leases, studies, study_control
from weightsearch.store.ledger.leases import Lease
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.schema import attempts, points
from weightsearch.study import budget, planning

RESULT = {"outcome": "done", "metrics": {"rmse": 0.5}, "samples": {}, "groups": [], "images": 1}
PARAMS = {"images": [3, 6], "epoch_s": [0.0, 0.1]}


def create(opened: Database, limit: str | None = None, **tables: Any) -> Study:
    spec = make_spec(**{"params": PARAMS} | tables)
    study = studies.create(opened.engine, "study", spec, planning.plan(spec))
    study_control.set_budget(opened.engine, study, limit and budget.parse([limit]))
    return study


def first(opened: Database, study: Study, worker: str = "w1", lease_s: float = 60) -> Lease:
    lease = leases.claim(opened.engine, study.id, worker, "cpu", lease_s)
    assert lease is not None
    return lease


def beside(
    opened: Database, lease: Lease, most: int = 100, apart: tuple[str, ...] = ("epoch_s",)
) -> list[Lease]:
    return leases.claim_beside(opened.engine, lease, "cpu", 60.0, most, apart)


def images(lease: Lease) -> object:
    assert lease.point is not None
    return lease.point.params["images"]


def test_they_are_the_next_of_their_kind_in_the_plans_order(opened: Database) -> None:
    study = create(opened)
    lead = first(opened, study)
    found = beside(opened, lead, 3)
    plan = planning.plan(study.spec).points
    alike = [k for k, p in enumerate(plan) if p.params["images"] == images(lead)]
    assert [lead.number, *(lease.number for lease in found)] == alike[:4]
    assert [lease.point for lease in found] == [plan[k] for k in alike[1:4]]
    with opened.engine.connect() as connection:
        begun = connection.execute(select(attempts.c.worker, attempts.c.attempt)).all()
        held = select(points.c.number).where(points.c.state == "leased").order_by("number")
        assert connection.execute(held).scalars().all() == alike[:4]
    assert begun == [("w1", 1)] * 4
    assert len(beside(opened, first(opened, study, "w2"), apart=("epoch_s", "images"))) == 40 - 5


def test_claims_whose_answer_was_lost_are_told_again(opened: Database) -> None:
    study = create(opened)
    lead = first(opened, study)
    found = beside(opened, lead, 3)
    assert beside(opened, lead, 3) == found
    assert first(opened, study).number in {lead.number, *(lease.number for lease in found)}
    with opened.engine.connect() as connection:
        assert len(connection.execute(select(attempts)).all()) == 4


@pytest.mark.parametrize("harm", [{"spent": 1}, {"shrink": 1}])
def test_what_took_a_worker_down_once_is_trained_alone(
    opened: Database, harm: dict[str, int]
) -> None:
    study = create(opened, params={})
    with opened.engine.begin() as connection:
        odd = points.c.number.in_([1, 2, 3])
        connection.execute(update(points).where(odd).values(**harm))
    lead = first(opened, study)
    assert [lease.number for lease in beside(opened, lead, 3)] == [4, 5, 6]
    odd_one = first(opened, study, "w2")
    assert (odd_one.number, beside(opened, odd_one)) == (1, [])


def test_leased_points_are_left_to_their_workers_though_their_leases_ran_out(
    opened: Database,
) -> None:
    study = create(opened, params={})
    lost = first(opened, study, "w1")
    with opened.engine.begin() as connection:
        gone = points.c.id == lost.point_id
        past = text("now() - interval '1 day'")
        connection.execute(update(points).where(gone).values(lease_until=past))
    lead = leases.claim(opened.engine, study.id, "w2", "cpu", 0.1)
    assert lead is not None
    assert (lead.number, beside(opened, lead)) == (lost.number, [])  # taken over: lost once
    other = first(opened, study, "w3")
    assert [lease.number for lease in beside(opened, other, 2)] == [2, 3]


@pytest.mark.parametrize(
    "odd", [{"repeat": 1}, {"fold": 1}, {"stage": 1}, {"seed": 7}, {"state": "dropped"}]
)
def test_they_train_on_the_same_frames_in_the_same_order_and_as_far(
    opened: Database, odd: dict[str, Any]
) -> None:
    study = create(opened, params={})
    with opened.engine.begin() as connection:
        connection.execute(update(points).where(points.c.number.in_([1, 3])).values(**odd))
    lead = first(opened, study)
    found = beside(opened, lead)
    assert [lease.number for lease in found] == [2, *range(4, 10)]
    assert [lease.place for lease in found] == [lease.number for lease in found]
    if "state" not in odd:
        other = first(opened, study, "w2")
        [beside_it] = beside(opened, other)
        assert (other.number, beside_it.number) == (1, 3)
        assert {name: getattr(beside_it, name) for name in odd} == odd
        assert beside(opened, other) == [beside_it]  # its answer was lost


def test_a_paused_study_and_a_lost_lease_give_none(opened: Database) -> None:
    study = create(opened, params={})
    lead = first(opened, study)
    study_control.set_state(opened.engine, study, "paused")
    assert beside(opened, lead) == []
    study_control.set_state(opened.engine, study, "running")
    leases.give_back(opened.engine, lead, "asked to stop", paused=False)
    assert beside(opened, lead) == []


def test_places_that_an_adaptive_sampler_has_not_filled_are_left(opened: Database) -> None:
    study = create(opened, params={}, sampler={"kind": "tpe", "trials": 5})
    lead = first(opened, study)
    point = planning.ask(study.spec, 0, [])
    assert point is not None
    leases.fill(opened.engine, lead, point)
    assert beside(opened, lead) == []


def test_a_budget_of_points_is_not_overrun(opened: Database) -> None:
    study = create(opened, "3 points", params={})
    lead = first(opened, study)
    found = beside(opened, lead)
    assert len(found) == 2
    assert beside(opened, lead) == found  # its answer was lost: they are counted already
    assert leases.claim(opened.engine, study.id, "w2", "cpu", 60.0) is None


USED_UP = {
    "time": "UPDATE ws_studies SET deadline = now() - interval '1 hour', budget = NULL",
    "device time": """UPDATE ws_studies SET budget = '{"device_seconds": 0.001}'""",
    "points": """UPDATE ws_studies SET budget = '{"points": 0}'""",
}


@pytest.mark.parametrize("statement", USED_UP.values(), ids=USED_UP)
def test_a_budget_that_is_used_up_limits_the_search_not_the_full_runs(
    opened: Database, statement: str
) -> None:
    study = create(opened, "10 points", params={}, train={"epochs": 1})
    one = first(opened, study, "w1")
    leases.finish(opened.engine, one, RESULT)
    last = first(opened, study, "w1")
    plan = [point for point in planning.plan(study.spec).points if point is not None][:2]
    assert study.spec.promote is not None
    full_runs.plan(opened.engine, study, study.spec.promote, plan)
    with opened.engine.begin() as connection:
        connection.execute(text(statement))
    assert beside(opened, last) == []
    lead = first(opened, study, "w2")
    found = beside(opened, lead)
    assert [(run.rung, run.seed) for run in (lead, *found)] == [(1, 1), (1, 1)]
    assert [run.point for run in (lead, *found)] == plan


def test_points_that_a_budget_counted_when_they_began_are_trained_together_again(
    opened: Database,
) -> None:
    study = create(opened, "3 points", params={})
    lead = first(opened, study)
    for lease in (lead, *beside(opened, lead)):
        leases.give_back(opened.engine, lease, "asked", paused=True)
    again = first(opened, study, "w2")
    assert [lease.number for lease in (again, *beside(opened, again))] == [0, 1, 2]


def test_what_a_budget_leaves_is_found_in_two_statements(opened: Database) -> None:
    study = create(opened, "8 device-h", params={})
    lead, asked = first(opened, study), list[str]()

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        asked.append(statement)

    event.listen(opened.engine, "before_cursor_execute", note)
    beside(opened, lead, 2)
    event.remove(opened.engine, "before_cursor_execute", note)
    assert len(asked) == 2 + 1, asked


def charged(opened: Database, study: Study, running_s: float) -> claim.Spending:
    with opened.engine.begin() as connection:
        began = text(f"now() - interval '{running_s} seconds'")
        connection.execute(update(attempts).values(started_at=began))
    with opened.engine.connect() as connection:
        return claim.spending(connection, study.id)


def test_lanes_are_charged_their_workers_time_once(opened: Database) -> None:
    study = create(opened, "1050 device-s", params={})
    lead = first(opened, study)
    others = beside(opened, lead, 3)
    first(opened, study, "w2")
    assert charged(opened, study, 400).device_s == pytest.approx(2 * 400, abs=5)
    for lease, share in zip((lead, *others), (0.4, 0.2, 0.2, 0.2), strict=True):
        leases.finish(opened.engine, replace(lease, share=share), RESULT)
    with opened.engine.connect() as connection:
        spent = claim.spending(connection, study.id)
    assert (spent.mean_s, spent.device_s) == pytest.approx((100, 800), abs=5)
    lead = first(opened, study, "w3")  # of 1050 s, 150 are left beside this one
    assert len(beside(opened, lead)) == 1
