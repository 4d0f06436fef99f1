"""What chaos.py does to workers and their server: a supervisor that kills, stops and crashes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from support.faulty_servers import OwnServer

LEASE_S = 3.0
LIMIT_S = 420.0

Start = Callable[[int], "subprocess.Popen[bytes]"]


@dataclass
class Harm:
    """What was done to the workers and the server."""

    kills: list[tuple[float, int]] = field(default_factory=list)
    """When, and which process."""
    stops: int = 0
    away: list[tuple[float, float]] = field(default_factory=list)
    """From when until when the server was away."""

    def away_s(self, since: float = 0.0, until: float = float("inf")) -> float:
        """How much of a time the server was away."""
        return sum(max(0.0, min(b, until) - max(a, since)) for a, b in self.away)


@dataclass
class Chaos:
    """A supervisor that does harm by a seed, until `done` says that all is done."""

    server: OwnServer
    start: Start
    seed: int
    number: int
    every_s: float = 1.0
    """From kill to kill."""
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    stopped: dict[int, float] = field(default_factory=dict)
    started: int = 0
    harm: Harm = field(default_factory=Harm)

    def run(self, done: Callable[[], float]) -> bool:
        """Whether all was done in time; `done` gives the share of the points that is."""
        source = random.Random(self.seed)
        crashes = sorted(source.uniform(0.05, 0.85) for _ in range(3))
        for _ in range(self.number):
            self._start()
        began = time.time()
        kill_at, stop_at, back_at, share = began + 3.0, began + 3.5, 0.0, 0.0
        try:
            while share < 1 or crashes or back_at:
                now = time.time()
                if now > began + LIMIT_S:
                    return False
                if now >= kill_at:
                    kill_at += self.every_s
                    self._kill(source, now)
                if now >= stop_at:
                    stop_at += 2.5
                    self._stop(source)
                if back_at and now >= back_at:
                    self.server.start()
                    self.harm.away[-1] = self.harm.away[-1][0], time.time()
                    back_at = 0.0
                elif not back_at:
                    share = done()
                    if crashes and share >= crashes[0]:
                        crashes.pop(0)
                        self.server.stop("immediate")
                        back_at = now + source.uniform(2, 20)
                        self.harm.away.append((now, back_at))
                self._go_on(now)
                self._replace()
                time.sleep(0.05)
            return True
        finally:
            if back_at:
                self.server.start()
            self._go_on(float("inf"))
            self._end()

    def _start(self) -> None:
        self.started += 1
        self.workers.append(self.start(self.started))

    def _kill(self, source: random.Random, now: float) -> None:
        if self.workers:
            victim = source.choice(self.workers)
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            self.stopped.pop(victim.pid, None)
            self.workers.remove(victim)
            self.harm.kills.append((now, victim.pid))
            self._start()

    def _stop(self, source: random.Random) -> None:
        alive = [w for w in self.workers if w.poll() is None and w.pid not in self.stopped]
        if alive:
            victim = source.choice(alive)
            victim.send_signal(signal.SIGSTOP)
            self.stopped[victim.pid] = time.time() + source.uniform(0.5, 2 * LEASE_S)
            self.harm.stops += 1

    def _go_on(self, now: float) -> None:
        for pid in [pid for pid, until in self.stopped.items() if until <= now]:
            del self.stopped[pid]
            os.kill(pid, signal.SIGCONT)

    def _replace(self) -> None:
        """Workers that ended though there is work: as a supervisor of processes would."""
        for worker in [w for w in self.workers if w.poll() not in (None, 0)]:
            self.workers.remove(worker)
            self._start()

    def _end(self) -> None:
        until = time.monotonic() + 60
        for worker in self.workers:
            try:
                worker.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


@contextmanager
def fresh(server: OwnServer) -> Iterator[str]:
    with server.admin() as admin:
        admin.execute("DROP DATABASE IF EXISTS ws WITH (FORCE)")
        admin.execute("CREATE DATABASE ws")
    yield server.url("ws")
