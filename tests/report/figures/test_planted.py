"""What was planted is what the figures show, where a rate is searched beside the weights."""

from __future__ import annotations

import dataclasses
import itertools
import random
from fractions import Fraction

import numpy as np
import plotly.graph_objects as go
import pytest
from support.records import OPTIMUM, make_records, report_spec

from weightsearch.report.evidence.records import Records
from weightsearch.report.figures.registry import FIGURES
from weightsearch.report.figures.style import told_of
from weightsearch.report.figures.ternary_map import ternary
from weightsearch.report.figures.weight_effects import LEAST_TRIALS
from weightsearch.store.ledger.queries import Done
from weightsearch.store.ledger.results import Evaluation, Result
from weightsearch.store.tables.states import Outcome
from weightsearch.study.objective_contract import CONSTANT
from weightsearch.study.search_space import Point

ENCODERS = ("a", "b")
RATES = (0.001, 0.01, 0.1)
WORSE = {0.001: 0.4, 0.01: 0.0, 0.1: 3.0}
"""By the rate: at the last one nothing learns."""
STEPS = 6


def planted(weigh: float = 1.0, rates: tuple[float, ...] = RATES) -> Records:
    """Each encoder, direction and rate once, the worst rate last; the second encoder a little worse
    and with other rates' worth of harm, so that no mean over rates is in the planted order."""
    terms = ("mae", "edge", "ssim")
    spec = report_spec(params={"encoder": list(ENCODERS), "rate": list(rates)})
    shares = [
        (a, b, STEPS - a - b)
        for a, b in itertools.product(range(STEPS + 1), repeat=2)
        if a + b <= STEPS
    ]
    done = []
    for rate, encoder, parts in itertools.product(rates, ENCODERS, shares):
        weights = {t: Fraction(p, STEPS) for t, p in zip(terms, parts, strict=True)}
        far = sum((p / STEPS - o) ** 2 for p, o in zip(parts, OPTIMUM, strict=True))
        rmse = 0.5 + weigh * far + WORSE[rate] + 0.01 * (encoder == "b")
        found = Result(Outcome.DONE, Evaluation({"rmse": rmse}))
        point = Point(weights, {"encoder": encoder, "rate": rate})
        done.append(Done(len(done), len(done), 0, point, found))
    return dataclasses.replace(make_records(0), spec=spec, done=done)


def measured(figure: go.Figure) -> go.Scatter:
    """The trace that has a colour for each place."""
    return next(t for t in figure.data if t.type == "scatter" and t.marker.colorscale)


def test_the_winner_of_the_map_has_the_best_colour_and_its_place_no_other() -> None:
    figure = ternary(planted(), "a", "rmse")
    points = measured(figure)
    colour = np.array(points.marker.color)
    assert len(colour) == (STEPS + 1) * (STEPS + 2) // 2  # one for each direction
    assert len({*zip(points.x, points.y, strict=True)}) == len(colour)
    best = int(colour.argmin())
    assert colour[best] == pytest.approx(points.marker.cmin, abs=1e-4)
    assert "0.5 mae 0.167 edge 0.333 ssim" in points.text[best]
    assert "rate 0.01 " in points.text[best]
    assert points.marker.cmax < 0.5 + WORSE[0.1]  # what did not learn stretches no scale
    assert "28 directions, each by the best of its points over rate (84 points)" in (
        told_of(figure)
    )


def test_a_network_that_learned_nothing_is_crossed_out() -> None:
    records = planted(rates=(0.01,))
    told = {CONSTANT: {"says": "a constant prediction of 2 m", "value": 0.8}}
    done = [
        dataclasses.replace(
            one,
            result=dataclasses.replace(
                one.result, validation=Evaluation(one.result.metrics, about=told)
            ),
        )
        for one in records.done
    ]
    figure = ternary(dataclasses.replace(records, done=done), "a", "rmse")
    points = measured(figure)
    crossed = [s == "x" for s in points.marker.symbol]
    assert crossed == [value >= 0.8 for value in points.marker.color]
    assert 0 < sum(crossed) < len(crossed)
    assert f"Crosses, {sum(crossed)}: no better than a constant" in told_of(figure)


def test_without_another_choice_the_map_shows_points() -> None:
    figure = ternary(planted(rates=(0.01,)), "a", "rmse")
    assert "28 points, " in told_of(figure)
    assert "directions, each" not in told_of(figure)


def test_encoder_and_weights_are_compared_at_their_best_rates() -> None:
    figure = FIGURES["interaction"](planted())
    (heat,) = figure.data
    values = np.array(heat.z, dtype=float)
    assert values.max() < 0.5 + 2 + WORSE[0.01]
    assert np.allclose(values[1] - values[0], 0.01, atol=2e-3)
    assert "each by the best of its points over rate" in told_of(figure)


def test_the_planted_parameter_is_the_most_important_and_surely_so() -> None:
    figure = FIGURES["importance"](planted(weigh=0.01))
    (bars,) = figure.data
    assert bars.y[-1] == "rate"
    assert "PED-ANOVA" in told_of(figure)
    assert "Unstable" not in told_of(figure)
    weights = FIGURES["importance"](planted(weigh=4.0, rates=(0.01,)))
    assert weights.data[0].y[-1] in ("mae", "edge", "ssim")
    assert all(whisker >= 0 for whisker in weights.data[0].error_x.array)


def test_an_order_that_halves_of_the_points_do_not_share_is_said_to_be_unstable() -> None:
    noise = random.Random(0)
    few = planted(weigh=0.0, rates=(0.01,))
    noisy = [
        dataclasses.replace(
            done,
            result=dataclasses.replace(
                done.result, validation=Evaluation({"rmse": 1 + noise.random()})
            ),
        )
        for done in noise.sample(few.done, 3 * LEAST_TRIALS)
    ]
    figure = FIGURES["importance"](dataclasses.replace(few, done=noisy))
    assert "Unstable: which of" in told_of(figure)
