"""Where a search has been, as a triangle of characters: each corner is one term alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from weightsearch.store.tables.states import PointState

CORNERS = 3
ROWS = 9
MARKS = {
    PointState.WAITING: ".",
    PointState.PAUSED: ".",
    PointState.LEASED: "+",
    PointState.FAILED: "x",
    PointState.DROPPED: "-",
    PointState.DONE: "o",
    "best": "@",
}
"""A later one covers an earlier one at the same place."""

Place = tuple[Mapping[str, float], str]
"""Weights, and a state."""


def triangle(terms: Sequence[str], places: Iterable[Place], rows: int = ROWS) -> list[str]:
    """Lines of a triangle with the first term on top, the second at the left, the third at the
    right, and a line that explains the marks; none unless there are three terms.

    Row n, from 0, has n + 1 places, so nearby directions may share one.
    """
    if len(terms) != CORNERS:
        return []
    order = list(MARKS)
    marks: dict[tuple[int, int], str] = {}
    for weights, state in places:
        shares = [max(weights.get(term, 0.0), 0.0) for term in terms]
        total = sum(shares)
        if not total:
            continue
        top, _, right = (share / total for share in shares)
        row = round((1 - top) * (rows - 1))
        # The right term's share of what the top one leaves.
        column = round(right / (1 - top) * row) if row else 0
        held = marks.get((row, column))
        if held is None or order.index(state) >= order.index(held):
            marks[row, column] = state
    width = 2 * rows - 1
    lines = [f"{terms[0]:^{width + 2}}".rstrip()]
    for row in range(rows):
        cells = " ".join(MARKS[marks[row, c]] if (row, c) in marks else " " for c in range(row + 1))
        lines.append(f"{'/' + cells + chr(92):^{width + 2}}".rstrip())
    left, right_label = terms[1], terms[2]
    lines.append(f"{left}{right_label:>{max(width + 2 - len(left), len(right_label) + 1)}}")
    lines.append("@ best  o done  + running  x failed  . waiting")
    return lines
