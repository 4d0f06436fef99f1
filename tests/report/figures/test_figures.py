"""Every figure, of nothing, of one point, of many, and where all failed."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re

import numpy as np
import plotly.graph_objects as go
import pytest
from support.records import ENCODERS, OPTIMUM, make_records, report_spec

from weightsearch.report.evidence.records import Records
from weightsearch.report.figures import directions
from weightsearch.report.figures import ternary_map as ternaries
from weightsearch.report.figures.accuracy import ranking
from weightsearch.report.figures.nightly_history import Night, history
from weightsearch.report.figures.registry import FIGURES, weight_map
from weightsearch.report.figures.search_progress import MOST_WORKERS
from weightsearch.report.figures.style import (
    ORDER,
    SYMBOLS,
    WORSE,
    colours,
    is_nothing,
    table_of,
    told_of,
)
from weightsearch.report.figures.ternary_map import ternary
from weightsearch.report.pages.study_page import report
from weightsearch.store.ledger.results import Evaluation
from weightsearch.study.objective_contract import NOT_COMPARABLE

CASES = {
    "none": make_records(0),
    "one": make_records(1),
    "many": make_records(500),
    "all failed": make_records(40, failed=True),
    "two terms": make_records(20, terms=("mae", "ssim")),
    "four terms": make_records(20, terms=("mae", "edge", "ssim", "silog")),
}
EVERYTHING = {
    **FIGURES,
    **{f"map {m}": lambda r, m=m: weight_map(r, ENCODERS[0], m) for m in ("rmse", "rel", "log10")},
}


@functools.cache
def drawn_of(name: str, case: str) -> go.Figure:
    return EVERYTHING[name](CASES[case])


def written(figure: go.Figure) -> str:
    """What plotly shows as words, and takes for mark-up."""
    said = [str(t.get("text", "")) for t in figure.to_plotly_json()["data"]]
    notes = [str(note.text) for note in figure.layout.annotations]
    return " ".join([figure.layout.title.text, *notes, *said])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", EVERYTHING)
def test_a_figure_has_traces_a_title_and_a_description(name: str, case: str) -> None:
    figure = drawn_of(name, case)
    assert figure.data
    assert figure.layout.title.text
    assert told_of(figure)
    assert len(figure.to_json()) < 400_000
    json.loads(figure.to_json(), parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))


@pytest.mark.parametrize("name", sorted(set(EVERYTHING) - {"timeline", "noise"}))
@pytest.mark.parametrize("case", ["none", "all failed"])
def test_a_figure_of_nothing_says_why(name: str, case: str) -> None:
    figure = drawn_of(name, case)
    assert [trace.mode for trace in figure.data] == ["text"]
    assert figure.data[0].text[0].endswith((".", ")."))


WITHOUT_A_UNIT = {"by_depth", "timeline", "loss_shares", "weightings", "map rel", "map log10"}


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_figure_says_its_unit_and_n_and_has_its_table(name: str) -> None:
    figure = drawn_of(name, "many")
    if is_nothing(figure):
        assert table_of(figure) is None
        return
    assert "n = " in told_of(figure)
    said = {key: held for key, held in figure.layout.to_plotly_json().items() if key != "meta"}
    assert "(m)" in str(said) or name in WITHOUT_A_UNIT
    behind = table_of(figure)
    assert behind is not None
    assert behind.rows
    assert {len(row) for row in behind.rows} == {len(behind.heads)}


@pytest.mark.parametrize("name", sorted(set(EVERYTHING) - {"by_depth"}))
def test_a_figure_of_an_own_objective_has_no_unit_and_no_images(name: str) -> None:
    many = CASES["many"]
    own = dataclasses.replace(many, spec=many.spec.model_copy(update={"data": None}))
    figure = EVERYTHING[name](own)
    said = f"{figure.layout.title.text} {figure.layout.xaxis.title.text} {told_of(figure)}"
    assert "(m)" not in said
    assert not re.search(r"\bimages?\b", said)


def test_what_is_worse_has_a_colour_and_a_sunk_one_a_symbol_that_nothing_else_has() -> None:
    assert WORSE not in ORDER
    assert not any(symbol.startswith("x") for symbol in SYMBOLS)


def test_an_encoder_has_one_colour_everywhere() -> None:
    records = CASES["many"]
    expected = colours(records.encoders)
    assert len(set(expected.values())) == len(ENCODERS)
    for name in ("ranking", "cost", "parallel", "ablation", "learning_curves"):
        for trace in drawn_of(name, "many").data:
            if trace.name in expected:
                drawn = trace.to_plotly_json()
                marked = drawn["line" if drawn.get("mode") == "lines" else "marker"]["color"]
                assert marked == expected[trace.name], name
    # Also where other encoders stand beside it.
    assert colours(["efficientnet_b0", "unknown"])["efficientnet_b0"] == ORDER[3]
    assert colours(["a", "b", "densenet121"])["densenet121"] == ORDER[0]


def optimum(values: np.ndarray) -> tuple[float, ...]:
    """Where the field is smallest, as shares of the three terms."""
    row, column = np.unravel_index(int(values.argmin()), values.shape)
    steps = values.shape[0] - 1
    along, up = column / steps, row / steps
    return ((1 - up) * (1 - along), (1 - up) * along, up)


def test_the_map_of_a_known_surface_has_its_optimum_in_the_right_place() -> None:
    records = make_records(200)
    shares = [[float(w) for w in d.point.weights.values()] for d in records.done]
    values = [sum((a - o) ** 2 for a, o in zip(s, OPTIMUM, strict=True)) for s in shares]
    field = ternaries.field(np.array(shares), np.array(values))
    assert field is not None
    assert np.abs(np.array(optimum(field)) - OPTIMUM).max() < 0.06
    # And each corner of what is drawn is its own term's.
    drawn = ternary(records, ENCODERS[0], "rmse")
    corners = {
        t: (x, y)
        for t, x, y in zip(drawn.data[-1].text, drawn.data[-1].x, drawn.data[-1].y, strict=True)
    }
    points = drawn.data[-2]
    for text, x, y in zip(points.text, points.x, points.y, strict=True):
        if ": 1 ssim" in text:
            assert (x, y) == pytest.approx(corners["<b>ssim</b>"], abs=0.04)
        if ": 1 mae" in text:
            assert (x, y) == pytest.approx(corners["<b>mae</b>"], abs=0.04)


def test_points_that_the_images_do_not_tell_apart_are_ringed() -> None:
    records = make_records(60)
    drawn = ternary(records, ENCODERS[0], "rmse")
    rings = [
        trace
        for trace in drawn.data
        if str(trace.to_plotly_json().get("marker", {}).get("symbol")) == "circle-open"
    ]
    assert len(rings) == 2  # white below black
    found = directions.tried(records, ENCODERS[0], "rmse")
    assert found is not None
    assert len(rings[0].x) == len(found.level) < 20


def test_two_terms_are_a_line_and_four_are_shown_pair_by_pair() -> None:
    (line,) = weight_map(CASES["two terms"], ENCODERS[0], "rmse").data
    found = directions.tried(CASES["two terms"], ENCODERS[0], "rmse")
    assert found is not None
    assert list(line.y) == pytest.approx(list(found.values), abs=1e-4)
    assert line.x[0] == pytest.approx(float(found.shares[0, 0]), abs=1e-4)
    panels = weight_map(CASES["four terms"], ENCODERS[0], "rmse").data
    assert len({(panel.xaxis, panel.yaxis) for panel in panels}) == 6
    seven = make_records(2, terms=("a", "b", "c", "d", "e", "f", "g"))
    assert "At most 6 terms" in told_of(weight_map(seven, ENCODERS[0], "rmse"))


def test_the_ranking_shows_the_margin_and_no_error_below_nothing() -> None:
    records = CASES["many"]
    figure = ranking(records, 10)
    first = records.rows[0].value
    (band,) = figure.layout.shapes
    assert (band.x0, band.x1) == (first, pytest.approx(1.01 * first))
    shown = [note.text for note in figure.layout.annotations]
    assert len(shown) == 10
    assert shown[0].startswith(f"1. {records.rows[0].encoder} · ")
    for trace in figure.data:
        assert all(x - low >= 0 for x, low in zip(trace.x, trace.error_x.arrayminus, strict=True))


def test_the_best_stands_beside_its_rivals_and_the_margin() -> None:
    records = CASES["many"]
    figure = FIGURES["rivals"](records)
    told = records.headline
    assert told is not None
    assert [trace.name for trace in figure.data] == [rival.name for rival in told.rivals]
    assert [trace.x[0] for trace in figure.data] == pytest.approx(
        [rival.comparison.difference for rival in told.rivals if rival.comparison], rel=1e-4
    )
    margin = told.rivals[0].comparison.margin  # type: ignore[union-attr]
    assert (figure.layout.shapes[0].x0, figure.layout.shapes[0].x1) == (-margin, margin)


def test_a_star_marks_what_is_compared_by_other_runs_than_the_best_is_told_by() -> None:
    records = CASES["many"]
    assert records.headline is not None
    first, *others = records.headline.rivals
    rivals = [dataclasses.replace(first, is_full=True), *others]
    told = dataclasses.replace(records.headline, is_full=True, rivals=rivals)
    for headline, starred in ((records.headline, []), (told, others)):
        beside = dataclasses.replace(records)
        vars(beside)["headline"] = headline  # a cached property
        figure = FIGURES["rivals"](beside)
        shown = [note.text for note in figure.layout.annotations if "*" in note.text]
        assert shown == [f"{r.name}*: {r.comparison.verdict}" for r in starred if r.comparison]
        assert ("but * by those of the search" in str(figure.layout.meta)) == bool(starred)


def test_names_are_text_in_figures() -> None:
    evil = "<b onload=x>&"
    records = make_records(12, encoders=(evil, "b"))
    for name, make in FIGURES.items():
        assert evil not in written(make(records)), name
    assert evil not in written(weight_map(records, evil, "rmse"))


def test_losses_and_second_attempts_can_be_seen() -> None:
    drawn = drawn_of("timeline", "many")
    by_name = {trace.name: trace for trace in drawn.data}
    assert len(by_name["lost"].x) == len(by_name["taken over or tried again"].x) > 40
    assert "ValueError: &lt;b&gt;no" in by_name["lost"].text[0]
    assert len({*drawn.data[0].y}) <= MOST_WORKERS


def test_the_best_so_far_only_improves_and_counts_what_was_lost() -> None:
    records = CASES["many"]
    line = drawn_of("best_so_far", "many").data[1]
    assert list(line.y) == sorted(line.y, reverse=True)
    assert line.x[-1] == pytest.approx(records.device_seconds, rel=1e-3)
    higher = report_spec(
        objective={"run": "weightsearch.study.trivial_objective:run", "direction": "maximize"}
    )
    grown = FIGURES["best_so_far"](Records("s", higher, records.attempts, records.done)).data[1]
    assert list(grown.y) == sorted(grown.y)


def test_what_does_not_compare_is_neither_ranked_nor_drawn_as_the_best() -> None:
    records = make_records(12)
    best = min(records.done, key=lambda d: d.result.metrics["rmse"])
    why = {NOT_COMPARABLE: "memory ran out"}
    replace = dataclasses.replace
    validation = replace(best.result.validation, about=why)
    apart = replace(best, result=replace(best.result, validation=validation))
    records = replace(records, done=[apart if d is best else d for d in records.done])
    assert best.number not in [row.number for row in records.rows]
    assert len(records.rows) == 11
    lowest = min(FIGURES["best_so_far"](records).data[1].y)
    assert lowest == pytest.approx(records.rows[0].value, abs=1e-5)
    assert lowest > best.result.metrics["rmse"]
    assert "not ranked beside others: memory ran out." in report(records)


def test_pairs_of_one_direction_are_the_noise_floor() -> None:
    directions = make_records(2)
    same = [directions.done[0], directions.done[0]]
    doubled = Records("s", directions.spec, done=same)
    box = FIGURES["noise"](doubled).data[0]
    assert box.name == "same direction (n = 1)"
    assert list(box.x) == [0.0]


def test_the_nightly_history_marks_the_verdicts() -> None:
    assert history([], "RMSE (m)").data[0].mode == "text"
    nights = [
        Night("2026-01-01", 0.5, 0.4, 0.6, "undecided"),
        Night("2026-01-02", 0.7, 0.4, 0.6, "worse", "<i>"),
        Night("2026-01-03", 0.5, None, None, "not enough"),
    ]
    drawn = history(nights, "RMSE (m)")
    assert list(drawn.data[1].marker.symbol) == ["circle", "triangle-down", "circle"]
    assert list(drawn.data[0].y) == [0.6, 0.6, 0.4, 0.4]
    assert "&lt;i&gt;" in drawn.data[1].text[1]
    assert not any(math.isnan(v) for v in drawn.data[1].y)


def test_error_by_depth_is_that_of_the_full_runs_on_the_test_split() -> None:
    bare = make_records(3)
    assert is_nothing(EVERYTHING["by_depth"](bare))
    bins = [
        {"from": 0.0, "to": 2.0, "pixels": 9, "rmse": 0.5, "abs_rel": 0.1, "bias": 0.0},
        {"from": 2.0, "to": 4.0, "pixels": 0, "rmse": None, "abs_rel": None, "bias": None},
        {"from": 4.0, "to": None, "pixels": 3, "rmse": 1.5, "abs_rel": 0.2, "bias": 0.1},
    ]
    run = bare.done[0]
    test = Evaluation(images=7, about={"by_depth_m": bins})
    tested = dataclasses.replace(run.result, test=test)
    records = dataclasses.replace(bare, full=[dataclasses.replace(run, result=tested)])
    (trace,) = EVERYTHING["by_depth"](records).data
    assert (list(trace.x), list(trace.y)) == ([1.0], [0.5])
    many = dataclasses.replace(records, full=records.full * 9)  # three finalists, three seeds each
    assert len(EVERYTHING["by_depth"](many).data) == 9
