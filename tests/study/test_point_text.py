"""What people read of a point."""

from __future__ import annotations

from fractions import Fraction

from weightsearch.study.point_text import described, labelled, named, told_apart
from weightsearch.study.search_space import Point

THIRD = dict.fromkeys(("mae", "edge", "ssim"), Fraction(1, 3))


def test_a_point_is_named_by_its_network_and_its_weights() -> None:
    given = {"decoder": "densedepth", "lr": 0.001, "encoder": "densenet121"}
    weights = {"mae": 0.6, "edge": 0.2, "ssim": 0.2, "silog": 0.0}
    said = named(weights, given)
    assert said == "densenet121, lr 0.001 · 0.6 mae 0.2 edge 0.2 ssim"
    assert named(weights, given | {"decoder": "nn"}).startswith("densenet121, nn, lr 0.001 · ")
    assert named({"mae": 1.0}, {}) == "1 mae"
    assert labelled("1 mae", "0e4e612f2d") == "1 mae [0e4e612f2d]"


def test_weights_are_told_to_three_digits_and_a_learned_weighting_by_its_name() -> None:
    assert described(Point(THIRD, {"encoder": "a"})) == "a · 0.333 mae 0.333 edge 0.333 ssim"
    learned = Point(THIRD, {"encoder": "a", "weighting": "uncertainty"})
    assert described(learned) == "a · uncertainty"


def test_names_that_rounding_makes_the_same_have_their_hashes() -> None:
    assert told_apart(["1 mae", "1 edge"], ["a", "b"]) == ["1 mae", "1 edge"]
    close = [named({"mae": share, "edge": 1 - share}, {}) for share in (0.334, 0.332)]
    assert close[0] == close[1]
    assert told_apart(close, ["a", "b"]) == [f"{close[0]} [a]", f"{close[0]} [b]"]
