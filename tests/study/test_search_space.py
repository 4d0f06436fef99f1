"""Weights as directions, and the points of a grid."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.specs import make_spec

from weightsearch.study import search_space
from weightsearch.study.tables.loss_spec import LossSpec
from weightsearch.study.tables.train_spec import TrainSpec

LEVELS = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def test_the_papers_cube_has_215_points_and_175_directions() -> None:
    spec = make_spec(loss={"weights": {"grid": "cube", "levels": LEVELS}})
    points = list(search_space.grid(spec))
    assert len(points) == 215
    assert len({p.key() for p in points}) == 175


@pytest.mark.parametrize(
    ("levels", "points", "directions"),
    [
        ([0.2, 0.4, 0.6, 0.8, 1.0], 125, 115),
        ([0.1, 0.3, 1.0, 3.0], 64, 49),
        ([0.25, 0.5, 1.0], 27, 19),
        ([i / 10 for i in range(11)], 1330, 1033),
    ],
)
def test_cubes_have_the_known_numbers_of_directions(
    levels: list[float], points: int, directions: int
) -> None:
    spec = make_spec(loss={"weights": {"grid": "cube", "levels": levels}})
    found = list(search_space.grid(spec))
    assert (len(found), len({p.key() for p in found})) == (points, directions)


@pytest.mark.parametrize("terms", [1, 2, 3, 5])
def test_a_simplex_of_any_number_of_terms_sums_to_one(terms: int) -> None:
    names = [f"t{i}" for i in range(terms)]
    loss = LossSpec.model_validate({"terms": names, "weights": {"grid": "simplex", "steps": 4}})
    found = list(search_space.grid_weights(loss))
    assert {sum(w.values()) for w in found} == {Fraction(1)}
    expected = {1: 1, 2: 5, 3: 15, 5: 70}  # C(4 + terms - 1, terms - 1)
    assert len(found) == len({tuple(w.values()) for w in found}) == expected[terms]


@given(
    st.lists(st.integers(0, 50), min_size=2, max_size=5).filter(any),
    st.fractions(min_value=Fraction(1, 100), max_value=100),
)
def test_a_common_factor_changes_nothing(parts: list[int], factor: Fraction) -> None:
    weights = {f"t{i}": Fraction(p) for i, p in enumerate(parts)}
    scaled = {t: w * factor for t, w in weights.items()}
    assert search_space.canonical(weights, True) == search_space.canonical(scaled, True)
    assert sum(search_space.canonical(weights, True).values()) == 1
    assert search_space.canonical(scaled, False) == scaled


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=6).filter(any))
def test_shown_decimals_sum_to_one(parts: list[int]) -> None:
    weights = search_space.canonical({f"t{i}": Fraction(p) for i, p in enumerate(parts)}, True)
    shown = search_space.decimals(weights)
    assert round(sum(shown.values()) * 10_000) == 10_000
    assert all(abs(shown[t] - float(w)) < 1e-4 for t, w in weights.items())


def test_thirds_written_in_floats_are_one_direction() -> None:
    """In floats 0.2 / (0.2 + 0.2 + 0.2) is not 1 / 3."""
    small = {t: search_space.exact(0.2) for t in "abc"}
    large = {t: search_space.exact(1.0) for t in "abc"}
    assert search_space.canonical(small, True) == search_space.canonical(large, True)


def test_the_zero_point_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one weight must be above 0"):
        search_space.canonical({"mae": Fraction(0), "ssim": Fraction(0)}, True)


@pytest.mark.parametrize(
    ("train", "directions"),
    [
        ({"optimizer": "adam"}, True),
        ({"optimizer": "adamw", "weight_decay": 0.1}, True),
        ({"optimizer": "adam", "weight_decay": 0.1}, False),
        ({"optimizer": "adam", "clip_norm": 1.0}, False),
        ({"optimizer": "sgd"}, False),
    ],
)
def test_weights_are_directions_where_the_optimiser_ignores_scale(
    train: dict[str, object], directions: bool
) -> None:
    loss = LossSpec.model_validate({"weights": {"grid": "cube", "levels": [0, 1]}})
    assert search_space.are_directions(loss, TrainSpec.model_validate(train)) is directions


def test_where_scale_matters_nothing_is_merged() -> None:
    spec = make_spec(
        loss={"weights": {"grid": "cube", "levels": LEVELS}}, train={"optimizer": "sgd"}
    )
    assert len({p.key() for p in search_space.grid(spec)}) == 215


def test_every_choice_is_combined_with_every_direction() -> None:
    spec = make_spec(train={"lr": [1e-3, 1e-4]}, params={"encoder": ["a", "b", "c"], "depth": 4})
    points = list(search_space.grid(spec))
    assert len({p.key() for p in points}) == 10 * 2 * 3
    assert {p.params["depth"] for p in points} == {4}


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=2))
def test_a_direction_from_numbers_lies_on_the_simplex(uniforms: list[float]) -> None:
    weights = search_space.direction(("a", "b", "c"), uniforms)
    assert sum(weights.values()) == 1
    assert min(weights.values()) >= 0


def test_draws_cover_the_simplex_evenly() -> None:
    """The mean of a uniform direction is 1/3 per term, its variance 1/18."""
    spec = make_spec(sampler={"kind": "random", "trials": 1, "zero": 0})
    draws = [float(search_space.draw(spec, k).weights["mae"]) for k in range(4000)]
    mean = sum(draws) / len(draws)
    variance = sum((d - mean) ** 2 for d in draws) / len(draws)
    assert mean == pytest.approx(1 / 3, abs=0.01)
    assert variance == pytest.approx(1 / 18, abs=0.003)


def test_a_share_of_draws_lies_on_a_face_every_face_as_often() -> None:
    spec = make_spec(sampler={"kind": "random", "trials": 1, "zero": 0.25})
    draws = [search_space.draw(spec, k) for k in range(4000)]
    faces = Counter(frozenset(t for t, w in p.weights.items() if w) for p in draws)
    inside = faces.pop(frozenset(spec.loss.terms))
    assert inside / 4000 == pytest.approx(0.75, abs=0.02)
    assert len(faces) == 6  # three vertices and three edges
    assert all(count / 4000 == pytest.approx(0.25 / 6, abs=0.012) for count in faces.values())


def test_what_is_drawn_inside_is_what_was_drawn_without_faces() -> None:
    some, none = (make_spec(sampler={"kind": "random", "trials": 1, "zero": z}) for z in (0.5, 0))
    pairs = [(search_space.draw(some, k), search_space.draw(none, k)) for k in range(40)]
    assert 0 < sum(a == b for a, b in pairs) < 40
    assert all(a == b for a, b in pairs if all(a.weights.values()))
