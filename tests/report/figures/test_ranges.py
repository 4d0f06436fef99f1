"""Figures of a study that searches a number between two bounds."""

from __future__ import annotations

import dataclasses
import math

import pytest
from support.records import make_records, report_spec

from weightsearch.report.evidence.headline import described
from weightsearch.report.evidence.records import Records
from weightsearch.report.figures.registry import FIGURES
from weightsearch.report.figures.weight_effects import _columns
from weightsearch.report.pages.study_page import ranking_table
from weightsearch.study.search_space import Point

LR = {"low": 1e-5, "high": 1e-3, "log": True}


@pytest.fixture(scope="module")
def records() -> Records:
    """40 points, better the nearer their lr is to 1e-3."""
    made = make_records(40)
    spec = report_spec(train={"lr": LR, "epochs": 5}, sampler={"kind": "random", "trials": 40})
    done = []
    for k, one in enumerate(made.done):
        lr = 10 ** (-5 + 2 * k / 39)
        validation = one.result.validation
        assert validation is not None
        scale = 2 - k / 39
        samples = {name: [scale * v for v in values] for name, values in validation.samples.items()}
        metrics = validation.metrics | {n: math.fsum(v) / len(v) for n, v in samples.items()}
        found = dataclasses.replace(validation, metrics=metrics, samples=samples)
        done.append(
            dataclasses.replace(
                one,
                point=Point(one.point.weights, {**one.point.params, "lr": lr}),
                result=dataclasses.replace(one.result, validation=found),
            )
        )
    return dataclasses.replace(made, spec=spec, done=done, full=[])


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_can_be_drawn(records: Records, name: str) -> None:
    figure = FIGURES[name](records)
    assert figure.data
    assert figure.to_json()


def test_the_number_is_an_axis_from_end_to_end(records: Records) -> None:
    columns = {name: rest for name, *rest in _columns(records, records.done)}
    values, low, high = columns["lr"]
    assert (low, high) == ("1e-05", "0.001")
    assert values == pytest.approx([k / 39 for k in range(40)])
    assert "lr" in FIGURES["parallel"](records).layout.xaxis.ticktext


def test_its_importance_is_known(records: Records) -> None:
    (bars,) = FIGURES["importance"](records).data
    assert bars.y[list(bars.x).index(max(bars.x))] == "lr"


def test_the_ranking_and_the_headline_name_it(records: Records) -> None:
    _, rows = ranking_table(records)
    assert f"lr {records.rows[0].params['lr']}" in str(rows[0][1])
    assert ", lr 0.001 · " in described(records.spec, records.done[-1].point)
