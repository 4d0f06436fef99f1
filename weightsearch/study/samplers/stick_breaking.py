"""Directions as numbers in [0, 1] for optimisers that know only a cube, and back.

Coordinate i says which part of what is left term i takes. Uniform coordinates give directions
uniform on the simplex: the part of term i of K is Beta(1, K - 1 - i) distributed (Devroye,
Non-Uniform Random Variate Generation, XI.4). An optimiser never proposes a bound exactly, so the
outer `zero / 2` at each end of a coordinate means the bound itself: the term is left out, or it
takes all and those after it are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from weightsearch.study.search_space import DRAW_STEPS, Direction


def direction(terms: Sequence[str], coordinates: Sequence[float], zero: float) -> Direction:
    """The direction that len(terms) - 1 coordinates in [0, 1] mean, in multiples of 1/10000."""
    left, found = DRAW_STEPS, {}
    for after, term, coordinate in zip(
        range(len(terms) - 1, 0, -1), terms, coordinates, strict=False
    ):
        inner = min(1.0, max(0.0, (coordinate - zero / 2) / (1 - zero)))
        taken = round((1 - (1 - inner) ** (1 / after)) * left)
        found[term] = Fraction(taken, DRAW_STEPS)
        left -= taken
    return found | {terms[-1]: Fraction(left, DRAW_STEPS)}


def coordinates(terms: Sequence[str], weights: Mapping[str, Fraction], zero: float) -> list[float]:
    """The middle of what `direction` takes for this direction: len(terms) - 1 numbers in [0, 1].

    Where a term takes nearly all of what is left to n others, the n-th power of the rest may be too
    small to be told from 0 beside 1: the direction that comes back is then the nearest one that can
    be.
    """
    left, found = sum(weights.values(), Fraction(0)), []
    for after, term in zip(range(len(terms) - 1, 0, -1), terms, strict=False):
        if not left:  # whatever it is, it changes nothing
            found.append(0.5)
            continue
        part = weights[term] / left
        inner = 1 - float(1 - part) ** after
        ends = {0: zero / 4, 1: 1 - zero / 4}
        found.append(ends.get(part, zero / 2 + inner * (1 - zero)))  # type: ignore[call-overload]
        left -= weights[term]
    return found
