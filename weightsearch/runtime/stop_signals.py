"""How a launch and its workers are asked to stop: by a signal, or by the launcher's death."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

GRACE_S = 30.0  # after a stop is asked for: an epoch that would take longer is cut short
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

log = logging.getLogger(__name__)


class StopNow(BaseException):
    """A second signal: give the point back and leave at once."""


@dataclass
class Stop:
    """Whether this process was asked to stop, and when."""

    launcher: int | None = None
    """The process that started this one and whose death stops it."""
    asked_at: float | None = None
    _held: bool = False
    _at_once: bool = False

    def asked(self) -> bool:
        if self.asked_at is None and self.launcher not in (None, os.getppid()):
            self._ask("the launcher is gone")
        return self.asked_at is not None

    def grace_s(self) -> float | None:
        """None, or the seconds left until the stop takes effect."""
        if not self.asked():
            return None
        assert self.asked_at is not None
        return max(0.0, self.asked_at + GRACE_S - time.monotonic())

    def _ask(self, why: str) -> None:
        self.asked_at = time.monotonic()
        log.warning(
            "stopping (%s): the point in hand is given back; a second signal stops at once", why
        )

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """A signal asks for a stop; a second one raises StopNow."""

        def ask(number: int, frame: FrameType | None) -> None:
            if self.asked_at is None:
                self._ask(signal.Signals(number).name)
            elif self._held:
                self._at_once = True
            else:
                raise StopNow

        before = {number: signal.signal(number, ask) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def held_off(self) -> Iterator[None]:
        """StopNow waits for the end of the block: what it does must not be cut in two."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._at_once:
            raise StopNow


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """A signal in the block raises KeyboardInterrupt, and so does the call of what the block gets
    after one: Python drops what is raised in a finaliser or in a callback from C."""
    signalled = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal signalled
        signalled = True
        raise KeyboardInterrupt

    def check() -> None:
        if signalled:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # which alone has handlers
        yield check
        return
    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
