"""Directions as coordinates of a cube: there and back, even, and with every face within reach."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightsearch.study.samplers import stick_breaking

TERMS = tuple("abcdefgh")


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=7), st.sampled_from([0, 1 / 8, 0.9]))
def test_a_direction_survives_the_way_there_and_back(cuts: list[int], zero: float) -> None:
    bounds = [0, *sorted(cuts), 10_000]
    terms = TERMS[: len(cuts) + 1]
    weights = {
        t: Fraction(b - a, 10_000) for t, a, b in zip(terms, bounds, bounds[1:], strict=False)
    }
    found = stick_breaking.coordinates(terms, weights, zero)
    assert all(0 <= c <= 1 for c in found)
    back = stick_breaking.direction(terms, found, zero)
    left, smallest = 1.0, 1.0
    for after, term in zip(range(len(cuts), 0, -1), terms, strict=False):
        rest = 1 - float(weights[term]) / left if left > 1e-9 else 0.0
        smallest = min(smallest, rest**after if rest > 1e-9 else 1.0)
        left -= float(weights[term])
    if smallest > 1e-10:  # else a coordinate cannot tell what is left from nothing
        assert back == weights
    assert sum(back.values()) == 1
    assert all(abs(back[term] - weights[term]) < 0.05 for term in terms)


def test_what_a_coordinate_cannot_tell_comes_back_as_nearly_the_same() -> None:
    weights = {t: Fraction(0) for t in TERMS[:5]} | {"a": Fraction(9999, 10000)}
    weights["e"] = Fraction(1, 10000)
    found = stick_breaking.coordinates(TERMS[:5], weights, 0.9)
    back = stick_breaking.direction(TERMS[:5], found, 0.9)
    assert abs(back["a"] - weights["a"]) <= Fraction(1, 10000)


def test_even_coordinates_cover_the_simplex_evenly() -> None:
    """The mean of a uniform direction of four terms is 1/4 per term, its variance 3/80."""
    source = random.Random(0)
    drawn = [
        stick_breaking.direction(TERMS[:4], [source.random() for _ in range(3)], 0)
        for _ in range(4000)
    ]
    for term in TERMS[:4]:
        weights = [float(d[term]) for d in drawn]
        mean = sum(weights) / 4000
        assert mean == pytest.approx(1 / 4, abs=0.01)
        variance = sum((w - mean) ** 2 for w in weights) / 4000
        assert variance == pytest.approx(3 / 80, abs=0.003)


def test_the_ends_of_coordinates_are_every_face() -> None:
    ends = (0.05, 0.5, 0.95)
    for zero, faces in ((1 / 8, 7), (0, 1)):
        drawn = [stick_breaking.direction(TERMS[:3], (a, b), zero) for a in ends for b in ends]
        assert all(sum(d.values()) == 1 for d in drawn)
        assert len({frozenset(t for t, w in d.items() if w) for d in drawn}) == faces
