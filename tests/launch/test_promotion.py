"""Promotion: who is promoted, on what evidence, and that the test split decides nothing."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from support.promotions import leases, result
from support.specs import make_spec

from weightsearch.errors import StudyError
from weightsearch.launch import promotion, promotion_verdict, session
from weightsearch.report.evidence.ranking import ranking
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases as ledger
from weightsearch.store.ledger import queries, studies
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.states import Rung
from weightsearch.study import planning


@pytest.fixture
def study(opened: Database) -> Study:
    """A study whose search is done: point k has rmse 1 + k / 10."""
    spec = make_spec(promote={"top": 3, "seeds": [1, 2, 3], "epochs": 3})
    made = studies.create(opened.engine, "study", spec, planning.plan(spec))
    for lease in leases(opened, made):
        ledger.finish(opened.engine, lease, result(1 + lease.number / 10, 0))
    return made


def run_finalists(opened: Database, study: Study, values: list[dict[str, Any]]) -> None:
    """Plans the promotion and finishes each finalist's runs with its values."""
    promotion.plan(opened.engine, study)
    for lease in leases(opened, study):
        finalist = values[lease.number // 3]
        ledger.finish(opened.engine, lease, result(seed=lease.seed, **finalist))


def test_the_best_points_are_the_finalists_with_fresh_seeds(opened: Database, study: Study) -> None:
    finalists = promotion.plan(opened.engine, study)
    planned = planning.plan(study.spec).points
    assert finalists == list(planned[:3])
    assert promotion.plan(opened.engine, study) == finalists  # asked twice, planned once
    runs = leases(opened, study)
    assert [(lease.rung, lease.seed) for lease in runs] == [
        (Rung.PROMOTION, s) for s in (1, 2, 3)
    ] * 3


def test_a_clear_winner_is_promoted_with_its_lineage(opened: Database, study: Study) -> None:
    run_finalists(opened, study, [{"rmse": 1.3}, {"rmse": 1.0}, {"rmse": 1.2}])
    verdict = promotion_verdict.decide(opened.engine, study)
    second = planning.plan(study.spec).points[1]
    assert second is not None
    assert (verdict.verdict, verdict.point) == ("winner", second.id())
    assert verdict.checkpoint.startswith("folder 1.0")
    assert [t.deciding.verdict for t in verdict.comparisons] == ["better", "better"]
    assert all(t.deciding.level == pytest.approx(0.975) for t in verdict.comparisons)
    lineage = verdict.lineage
    assert (lineage.study, lineage.seeds) == ("study", [1, 2, 3])
    assert lineage.search_points == 10
    assert studies.find(opened.engine, "study").promoted == verdict
    assert verdict.finalists[0].test_images == 24


def test_a_better_metric_at_the_expense_of_a_guard_is_no_winner(
    opened: Database, study: Study
) -> None:
    values = [{"rmse": 1.0, "rel": 0.9}, {"rmse": 1.2, "rel": 0.2}, {"rmse": 1.3, "rel": 1.5}]
    run_finalists(opened, study, values)
    verdict = promotion_verdict.decide(opened.engine, study)
    assert verdict.verdict == "undecided"
    second, third = verdict.comparisons
    assert (second.deciding.verdict, second.harmed) == ("undecided", ["rel"])
    assert (third.deciding.verdict, third.harmed) == ("better", [])
    assert second.guards["rel"].difference == pytest.approx(0.7, abs=0.05)
    best, other = planning.plan(study.spec).points[:2]
    assert best is not None
    assert other is not None
    terms = [sum(weight > 0 for weight in point.weights.values()) for point in (best, other)]
    assert verdict.point == (best if terms[0] <= terms[1] else other).id()


def test_the_test_split_decides_nothing(opened: Database, study: Study) -> None:
    run_finalists(
        opened,
        study,
        [{"rmse": 1.0, "test": 9.0}, {"rmse": 1.2, "test": 0.1}, {"rmse": 1.3, "test": 0.1}],
    )
    verdict = promotion_verdict.decide(opened.engine, study)
    first = planning.plan(study.spec).points[0]
    assert first is not None
    assert verdict.point == first.id()


def test_of_what_comes_to_the_same_the_simpler_one_is_promoted(
    opened: Database, study: Study
) -> None:
    run_finalists(
        opened,
        study,
        [
            {"rmse": 1.0, "parameters": 9.0},
            {"rmse": 1.0001, "parameters": 5.0},
            {"rmse": 1.5, "parameters": 1.0},
        ],
    )
    verdict = promotion_verdict.decide(opened.engine, study)
    second = planning.plan(study.spec).points[1]
    assert second is not None
    assert (verdict.verdict, verdict.point) == ("equivalent", second.id())


@pytest.mark.parametrize(("second", "promoted"), [(1.001, 1), (1.009, 0)])
def test_of_the_undecided_a_simpler_one_is_promoted_where_it_is_probably_the_same(
    opened: Database, study: Study, second: float, promoted: int
) -> None:
    """The margin is 1 %: undecided is no proof of being the same."""
    best, other = {"rmse": 1.0, "parameters": 9.0}, {"rmse": second, "parameters": 5.0}
    last = {"rmse": 3.0, "parameters": 1.0}
    values = [one | {"noise": 0.03} for one in (best, other, last)]
    run_finalists(opened, study, values)
    verdict = promotion_verdict.decide(opened.engine, study)
    words = [test.deciding.verdict for test in verdict.comparisons]
    assert (verdict.verdict, words) == ("undecided", ["undecided", "better"])
    point = planning.plan(study.spec).points[promoted]
    assert point is not None
    assert verdict.point == point.id()


def test_a_finalist_with_a_run_that_diverged_is_out_and_named(
    opened: Database, study: Study
) -> None:
    promotion.plan(opened.engine, study)
    for lease in leases(opened, study):
        if (lease.number, lease.seed) == (0, 1):
            diverged = {"outcome": "diverged", "metrics": {}, "reason": "nan"}
            ledger.finish(opened.engine, lease, diverged, "diverged")
        else:
            ledger.finish(opened.engine, lease, result(1 + lease.number / 10, lease.seed))
    verdict = promotion_verdict.decide(opened.engine, study)
    first = planning.plan(study.spec).points[0]
    assert first is not None
    assert verdict.incomplete == [first.id()]
    assert len(verdict.finalists) == 2


def test_the_search_is_finished_before_the_best_is_promoted(opened: Database) -> None:
    """Finalists named too early would stay: a better point may come in later."""
    spec = make_spec()
    begun = studies.create(opened.engine, "begun", spec, planning.plan(spec))
    lease = ledger.claim(opened.engine, begun.id, "w", "cpu", 60)
    assert lease is not None
    ledger.finish(opened.engine, lease, result(9.0, 0))
    with pytest.raises(StudyError, match="9 of 10 points are left"):
        promotion.plan(opened.engine, begun)
    assert queries.counts(opened.engine, begun, Rung.PROMOTION)["total"] == 0


def test_a_single_finalist_wins_over_nobody(opened: Database) -> None:
    spec = make_spec(promote={"top": 1, "seeds": [1], "epochs": 3})
    alone = studies.create(opened.engine, "alone", spec, planning.plan(spec))
    for lease in leases(opened, alone):
        ledger.finish(opened.engine, lease, result(1 + lease.number / 10, 0))
    run_finalists(opened, alone, [{"rmse": 1.0}])
    assert promotion_verdict.decide(opened.engine, alone).verdict == "the only finalist"


def test_nothing_to_promote_is_an_error(opened: Database) -> None:
    spec = make_spec()
    empty = studies.create(opened.engine, "empty", spec, planning.plan(spec))
    for lease in leases(opened, empty):
        ledger.fail(opened.engine, lease, "no")
    with pytest.raises(StudyError, match="must have a finished point to promote"):
        promotion.plan(opened.engine, empty)


def test_a_ranking_says_who_comes_to_the_same_as_the_first_and_who_is_undecided(
    opened: Database,
) -> None:
    spec = make_spec(
        loss={"weights": [{"mae": 1}, {"edge": 1}, {"ssim": 1}, {"mae": 1, "edge": 1}]}
    )
    study = studies.create(opened.engine, "close", spec, planning.plan(spec))
    for lease, rmse in zip(leases(opened, study), (1.0, 1.0001, 1.4, 1.006), strict=False):
        ledger.finish(opened.engine, lease, result(rmse, 0))
    rows = ranking(spec, queries.done(opened.engine, study))
    assert [row.against_best for row in rows] == [None, "equivalent", "undecided", "worse"]
    assert all(row.interval[0] < row.value < row.interval[1] for row in rows)
    assert [row.images for row in rows] == [24] * 4


def test_the_leader_that_the_database_names_is_the_first_of_the_ranking(
    opened: Database, study: Study
) -> None:
    first = ranking(study.spec, queries.done(opened.engine, study))[0]
    leader = queries.leader(opened.engine, study)
    assert leader is not None
    assert (leader[0].id(), leader[1]) == (first.point, first.value)
    assert queries.leader(opened.engine, study, Rung.PROMOTION) is None


OUT_OF_MEMORY = {"about": {"not_comparable": "its batches were smaller"}}


def test_what_does_not_compare_neither_leads_nor_is_promoted(opened: Database) -> None:
    spec = make_spec(promote={"top": 2, "seeds": [1, 2], "epochs": 3})
    study = studies.create(opened.engine, "study", spec, planning.plan(spec))
    for lease in leases(opened, study):
        apart = OUT_OF_MEMORY if lease.number == 0 else {}
        ledger.finish(opened.engine, lease, result(1 + lease.number / 10, 0) | apart)
    leader = queries.leader(opened.engine, study)
    assert leader is not None
    second, third = promotion.plan(opened.engine, study)
    assert leader[0] == second
    for lease in leases(opened, study):
        apart = OUT_OF_MEMORY if lease.number == 0 else {}  # the better one's first seed
        rmse = 1.0 if lease.point == second else 1.2
        ledger.finish(opened.engine, lease, result(rmse, lease.seed) | apart)
    verdict = promotion_verdict.decide(opened.engine, study)
    assert verdict.point == third.id()
    assert verdict.incomplete == [second.id()]


def test_a_machine_that_cannot_draw_ends_its_launch_in_peace(
    opened: Database,
    study: Study,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, "weightsearch.report.optuna_dashboard", None)
    session.mirror(opened, study)
    assert "the dashboard's figures are behind: ModuleNotFoundError" in caplog.text
    assert "weightsearch.report.optuna_dashboard" in caplog.text  # which one
    assert not queries.behind(opened.engine, study)
