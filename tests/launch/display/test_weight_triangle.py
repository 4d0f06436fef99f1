"""The triangle of characters: corners, the middle, and what covers what."""

from __future__ import annotations

from weightsearch.launch.display.weight_triangle import ROWS, triangle

TERMS = ("mae", "edge", "ssim")


def only(mae: float, edge: float, ssim: float, state: str = "done") -> list[str]:
    return triangle(TERMS, [({"mae": mae, "edge": edge, "ssim": ssim}, state)])


def where(lines: list[str], mark: str = "o") -> tuple[int, int]:
    """Row and column of the only mark."""
    ((row, line),) = [(k, line) for k, line in enumerate(lines[1:-2]) if mark in line]
    assert line.count(mark) == 1
    return row, line.index(mark)


def test_each_corner_is_one_term_alone() -> None:
    lines = only(1, 0, 0)
    assert "mae" in lines[0]
    assert lines[-2].startswith("edge")
    assert lines[-2].endswith("ssim")
    top, left, right = where(lines), where(only(0, 1, 0)), where(only(0, 0, 3))
    assert top[0] == 0
    assert left[0] == right[0] == ROWS - 1
    assert left[1] < top[1] < right[1]
    assert top[1] - left[1] == right[1] - top[1] == ROWS - 1


def test_the_middle_is_in_the_middle_and_a_common_factor_moves_nothing() -> None:
    row, column = where(only(1, 1, 1))
    assert abs(row - 2 * (ROWS - 1) / 3) < 1
    assert abs(column - where(only(1, 0, 0))[1]) <= 1
    assert where(only(5, 5, 5)) == (row, column)


def test_the_best_covers_what_is_done_which_covers_what_waits() -> None:
    here = {"mae": 1.0, "edge": 0.0, "ssim": 0.0}
    lines = triangle(TERMS, [(here, "best"), (here, "done"), (here, "waiting")])
    assert where(lines, "@")[0] == 0
    lines = triangle(TERMS, [(here, "waiting"), (here, "leased")])
    assert where(lines, "+")[0] == 0


def test_it_fits_a_narrow_terminal_and_other_numbers_of_terms_have_none() -> None:
    full = [
        ({"mae": a, "edge": b, "ssim": 10 - a - b}, "done")
        for a in range(11)
        for b in range(11 - a)
    ]
    assert max(len(line) for line in triangle(TERMS, full)) <= 60
    assert triangle(("mae", "edge"), []) == []
    assert only(0, 0, 0)[1:-2] == triangle(TERMS, [])[1:-2]
