"""Where a study stands, in one word."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from weightsearch.store.tables.states import phase


@pytest.mark.parametrize(
    ("state", "search", "full", "promoted", "workers", "word"),
    [
        ("running", {"waiting": 3}, {}, False, False, "waiting"),
        ("running", {"waiting": 3}, {}, False, True, "running"),
        ("running", {"waiting": 3, "leased": 1}, {}, False, False, "running"),
        ("running", {"done": 3, "failed": 1}, {}, False, False, "done"),
        ("running", {"done": 4}, {"waiting": 2}, False, False, "waiting"),
        ("running", {"done": 4}, {"leased": 1}, False, False, "promoting"),
        ("running", {"done": 4}, {"done": 2}, True, False, "promoted"),
        ("running", {"done": 4}, {"done": 2, "leased": 1}, True, True, "promoting"),  # again
        ("paused", {"done": 4}, {"done": 2}, True, False, "paused"),
        ("stopped", {"waiting": 3}, {}, False, True, "stopped"),
    ],
)
def test_a_study_stands_where_its_points_do(
    state: str,
    search: Mapping[str, int],
    full: Mapping[str, int],
    promoted: bool,
    workers: bool,
    word: str,
) -> None:
    assert phase(state, search, full, promoted, workers) == word


@pytest.mark.parametrize(
    ("full", "promoted", "word"),
    [
        ({}, False, "done"),
        ({"done": 2}, True, "promoted"),
        ({"waiting": 2}, False, "waiting"),  # a budget is the search's
    ],
)
def test_what_a_budget_does_not_reach_is_not_waited_for(
    full: Mapping[str, int], promoted: bool, word: str
) -> None:
    assert phase("running", {"waiting": 3, "done": 1}, full, promoted, False, left=False) == word
