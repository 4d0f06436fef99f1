"""Workers as Ray tasks: on a running cluster, or on a Ray instance of this machine alone.

A task only starts the worker and waits for it (remote_worker.py). Ray finds a place with the GPUs
or cores that it asks for; which tasks are started again, and how often, is decided here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weightsearch.errors import ConfigError, DeviceError, StorageError
from weightsearch.launch.places import ray_cluster, remote_worker
from weightsearch.launch.places.local import AT_ONCE_S, Command
from weightsearch.launch.places.ray_cluster import Node
from weightsearch.launch.places.remote_worker import ConsecutiveWorkerDeaths, Ended, Order
from weightsearch.runtime import devices as local_devices
from weightsearch.runtime.devices import Each
from weightsearch.runtime.safe_text import counted

SECRET = re.compile(r"://[^/@\s]*:[^/@\s]+@|[?&]password=")  # of a URL

log = logging.getLogger(__name__)


def placed(device: str, workers: int | None, each: Each = 1) -> list[str]:
    """One device per worker: without `workers`, one for each GPU of the cluster, else each node; of
    workers that take `each` so many GPUs of one node, one for as many.

    Where no cluster runs, it will be an instance of this machine. Raises ConfigError, DeviceError.
    """
    if any(SECRET.search(argument) for argument in sys.orig_argv):
        raise ConfigError(
            "the database's password must not be among the arguments with --on ray, which shows"
            " them to whoever sees the cluster; put the URL in WEIGHTSEARCH_STORAGE."
        )
    kind = remote_worker.kind(device, "Ray")
    if ray_cluster.address() is None:
        return local_devices.pick(kind, workers, each)
    with ray_cluster.joined(Path(os.devnull)):
        nodes = ray_cluster.nodes()
    size = _size(nodes, each)
    gpus = 0 if kind == "cpu" else sum(int(node.gpus) // size for node in nodes)
    if kind == "cuda" and not gpus:
        raise DeviceError(
            f"--device cuda needs {_gpus(size)}, but no node of the Ray cluster has"
            f" {'one' if size == 1 else 'as many'}; use --device cpu."
        )
    count = workers or gpus or sum(node.cpus >= 1 for node in nodes) or 1
    return ["cuda:0" if gpus else "cpu"] * count


@contextlib.contextmanager
def workers(
    command: Command, devices: Sequence[str], patience_s: float
) -> Iterator[Callable[[int], bool]]:
    """Runs workers while the block runs; the block calls what it gets, as `Fleet.check` says.

    Raises ConfigError, DeviceError, StorageError where the cluster cannot be used.
    """
    with ray_cluster.joined(command.logs / "ray.log") as place:
        nodes = ray_cluster.nodes()
        check_database(nodes, command)
        demand = demanded(nodes, devices, command.each)
        log.info("%s on %s, each with %s", counted(len(devices), "worker"), place, demand)
        fleet = Fleet(remote_worker.equipped(command), demand, patience_s)
        try:
            for _ in devices:
                fleet.start()
            yield fleet.check
        finally:
            fleet.stop()


def check_database(nodes: Sequence[Node], command: Command) -> None:
    """Raises StorageError where the database is on this machine alone, and the nodes are not."""
    elsewhere = sorted({node.host for node in nodes} - {socket.gethostname()})
    if elsewhere and remote_worker.embedded(command):
        raise StorageError(
            "the database must be one that every node of the Ray cluster reaches, but the embedded"
            f" one is not on {', '.join(elsewhere)}; set WEIGHTSEARCH_STORAGE to a PostgreSQL"
            " server."
        )


@dataclass(frozen=True)
class Demand:
    """What a worker asks Ray for."""

    device: str
    cpus: float
    gpus: float

    def __str__(self) -> str:
        cores = f"{self.cpus:g} core{'s' * (self.cpus != 1)}"
        return f"{self.gpus:g} GPU and {cores}" if self.gpus else cores


def _size(nodes: Sequence[Node], each: Each) -> int:
    """How many GPUs a worker takes: of `auto` as many as the best node has."""
    return max(1, *(int(node.gpus) for node in nodes)) if each == "auto" else each


def _gpus(count: int) -> str:
    return "a GPU" if count == 1 else f"{count} GPUs"


def demanded(nodes: Sequence[Node], devices: Sequence[str], each: Each = 1) -> Demand:
    """An equal part for every worker, the largest of which all fit, and no less than the GPUs that
    it takes; raises DeviceError."""
    if devices[0] == "cpu":
        most = max(node.cpus for node in nodes)
        cores = remote_worker.share([node.cpus for node in nodes], len(devices), int(most))
        if not cores:
            raise DeviceError("workers need cores, but no node of the Ray cluster offers any.")
        return Demand("cpu", cores, 0.0)
    size = _size(nodes, each)
    with_gpus = [node for node in nodes if node.gpus >= size]
    gpus = remote_worker.share([node.gpus for node in with_gpus], len(devices), 1)
    if not with_gpus or not gpus:
        raise DeviceError(
            f"workers need {_gpus(size)} each, but no node of the Ray cluster offers"
            f" {'one' if size == 1 else 'as many'}."
        )
    gpus = size if size > 1 else gpus
    # Ray shows a worker its GPU as the first; with it go the cores that are its part of the node.
    cores = min(node.cpus // int(node.gpus / gpus + 1e-9) for node in with_gpus)
    return Demand("cuda:0", cores, gpus)


@dataclass
class Fleet:
    """The tasks of one launch."""

    command: Command
    demand: Demand
    patience_s: float
    tasks: dict[Any, int] = field(default_factory=dict)
    """What Ray gives for a task, and the number of its worker."""
    started: int = 0
    losses: ConsecutiveWorkerDeaths = field(default_factory=ConsecutiveWorkerDeaths)

    def start(self) -> None:
        self.started += 1
        on_cpu = 1 if self.command.each == "auto" else self.command.each
        processes = max(1, int(self.demand.gpus)) if self.demand.gpus else on_cpu
        threads = max(1, int(self.demand.cpus / processes))
        order = Order(self.command, self.demand.device, threads, self.started, self.patience_s)
        task = (
            ray_cluster.module()
            .remote(remote_worker.run)
            .options(
                name=f"weightsearch worker {self.started}",
                num_cpus=self.demand.cpus,
                num_gpus=self.demand.gpus,
                scheduling_strategy="SPREAD",
                max_retries=0,  # `check` does that, knowing what was lost
            )
        )
        self.tasks[task.remote(order)] = self.started

    def check(self, finished: int) -> bool:
        """Whether workers are still at it; replaces those that died or were lost with their node.

        `finished` is the number of finished points. Raises the error that a worker stated, or
        WorkersKeepDying.
        """
        self.losses.look(finished)
        for task in self._ended(0.0):
            number = self.tasks.pop(task)
            ended = _outcome(task)
            if ended is None:
                log.warning(
                    "worker %d was lost with its node; another starts where there is room", number
                )
            if ended is not None and not self.losses.replace(number, ended):
                return False  # it found no point left, nor would those that wait for a place
            self.start()
        return bool(self.tasks)

    def stop(self) -> None:
        """Asks every worker to give its point back, and kills those that do not in time."""
        ray = ray_cluster.module()
        until, ask = time.monotonic() + self.patience_s + AT_ONCE_S, True
        while self.tasks and time.monotonic() < until:
            try:
                if ask:
                    for task in self.tasks:
                        ray.cancel(task)  # a SIGINT in it, which `remote.run` passes on
                    ask = False
                for task in self._ended(0.2):
                    del self.tasks[task]
            except KeyboardInterrupt:  # a second Ctrl-C: stop at once
                until, ask = min(until, time.monotonic() + AT_ONCE_S), True
        for task in self.tasks:
            ray.cancel(task, force=True)
        self.tasks.clear()

    def _ended(self, timeout_s: float) -> list[Any]:
        tasks = list(self.tasks)
        if not tasks:
            return []
        ended, _ = ray_cluster.module().wait(tasks, num_returns=len(tasks), timeout=timeout_s)
        return list(ended)


def _outcome(task: Any) -> Ended | None:
    """How a worker ended; None where it was lost with its node."""
    ray = ray_cluster.module()
    try:
        ended = ray.get(task)
    except ray.exceptions.NodeDiedError:
        return None
    except ray.exceptions.RayTaskError as error:
        said = f"{ray_cluster.line(error.cause)} (every node needs the same weightsearch)"
        return Ended(-1, said, "a node of the Ray cluster", None)
    except ray.exceptions.RayError as error:  # the task's process died, of memory for one
        return Ended(-1, ray_cluster.line(error), "a node of the Ray cluster", None)
    assert isinstance(ended, Ended)
    return ended
