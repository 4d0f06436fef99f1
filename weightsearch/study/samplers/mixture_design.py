"""Directions for a mixture experiment: where to measure first, and which are round.

The space is the simplex of K weights with its vertices and faces (Cornell, Experiments with
Mixtures). A surface is smooth in sqrt(w), whose distance is Hellinger's.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING

from weightsearch.study import search_space

if TYPE_CHECKING:
    import numpy as np

Shares = tuple[Fraction, ...]

STEPS = {2: 20, 3: 20, 4: 20, 5: 10, 6: 10, 7: 5, 8: 5}
"""Of the lattice of round directions, by the number of terms: at most 3003 of them."""


@cache
def design(terms: int) -> tuple[Shares, ...]:
    """Where to measure first: every vertex, the centroid, then what tells most about a quadratic in
    sqrt(w).

    K(K + 1)/2 points for the terms of Scheffe's quadratic, and K + 1 more (or all there are) that
    test it. Each next one is where the prediction is least certain, which raises the determinant
    of the information most (D-optimality; Wynn 1970).
    """
    import numpy as np

    chosen = list(repeats(terms))
    open_points = [point for point in _candidates(terms) if point not in chosen]
    wanted = terms * (terms + 1) // 2 + terms + 1
    features = {point: _quadratic(point) for point in _candidates(terms)}
    while open_points and len(chosen) < wanted:
        rows = np.array([features[point] for point in chosen])
        inverse = np.linalg.inv(rows.T @ rows + 1e-6 * np.eye(rows.shape[1]))
        unsure = [float(features[point] @ inverse @ features[point]) for point in open_points]
        # Rounded, so that ties fall the same way on every machine.
        chosen.append(open_points.pop(int(np.argmax([float(f"{u:.6g}") for u in unsure]))))
    return tuple(chosen)


def repeats(terms: int) -> tuple[Shares, ...]:
    """What of the design is measured again with another seed: the vertices and the centroid."""
    return (*_candidates(terms)[:terms], (Fraction(1, terms),) * terms)


@cache
def round_directions(terms: int) -> tuple[Shares, ...]:
    """Directions that are easy to say: a lattice, and what the design is chosen from."""
    steps = STEPS[terms]
    lattice = (
        tuple(Fraction(part, steps) for part in parts)
        for parts in search_space.compositions(steps, terms)
    )
    return tuple(dict.fromkeys([*lattice, *_candidates(terms)]))


@cache
def _candidates(terms: int) -> tuple[Shares, ...]:
    """The centroids of all faces, vertices first; then the points half way from the centroid to a
    vertex."""
    found = []
    for size in range(1, terms + 1):
        for face in itertools.combinations(range(terms), size):
            found.append(tuple(Fraction(int(t in face), size) for t in range(terms)))
    centroid = found[-1]
    for vertex in found[:terms]:
        found.append(tuple((a + b) / 2 for a, b in zip(vertex, centroid, strict=True)))
    return tuple(dict.fromkeys(found))


def _quadratic(shares: Shares) -> np.ndarray:
    """The terms of Scheffe's quadratic in sqrt(w): w_i, then sqrt(w_i w_j)."""
    import numpy as np

    root = np.sqrt(np.array(shares, dtype=float))
    pairs = itertools.combinations(range(len(shares)), 2)
    return np.array([*root**2, *(root[i] * root[j] for i, j in pairs)])
