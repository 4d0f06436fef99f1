"""Workers as processes on this machine: started, replaced when they die, stopped with us."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from weightsearch.errors import WeightsearchError
from weightsearch.runtime import child_python, own_traceback
from weightsearch.runtime.devices import Each, cores, threads
from weightsearch.runtime.worker_name import new_ending, worker_name

REPLACED = 5
"""So many deaths of workers in a row, with no point finished in between, end the launch."""

AT_ONCE_S = 5.0  # for workers that are asked a second time to stop

log = logging.getLogger(__name__)


def threads_each(devices: Sequence[str], each: Each = 1) -> int:
    """How many threads each worker has, of those on these devices, or each process of a worker that
    takes `each` so many."""
    several = 1 if each == "auto" else each
    on_cpu = several * sum(device == "cpu" for device in devices)
    return threads(on_cpu) if on_cpu else max(1, cores() // (several * len(devices)))


class WorkersKeepDying(WeightsearchError):
    """Workers end without a reason that they could state."""


@dataclass(frozen=True)
class Command:
    """How a worker is started; secrets travel in the environment, never in its arguments."""

    study: str
    data: Path | None
    environment: dict[str, str]
    logs: Path
    path: Sequence[str] = ()
    """Folders in which a study's own objective may lie."""
    folder: str | None = None
    """Where the launch was called, and an objective's relative paths begin, where it is there."""
    each: Each = 1
    """How many devices each worker takes."""
    lanes: str = "1"

    def start(self, device: str, threads: int, number: int, replaces: str = "") -> Process:
        """`replaces` names a worker whose process is gone: the new one frees what it held."""
        ending = new_ending()
        arguments = child_python.command("weightsearch", "worker", self.study, "--device", device)
        arguments += ["--data", str(self.data)] if self.data else []
        arguments += ["--lanes", self.lanes] if self.lanes != "1" else []
        environment = self.told(threads) | {"WEIGHTSEARCH_LAUNCHER": str(os.getpid())}
        environment |= {"WEIGHTSEARCH_WORKER": ending, "WEIGHTSEARCH_REPLACES": replaces}
        self.logs.mkdir(parents=True, exist_ok=True)
        file = self.logs / f"worker-{os.getpid()}-{number}.log"
        with file.open("ab") as output:
            began = output.tell()
            # A session of its own: Ctrl-C in the terminal reaches us, and we stop it with care.
            process = subprocess.Popen(
                arguments,
                env=environment,
                cwd=self.folder if self.folder and os.path.isdir(self.folder) else None,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return Process(
            process, worker_name(ending, process.pid), device, threads, number, file, began
        )

    def told(self, threads: int) -> dict[str, str]:
        """The environment of a worker that is to have so many threads, unless the user says how
        many; torch reads it when it is imported, and a worker that is asked later has them all."""
        own = child_python.environment(self.path) | self.environment
        return {"OMP_NUM_THREADS": str(threads)} | own | {"PYTHONUNBUFFERED": "1"}


@dataclass
class Process:
    popen: subprocess.Popen[bytes]
    name: str
    device: str
    threads: int
    number: int
    log: Path
    began: int = 0
    """Where this process's part of the log begins, in bytes."""

    def failure(self) -> str | None:
        """The traceback of the first point whose objective failed; None where none did."""
        part = self.log.read_bytes()[self.began :]
        return next(own_traceback.logged(part.decode(errors="replace")), None)

    def last_line(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return lines[-1] if lines else ""


@dataclass
class FirstFailure:
    """The traceback of a failed point, shown once in a launch: of many, one is enough."""

    told: bool = False

    def tell(self, trace: str | None, log_file: str) -> None:
        """`trace` is a worker's first, None where none of its points failed."""
        if trace and not self.told:
            self.told = True
            log.warning("a point failed (all: %s), %s", log_file, own_traceback.shown(trace))


@dataclass
class Fleet:
    """The worker processes of one launch."""

    command: Command
    processes: list[Process] = field(default_factory=list)
    started: int = 0
    deaths: int = 0
    finished_before: int = -1
    failures: FirstFailure = field(default_factory=FirstFailure)

    def start(self, devices: Sequence[str]) -> None:
        for device in devices:
            self._start(device, threads_each(devices, self.command.each))

    def _start(self, device: str, threads: int, replaces: str = "") -> None:
        self.started += 1
        self.processes.append(self.command.start(device, threads, self.started, replaces))

    def check(self, finished: int) -> bool:
        """Whether workers are still at it; replaces those that were killed.

        `finished` is the number of finished points. Raises the error that a worker stated, or
        WorkersKeepDying.
        """
        if finished != self.finished_before:
            self.finished_before, self.deaths = finished, 0
        for process in list(self.processes):
            code = process.popen.poll()
            if code is None:
                continue
            self.processes.remove(process)
            self.failures.tell(process.failure(), str(process.log))
            said = process.last_line()
            if code == 1 and said.startswith("error: "):
                for other in self.processes:  # it may be their points that failed
                    self.failures.tell(other.failure(), str(other.log))
                raise WeightsearchError(said.removeprefix("error: "))
            if code != 0:
                self.deaths += 1
                ended = child_python.how_ended(code)
                log.warning("worker %d %s; starting another", process.number, ended)
                if self.deaths >= REPLACED:
                    raise WorkersKeepDying(
                        f"workers must live, but {self.deaths} ended in a row with nothing"
                        f" finished; the last {ended}, see {process.log}."
                    )
                self._start(process.device, process.threads, process.name)
        return bool(self.processes)

    def stop(self, patience_s: float) -> None:
        """Asks every worker to give its point back, and kills those that do not in time."""
        until = time.monotonic() + patience_s
        ask = True
        while True:
            try:
                if ask:
                    for process in self.processes:
                        process.popen.terminate()
                    ask = False
                if all(process.popen.poll() is not None for process in self.processes):
                    break
                if time.monotonic() > until:
                    for process in self.processes:
                        process.popen.kill()
                time.sleep(0.05)
            except KeyboardInterrupt:  # a second Ctrl-C: stop at once
                until, ask = min(until, time.monotonic() + AT_ONCE_S), True
        self.processes.clear()


@contextlib.contextmanager
def workers(
    command: Command, devices: Sequence[str], patience_s: float
) -> Iterator[Callable[[int], bool]]:
    """Runs workers while the block runs; the block calls what it gets, as `Fleet.check` says."""
    fleet = Fleet(command)
    try:
        fleet.start(devices)
        yield fleet.check
    finally:
        fleet.stop(patience_s)
