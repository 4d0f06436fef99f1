"""Learned weightings in a report: named in the ranking, shown over the epochs, on no map."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import pytest
from support.records import make_records, report_spec, result

from weightsearch.report.evidence.headline import headline
from weightsearch.report.evidence.records import Attempt, Records
from weightsearch.report.figures.learned_weights import weightings
from weightsearch.report.figures.registry import FIGURES
from weightsearch.report.figures.style import is_nothing, told_of
from weightsearch.report.figures.ternary_map import ternary
from weightsearch.report.pages.study_page import answer, ranking_table, report
from weightsearch.store.ledger.queries import Done
from weightsearch.study import search_space
from weightsearch.study.search_space import Point

FIXED = make_records(30)
LOSS = {"weights": {"grid": "simplex", "steps": 6}, "weightings": ["cov", "random"]}
EPOCHS = [
    {"rmse": 0.4, "weight_mae": 0.5, "weight_edge": 0.3, "weight_ssim": 0.2},
    {"rmse": 0.3, "weight_mae": 0.6, "weight_edge": 0.3, "weight_ssim": 0.1},
]


def done(number: int, point: Point, better: float) -> Done:
    """A point whose errors are so much smaller than those of its equal weights."""
    made = result(point, number)
    samples = {name: [v - better for v in values] for name, values in made.samples.items()}
    metrics = made.metrics | {name: sum(v) / len(v) for name, v in samples.items()}
    evaluation = dataclasses.replace(made.validation, metrics=metrics, samples=samples)
    return Done(number, number, 0, point, dataclasses.replace(made, validation=evaluation))


def attempt(number: int, point: Point) -> Attempt:
    return Attempt(number, 0, 0, 1, point, "w", "cpu", 0, 9, "done", epochs=EPOCHS)


def with_learned() -> Records:
    spec = report_spec(loss=LOSS)
    points = list(search_space.learned(spec))  # each weighting with each of three encoders
    found = [done(100 + k, p, 0.4 - 0.01 * k) for k, p in enumerate(points)]
    ran = [attempt(100 + k, p) for k, p in enumerate(points)]
    return dataclasses.replace(
        FIXED, spec=spec, done=[*FIXED.done, *found], attempts=[*FIXED.attempts, *ran]
    )


def test_the_weights_over_the_epochs_are_those_of_each_weightings_best_point() -> None:
    figure = weightings(with_learned())
    names = [f"{name}, {term}" for name in ("cov", "random") for term in ("mae", "edge", "ssim")]
    assert [line.name for line in figure.data] == names
    assert list(figure.data[0].y) == [0.5, 0.6]
    assert "point 100: densenet121 · cov; point 103: densenet121 · random" in told_of(figure)
    assert is_nothing(weightings(FIXED))
    records = with_learned()
    silent = [dataclasses.replace(a, epochs=[{"rmse": 1.0}]) for a in records.attempts]
    assert is_nothing(weightings(dataclasses.replace(records, attempts=silent)))


def test_a_weighting_that_drew_no_line_is_not_named() -> None:
    records = with_learned()
    some = [
        dataclasses.replace(a, epochs=[{"rmse": 1.0}]) if a.point.weighting == "cov" else a
        for a in records.attempts
    ]
    figure = weightings(dataclasses.replace(records, attempts=some))
    assert {line.name.partition(",")[0] for line in figure.data} == {"random"}
    assert "(n = 1: point 103: densenet121 · random)" in told_of(figure)


def test_the_ranking_names_a_learned_weighting_in_the_place_of_its_weights() -> None:
    records = with_learned()
    heads, rows = ranking_table(records)
    first = dict(zip(heads, rows[0], strict=True))
    assert first["point"].startswith("densenet121 · cov [")
    last = dict(zip(heads, rows[-1], strict=True))
    assert " · 1 edge [" in last["point"]
    assert answer(records).startswith("densenet121 · cov has RMSE")
    assert "Learned weightings" in report(records)


@pytest.mark.parametrize("name", ["ablation", "importance", "parallel", "interaction"])
def test_what_is_said_of_directions_is_said_of_fixed_weights(name: str) -> None:
    assert FIGURES[name](with_learned()) == FIGURES[name](FIXED)


def test_the_map_has_no_place_for_what_has_no_direction() -> None:
    mapped = [ternary(r, "densenet121", "rmse") for r in (with_learned(), FIXED)]
    assert mapped[0].data == mapped[1].data


def test_the_headline_sets_a_learned_weighting_against_fixed_weights() -> None:
    """Equal weights stand in a learned point's row, and are not what it was trained with."""
    records = with_learned()
    equal = Point(search_space.canonical({t: Fraction(1) for t in records.terms}, True),
                  {"encoder": "densenet121"})  # fmt: skip
    rivals = [*records.done, done(200, equal, 0.0)]
    told = headline(records.spec, rivals, [], None, 1.0)
    assert told is not None
    assert told.sentence.startswith("densenet121 · cov has")
    against = {rival.name: rival.says for rival in told.rivals}
    assert against["the runner-up"] == "efficientnet_b0 · cov"
    assert against["equal weights"] == "densenet121 · 0.33 mae 0.33 edge 0.33 ssim"
    assert "mae" in against["the best single term"] or "ssim" in against["the best single term"]
