"""A child process and how it ended."""

from __future__ import annotations

import pytest

from weightsearch.runtime import child_python


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0, "ended with code 0"),
        (3, "ended with code 3"),
        (-11, "ended by SIGSEGV"),
        (-40, "ended by signal 40"),
    ],
)
def test_an_end_is_told_by_its_code_or_its_signal(code: int, told: str) -> None:
    assert child_python.how_ended(code) == told
