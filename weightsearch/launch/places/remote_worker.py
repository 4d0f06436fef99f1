"""A worker that another program starts, perhaps on another machine; and how it ended.

Ray and Slurm call `run` there. It is the same `weightsearch worker` as here, in a process of its
own, so that what a worker does about signals stays in one place.
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from weightsearch.errors import ConfigError, WeightsearchError
from weightsearch.launch.places.local import REPLACED, Command, FirstFailure, WorkersKeepDying

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
"""Of these the worker is told; USR2 is what Slurm sends before a time limit."""

TO_US_ALONE = {signal.SIGINT, signal.SIGUSR2}
"""Slurm may signal every process of a job; of these the worker hears through us, and only once."""

LOOK_EVERY_S = 0.1

CARRIED = ("WEIGHTSEARCH_", "PG")
"""Settings that a worker has wherever it runs: our own, and libpq's (certificates, passwords)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """A worker to be run. Holds secrets: it travels as a value, never in arguments or names."""

    command: Command
    device: str
    threads: int
    number: int
    patience_s: float
    """How long a worker that was told to stop may take to give its point back."""

    def __repr__(self) -> str:
        return f"Order({self.command.study!r}, {self.number})"


@dataclass(frozen=True)
class Ended:
    """How a worker ended."""

    code: int
    """Its exit code; negative where it has none of its own."""
    said: str
    """The last line of its log."""
    host: str
    log: Path | None
    """On that host."""
    failure: str | None = None
    """The traceback of its first point whose objective failed."""


def run(order: Order) -> Ended:
    """Runs a worker to its end.

    A signal to this process becomes a SIGTERM of the worker; a second one of its kind, a second
    SIGTERM. When the worker has given its point back the signal goes to whoever listened for it
    before, and may well end the call.
    """
    told: list[int] = []

    def tell(number: int, frame: FrameType | None) -> None:
        told.append(number)

    before = {number: signal.signal(number, tell) for number in SIGNALS}
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, TO_US_ALONE)  # which the worker inherits
        try:
            process = order.command.start(order.device, order.threads, order.number)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, TO_US_ALONE)
        sent, until = 0, float("inf")
        while (code := process.popen.poll()) is None:
            if sent < max(Counter(told).values(), default=0):
                until = min(until, time.monotonic() + order.patience_s)
                process.popen.terminate()
                sent += 1
            if time.monotonic() > until:
                process.popen.kill()
            time.sleep(LOOK_EVERY_S)
    finally:
        for listened, handler in before.items():
            signal.signal(listened, handler)
    for number in dict.fromkeys(told):
        signal.raise_signal(number)
    host, failure = platform.node(), process.failure()
    return Ended(code, process.last_line(), host, process.log, failure)


def equipped(command: Command) -> Command:
    """The command with all settings that it needs where this process's environment is unknown."""
    ours = {name: value for name, value in os.environ.items() if name.startswith(CARRIED)}
    return replace(command, environment=ours | command.environment)


def embedded(command: Command) -> bool:
    """Whether the workers would use the embedded database, which is on this machine alone."""
    return "WEIGHTSEARCH_STORAGE" not in command.environment


def kind(device: str, scheduler: str) -> str:
    """`auto`, `cpu` or `cuda`; raises ConfigError for a certain GPU, which others choose."""
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"--device must be auto, cpu or cuda where {scheduler} chooses the GPU, but got"
            f" '{device}'."
        )
    return device


def share(each: Sequence[float], workers: int, most: int) -> float:
    """The largest part of a machine that so many workers can have at once; 0 where none can.

    `each` is what every machine has, of GPUs or cores. A part is `most` units or fewer, or an n-th
    of one unit, rounded down to the four digits that Ray reckons with.
    """
    parts = [*map(float, range(most, 0, -1)), *(10_000 // n / 10_000 for n in range(2, 10_001))]
    for part in parts:
        if sum(int(amount / part + 1e-9) for amount in each) >= workers:
            return part
    return 0.0


@dataclass
class ConsecutiveWorkerDeaths:
    """Workers that died since a point was last finished: a few in a row end the launch."""

    deaths: int = 0
    finished_before: int = -1
    failures: FirstFailure = field(default_factory=FirstFailure)

    def look(self, finished: int) -> None:
        """`finished` is the number of finished points."""
        if finished != self.finished_before:
            self.finished_before, self.deaths = finished, 0

    def replace(self, number: int, ended: Ended) -> bool:
        """Whether a worker that ended so is to be replaced.

        Raises the error that it stated, or WorkersKeepDying.
        """
        self.failures.tell(ended.failure, f"{ended.log} on {ended.host}")
        if ended.code == 0:
            return False
        if ended.code == 1 and ended.said.startswith("error: "):
            raise WeightsearchError(f"{ended.said.removeprefix('error: ')} (on {ended.host})")
        self.deaths += 1
        why = f"code {ended.code}; see {ended.log}" if ended.log else ended.said
        log.warning("worker %d ended on %s with %s; starting another", number, ended.host, why)
        if self.deaths >= REPLACED:
            raise WorkersKeepDying(
                f"workers must live, but {self.deaths} ended in a row with nothing finished, the"
                f" last on {ended.host} with {why}."
            )
        return True
