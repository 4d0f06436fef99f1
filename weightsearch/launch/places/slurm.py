"""Workers as elements of a Slurm array job.

An element only starts the worker and waits for it (remote_worker.py). Near its time limit Slurm
sends it USR2: the worker gives its point back, and submitit puts the element in the queue again. A
SIGTERM says that Slurm is about to take the element away (preemption, scancel): the point is given
back too, but what becomes of the element is for Slurm to decide. A SIGINT is our own: stop for
good.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from weightsearch.errors import StorageError
from weightsearch.launch.places import remote_worker, slurm_jobs
from weightsearch.launch.places.local import AT_ONCE_S, Command
from weightsearch.launch.places.remote_worker import ConsecutiveWorkerDeaths, Ended, Order
from weightsearch.runtime.devices import Each, cores

LOOK_EVERY_S = 10.0  # between questions to Slurm, which serves everybody
LAST_LOOKS_S = 1.0  # while we wait for the end
SURE = 2  # so many looks must agree that an element is gone: its result may still be on its way
LOST = {"BOOT_FAIL", "NODE_FAIL", "PREEMPTED"}
"""States of an element that ended through no fault of its worker."""
ENDED = {"CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "TIMEOUT"} | {
    slurm_jobs.GONE, *LOST,
}  # fmt: skip

log = logging.getLogger(__name__)


def placed(device: str, workers: int | None, each: Each = 1) -> list[str]:
    """One device per worker, which each finds on its node; without `workers`, one worker. How many
    GPUs each takes is asked of Slurm, not known here.

    Raises ConfigError where no job can be submitted, or not so.
    """
    slurm_jobs.check()
    kind = remote_worker.kind(device, "Slurm")
    _options(kind, each)
    return [kind] * (workers or 1)


def _options(device: str, each: Each) -> dict[str, Any]:
    return slurm_jobs.options(os.environ.get(slurm_jobs.SETTING, ""), device, each)


@contextlib.contextmanager
def workers(
    command: Command, devices: Sequence[str], patience_s: float
) -> Iterator[Callable[[int], bool]]:
    """Runs workers while the block runs; the block calls what it gets, as `Fleet.check` says.

    Raises ConfigError, StorageError where the job is refused, or could reach no database.
    """
    if remote_worker.embedded(command):
        raise StorageError(
            "the database must be one that every node of the Slurm cluster reaches, but the"
            " embedded one is on this machine alone; set WEIGHTSEARCH_STORAGE to a PostgreSQL"
            " server."
        )
    parent = Path(command.environment["WEIGHTSEARCH_HOME"], "slurm")
    parent.mkdir(parents=True, exist_ok=True)
    # submitit's files hold the password: a folder that only we can enter.
    folder = Path(tempfile.mkdtemp(prefix=f"{command.study}-", dir=parent))
    options = _options(devices[0], command.each)
    fleet = Fleet(remote_worker.equipped(command), devices[0], patience_s, folder, options)
    try:
        fleet.start(len(devices))
        yield fleet.check
    finally:
        fleet.stop()


@dataclass
class Element:
    """What submitit runs on a node, and after each requeue again."""

    order: Order

    def __call__(self) -> Ended:
        taken: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: taken.append(number))
        per_task, each = os.environ.get("SLURM_CPUS_PER_TASK", ""), self.order.command.each
        threads = int(per_task) if per_task.isdigit() else cores()
        threads = max(1, threads // (1 if each == "auto" else each))
        try:
            ended = remote_worker.run(replace(self.order, threads=threads))
            while taken:  # an element that ended by itself would count as done
                time.sleep(1)
        except KeyboardInterrupt:  # the launch stops; the point was given back
            return Ended(0, "stopped", "", None)
        return ended

    def checkpoint(self) -> Any:
        """Asked by submitit when USR2 has stopped the worker: what is to be run next time."""
        return slurm_jobs.module().helpers.DelayedSubmission(self)


@dataclass
class Fleet:
    """The elements of one launch."""

    command: Command
    device: str
    patience_s: float
    folder: Path
    options: dict[str, Any]
    jobs: dict[str, Any] = field(default_factory=dict)
    """Elements that have not ended: Slurm's name for each (`7_0`), and submitit's job."""
    numbers: dict[str, int] = field(default_factory=dict)
    """Of their workers."""
    started: int = 0
    losses: ConsecutiveWorkerDeaths = field(default_factory=ConsecutiveWorkerDeaths)
    gone: dict[str, int] = field(default_factory=dict)
    """How many looks in a row an element had ended without a result."""
    looked_at: float = field(default_factory=time.monotonic)

    def start(self, count: int) -> None:
        """Submits so many workers as one array."""
        numbers = range(self.started + 1, self.started + 1 + count)
        orders = [Order(self.command, self.device, 1, n, self.patience_s) for n in numbers]
        jobs = slurm_jobs.submit(self.folder, self.options, [Element(order) for order in orders])
        self.started += count
        self.jobs |= {job.job_id: job for job in jobs}
        self.numbers |= {job.job_id: n for job, n in zip(jobs, numbers, strict=True)}
        array = slurm_jobs.arrays(job.job_id for job in jobs)
        log.info("%d workers submitted to Slurm as job %s; see %s", count, *array, self.folder)

    def check(self, finished: int) -> bool:
        """Whether workers are still at it, or in the queue; replaces those that died.

        `finished` is the number of finished points. Raises the error that a worker stated, or
        WorkersKeepDying.
        """
        self.losses.look(finished)
        again = 0
        for element, (state, ended) in self._ended(LOOK_EVERY_S).items():
            del self.jobs[element]
            if state == "CANCELLED":
                log.warning("worker %d was cancelled in Slurm", self.numbers[element])
            elif state in LOST or self.losses.replace(self.numbers[element], ended):
                again += 1
            else:
                return False  # it found no point left, nor would those that wait in the queue
        if again:
            self.start(again)
        return bool(self.jobs)

    def stop(self) -> None:
        """Asks every worker to give its point back, and cancels those that do not in time."""
        until, ask = time.monotonic() + self.patience_s + AT_ONCE_S, True
        while self.jobs and time.monotonic() < until:
            try:
                if ask:
                    slurm_jobs.cancel(self.jobs, "--state=PENDING")
                    slurm_jobs.cancel(self.jobs, "--signal=INT")
                    ask = False
                for element in self._ended(LAST_LOOKS_S):
                    del self.jobs[element]
                time.sleep(0.1)
            except KeyboardInterrupt:  # a second Ctrl-C: stop at once
                until, ask = min(until, time.monotonic() + AT_ONCE_S), True
        if self.jobs:
            slurm_jobs.cancel(self.jobs)
        for file in self.folder.glob("*.pkl"):
            file.unlink(missing_ok=True)

    def _ended(self, every_s: float) -> dict[str, tuple[str, Ended]]:
        """The elements that have ended: in which state, and how their workers did."""
        found = {
            element: ("COMPLETED", _result(job))
            for element, job in self.jobs.items()
            if job.paths.result_pickle.exists()
        }
        unknown = self.jobs.keys() - found.keys()
        if not unknown or time.monotonic() < self.looked_at + every_s:
            return found
        self.looked_at = time.monotonic()
        states = slurm_jobs.states(unknown)
        if states is None:
            return found
        for element in unknown:
            state = states.get(element, slurm_jobs.GONE)
            self.gone[element] = self.gone.get(element, 0) + 1 if state in ENDED else 0
            if self.gone[element] >= SURE:
                found[element] = state, Ended(-1, f"the state {state}", "Slurm", None)
        return found


def _result(job: Any) -> Ended:
    """How a worker ended, from the file that its element has left."""
    failure = job.exception()
    if failure is None:
        ended = job.result()
        assert isinstance(ended, Ended)
        return ended
    trace = [line.strip() for line in str(failure).splitlines() if "Error" in line]
    return Ended(-1, f"{trace[-1] if trace else 'an error'}; see {job.paths.stderr}", "Slurm", None)
