"""A function that calls back, as a generator: training frameworks push, an objective is pulled.

The function runs in a thread of its own, and stands still while somebody looks at what it has
shown: never do both run. A thread, and not one `fit` per epoch, because a schedule of the learning
rate must know the whole run, and because nothing is then loaded again for each epoch.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Shown = TypeVar("Shown")
Result = TypeVar("Result")

LEAVE_S = 10.0
"""For a function to leave, after whoever looked has: the rest of a batch, and tidying up."""


class Left(BaseException):
    """Whoever looked has left; no error, so a framework's `except Exception` must not see it."""


@dataclass(frozen=True)
class _Ended:
    result: Any = None
    error: BaseException | None = None


@dataclass(frozen=True)
class Viewer(Generic[Shown]):
    """Who looks at what a function shows."""

    _shown: SimpleQueue[Shown | _Ended] = field(default_factory=SimpleQueue)
    _asked: SimpleQueue[None] = field(default_factory=SimpleQueue)
    _left: threading.Event = field(default_factory=threading.Event)

    def show(self, found: Shown) -> None:
        """Returns when the next one is asked for; raises Left where none will be."""
        self._shown.put(found)
        self._asked.get()
        self.stay()

    def stay(self) -> None:
        """Raises Left where nobody looks any more: for places between two that show something."""
        if self._left.is_set():
            raise Left


def pulled(work: Callable[[Viewer[Shown]], Result]) -> Generator[Shown, None, Result]:
    """Yields what `work` shows, and returns or raises what it does.

    Where the generator is closed, or something is thrown into it, `work` is left by `Left` where it
    stands, and waited for.
    """
    viewer: Viewer[Shown] = Viewer()

    def run() -> None:
        try:
            ended = _Ended(work(viewer))
        except BaseException as error:
            ended = _Ended(error=error)
        viewer._shown.put(ended)

    # A daemon: a process that is told to end at once does not wait for a step that hangs.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="training", daemon=True)
    thread.start()
    try:
        while not isinstance(found := viewer._shown.get(), _Ended):
            yield found
            viewer._asked.put(None)
        if found.error is not None:
            raise found.error
        result: Result = found.result
        return result
    finally:
        viewer._left.set()
        viewer._asked.put(None)
        thread.join(LEAVE_S)
        found = _Ended()  # its error refers to this frame, and both to a network
