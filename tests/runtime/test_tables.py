"""Tables that fit: what is left out first, what wraps, and what is never broken."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from weightsearch.runtime.console import console
from weightsearch.runtime.tables import NARROWEST, Column, Table

NAME = "mobilenetv3_small_100 · 0.333 mae 0.333 edge 0.333 ssim"
HEADINGS = ("#", Column("point", wraps=True), "rmse", Column("rel", 2), Column("log10", 3))


def table(wide: bool = False) -> Table:
    made = Table("a study", (*HEADINGS, Column("id", 1)), wide)
    made.add_row("1", NAME, "0.5000", "0.1000", "0.0500", "0123456789")
    made.add_row("2=", "resnet10t · 1 mae", "0.6000", "0.2000", "0.0600", "abcdefabcd")
    return made


@pytest.mark.parametrize(
    ("width", "gone", "lines"),
    [
        (None, [], 4),
        (99, [], 4),
        (94, ["log10"], 5),  # an optional column goes before a name is broken
        (86, ["rel", "log10"], 5),
        (70, ["rel", "log10"], 6),  # then a name is
        (50, ["rel", "log10"], 7),
        (44, ["rel", "log10", "id"], 6),  # the last one goes where even that is not enough
    ],
)
def test_a_table_fits_by_what_matters(width: int | None, gone: list[str], lines: int) -> None:
    found = table().lines(width)
    assert len(found) == lines, "\n".join(found)
    shown = [name for name in ("#", "point", "rmse", "rel", "log10", "id") if name not in gone]
    assert found[1].split() == shown
    if width is not None:
        assert all(cell_len(line) <= width for line in found)
    if gone:
        assert found[-1] == f"not shown: {', '.join(gone)} (--wide)"


def test_a_weight_stays_with_its_term() -> None:
    for width in range(44, 99):
        for line in table().lines(width):
            assert not line.rstrip().endswith(" 0.333")


def test_wide_and_csv_have_all_of_it() -> None:
    assert table(wide=True).lines(40) == table().lines(None)
    rows = list(csv.reader(io.StringIO(table().csv())))
    assert rows[0] == ["#", "point", "rmse", "rel", "log10", "id"]
    assert rows[1][1] == NAME


def test_a_path_is_not_broken() -> None:
    path = "/home/" + "deep/" * 30
    made = Table("", (Column("file", wraps=True),))
    made.add_row(path)
    assert path in made.lines(40)


@given(
    st.lists(st.lists(st.text("ab ·", max_size=60), min_size=3, max_size=3), max_size=5),
    st.integers(NARROWEST + 4, 200),
)
def test_no_line_is_wider_than_its_place_and_no_word_is_lost(
    rows: list[list[str]], width: int
) -> None:
    made = Table("", (Column("a", wraps=True), Column("b", 2), Column("c", 1)))
    for a, b, c in rows:
        made.add_row(" ".join(a[i : i + 20] for i in range(0, len(a), 20)), b, c)
    fitted = made.lines(width)
    assert all(cell_len(line) <= width for line in fitted if not line.startswith("not shown"))
    kept = [word for row in made.rows for word in row[0].split()]
    said = " ".join(fitted).split()
    assert [word for word in kept if word not in said] == []


def test_columns_says_how_wide_the_terminal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    assert console.width == 70
    monkeypatch.delenv("COLUMNS")
    assert console.width == 1000  # nobody looks
