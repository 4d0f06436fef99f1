"""A function that calls back, pulled as a generator."""

from __future__ import annotations

import threading
import traceback

import pytest

from weightsearch.adapters.handover import Left, Viewer, pulled
from weightsearch.errors import Interrupted


def test_it_stands_still_until_it_is_asked_and_returns() -> None:
    done: list[int] = []

    def work(viewer: Viewer[int]) -> str:
        for number in range(3):
            done.append(number)
            viewer.show(number)
        return "end"

    run = pulled(work)
    assert done == []
    assert next(run) == 0
    assert done == [0]
    assert (next(run), next(run)) == (1, 2)
    with pytest.raises(StopIteration) as end:
        next(run)
    assert end.value.value == "end"
    assert threading.active_count() == 1 or "training" not in {
        thread.name for thread in threading.enumerate()
    }


def test_what_it_raises_has_its_own_traceback() -> None:
    def broken(viewer: Viewer[int]) -> None:
        viewer.show(1)
        raise KeyError("depth")

    run = pulled(broken)
    next(run)
    with pytest.raises(KeyError) as error:
        next(run)
    assert "in broken" in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("how", ["closed", "thrown"])
def test_who_leaves_has_it_left_where_it_stands(how: str) -> None:
    seen: list[str] = []

    def work(viewer: Viewer[int]) -> None:
        try:
            try:
                viewer.show(1)
            except Exception:  # a framework's
                seen.append("taken for an error")
            seen.append("went on")
        except Left:
            seen.append("left")
            raise

    run = pulled(work)
    next(run)
    if how == "closed":
        run.close()
    else:
        with pytest.raises(Interrupted):
            run.throw(Interrupted())
    assert seen == ["left"]


def test_between_two_that_it_shows_it_can_ask_whether_anybody_looks() -> None:
    viewer: Viewer[int] = Viewer()
    viewer.stay()
    viewer._left.set()
    with pytest.raises(Left):
        viewer.stay()
