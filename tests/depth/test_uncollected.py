"""An import without the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from weightsearch.depth.uncollected import uncollected


@pytest.fixture
def thawed() -> Iterator[None]:
    """Tests run with what was there before them frozen (conftest.py)."""
    gc.unfreeze()
    yield
    gc.collect()
    gc.freeze()


@pytest.mark.usefixtures("thawed")
def test_what_a_block_makes_is_old_and_can_still_be_collected() -> None:
    class Mine:
        pass

    with uncollected():
        assert not gc.isenabled()
        made = Mine()
        made.itself = made  # type: ignore[attr-defined]
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert any(one is made for one in gc.get_objects(generation=2))
    del made
    gc.collect()
    assert not any(type(one) is Mine for one in gc.get_objects())


def test_what_is_frozen_stays_so() -> None:
    """The collector lists what is not frozen."""
    mine = [object()]
    assert any(one is mine for one in gc.get_objects())
    gc.collect()
    gc.freeze()
    with uncollected():
        pass
    assert not any(one is mine for one in gc.get_objects())


def test_after_an_error_it_collects_again() -> None:
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()


def test_who_has_it_off_keeps_it_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
