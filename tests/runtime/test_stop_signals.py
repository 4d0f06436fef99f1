"""What asks a launch to stop is heard, whatever Python was at."""

from __future__ import annotations

import signal
import sys

import pytest

from weightsearch.runtime.stop_signals import SIGNALS, interruptible


class InterruptedAtItsEnd:
    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupt_that_a_finaliser_swallows_is_not_lost(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    swallowed: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: swallowed.append(lost.exc_type))
    before = signal.getsignal(number)
    with interruptible() as raise_if_interrupted:
        raise_if_interrupted()
        made = InterruptedAtItsEnd(number)
        del made
        assert swallowed == [KeyboardInterrupt]
        with pytest.raises(KeyboardInterrupt):
            raise_if_interrupted()
    assert signal.getsignal(number) is before
