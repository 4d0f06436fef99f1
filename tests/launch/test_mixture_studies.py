"""Mixture studies from plan to promotion, through the ledger, with a planted truth."""

from __future__ import annotations

import pytest
from support import simulated_mixtures as simulated

from weightsearch.api import study_view
from weightsearch.commands.printing import launch_result
from weightsearch.report.evidence import mixture_answer
from weightsearch.report.evidence.mixture_answer import MixtureAnswer
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import queries
from weightsearch.store.ledger.studies import Study
from weightsearch.study.search_space import Point

TRUTH = simulated.planted(3, seed=1, left_out=1, power=0.5)


@pytest.fixture
def study(opened: Database) -> Study:
    spec = simulated.spec_of(3, "mixture", 18, seed=0)
    return simulated.searched(opened, "mixed", spec, TRUTH)


def answer_of(opened: Database, study: Study) -> MixtureAnswer:
    found = mixture_answer.answer(study.spec, queries.done(opened.engine, study))
    assert found is not None
    return found


def truth_at(point: Point) -> float:
    return TRUTH({term: float(weight) for term, weight in point.weights.items()})


def test_a_direction_that_needs_a_term_less_is_promoted(opened: Database, study: Study) -> None:
    point = simulated.promoted(opened, study, TRUTH)
    assert 0 in point.weights.values()
    assert truth_at(point) < 1.02


def test_the_answer_says_how_far_it_is_believed_and_names_the_region(
    opened: Database, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    found = study_view.Study(opened, "mixed").answer()
    stated = found.to_json()["mixture"]
    assert stated["results"] == 18
    assert stated["configurations"] == 14
    assert stated["skill"] > 0.8
    assert 0.01 < stated["lack_of_fit"]["p"] <= 1
    assert stated["doubt"] is None
    region = stated["region"]
    assert 0 < region["directions"] < region["of"] == 235
    assert min(region["simplest"]["weights"].values()) == 0
    assert region["best"]["value"] == pytest.approx(1, abs=0.02)
    assert 0 < region["best"]["deviation"] < 0.02
    for term, span in region["weights"].items():
        assert span["low"] <= region["best"]["weights"][term] <= span["high"]
    launch_result.ranking(found)
    said = capsys.readouterr().out
    assert "mixture: surface of 18 results of 14 configurations; leave-one-out skill " in said
    assert "mixture: within 1 % of the best prediction" in said
    assert "(can be left out)" in said
    assert "mixture: the simplest of them: " in said


def test_a_configuration_is_ranked_once_and_its_repeat_says_how_much_is_noise(
    opened: Database, study: Study
) -> None:
    done = queries.done(opened.engine, study)
    assert [d.seed for d in done] == [0] * 10 + [4] * 4 + [0] * 4  # 1 to 3 are the promotion's
    ranking = study_view.Study(opened, "mixed").answer().rows
    assert len({row.point for row in ranking}) == len(ranking) == 14
    assert {row.number for row in ranking}.isdisjoint(range(10, 14))


def test_finalists_are_of_the_best_prediction_the_simplest_and_on_a_face(
    opened: Database, study: Study
) -> None:
    done = queries.done(opened.engine, study)
    ranked = [d.point for d in sorted(done, key=lambda d: d.result.metrics["rmse"])]
    unique = list({point.key(): point for point in ranked}.values())
    found = mixture_answer.finalists(study.spec, done, unique)
    assert {p.key() for p in found} == {p.key() for p in unique}
    assert any(0 in p.weights.values() for p in found[:2])
    assert all(truth_at(p) < 1.05 for p in found[:2])
    other = study.spec.model_copy(
        update={"sampler": study.spec.sampler.model_copy(update={"kind": "random"})}
    )
    assert mixture_answer.finalists(other, done, unique) == unique
    assert mixture_answer.answer(other, done) is None


def test_where_there_is_nothing_to_find_no_region_is_named(opened: Database) -> None:
    flat = simulated.planted(3, seed=1, left_out=0, power=0.0)
    spec = simulated.spec_of(3, "mixture", 16, seed=0)
    study = simulated.searched(opened, "flat", spec, flat)
    found = answer_of(opened, study)
    assert found.region is None
    assert found.doubt == "its skill is below 0.1, as noise alone may show"
    assert found.sentences()[-1] == f"no region is named: {found.doubt}; what was measured stands"
    done = queries.done(opened.engine, study)
    centroid, vertex = done[3].point, done[0].point
    inner = next(d.point for d in done[14:] if 0 not in d.point.weights.values())
    # What was measured stands, but a face gets its test.
    assert mixture_answer.finalists(spec, done, [centroid, inner, vertex]) == [
        *(centroid, vertex, inner)
    ]
    early = mixture_answer.answer(spec, done[:3])
    assert early is not None
    assert early.sentences() == [
        "surface of 3 results of 3 configurations",
        "no region is named: there are too few results, or all are equal; what was measured stands",
    ]
