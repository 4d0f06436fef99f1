"""How far two orders of the same things agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations


def kendall_tau(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Kendall's tau-b of two sequences of values of the same things: 1 where they order them alike,
    -1 where the other way round; infinite values may be tied, NaN must not occur. None where one of
    them orders nothing (fewer than two, or all tied).

    (concordant - discordant) / sqrt((pairs not tied in a) (pairs not tied in b)): Kendall, "The
    treatment of ties in ranking problems", Biometrika 33, 1945.
    """
    signs = [(_sign(a[i], a[j]), _sign(b[i], b[j])) for i, j in combinations(range(len(a)), 2)]
    untied = math.prod(sum(pair[k] != 0 for pair in signs) for k in (0, 1))
    return sum(x * y for x, y in signs) / math.sqrt(untied) if untied else None


def _sign(x: float, y: float) -> int:
    return (x > y) - (x < y)
