"""The Ray cluster that workers run on: found, joined and left, and what its nodes have."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from weightsearch.errors import ConfigError

ANSWERS_S = 5.0  # within which a cluster's head takes a connection
OBJECTS = 80 * 2**20  # bytes; Ray's least: nothing of ours lies in its object store


@dataclass(frozen=True)
class Node:
    """What a machine of the cluster has."""

    host: str
    cpus: float
    gpus: float


def nodes() -> list[Node]:
    """The nodes that live; Ray must be joined."""
    return [
        Node(
            host=node["NodeManagerHostname"],
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
        )
        for node in module().nodes()
        if node["Alive"]
    ]


def address() -> str | None:
    """Of the running cluster: RAY_ADDRESS, else what `ray start` has noted on this machine.

    Not Ray's own "auto": that would also join another user's cluster, or the instance of another
    launch. And Ray tries an address that does not answer for minutes, so it is asked here first.
    Raises ConfigError where RAY_ADDRESS does not answer.
    """
    module()
    from ray._private.utils import read_ray_address

    named = os.environ.get("RAY_ADDRESS") or None
    found = named or read_ray_address() or None
    if found is None:
        return None
    host, _, port = found.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWERS_S).close()
    except (OSError, ValueError) as error:
        if named is None:  # the note of a cluster that was killed
            return None
        raise ConfigError(
            f"RAY_ADDRESS must be HOST:PORT of a Ray cluster's head, but {named} does not answer"
            f" ({error}); correct it, or unset it for a Ray instance of this machine."
        ) from None
    return found


@contextlib.contextmanager
def joined(said: Path) -> Iterator[str]:
    """Ray while the block runs: the running cluster, else an instance of this machine alone.

    Gives which, in words. What Ray prints goes to the file `said`, as stdout is for answers. Raises
    ConfigError.
    """
    ray, running = module(), address()
    at_sigterm = signal.getsignal(signal.SIGTERM)
    said.parent.mkdir(parents=True, exist_ok=True)
    with said.open("a") as output, contextlib.redirect_stdout(output):
        try:
            with _at_the_root():
                _join(running)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise ConfigError(f"Ray must be usable, but says {line(error)}") from None
        try:
            # Ray would end the process at SIGTERM; a launch stops with care.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, at_sigterm)
            yield f"the Ray cluster at {running}" if running else "a Ray instance of this machine"
        finally:
            ray.shutdown()


def _join(running: str | None) -> None:
    if running is not None:
        module().init(log_to_driver=False, logging_level=logging.ERROR)
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports home
    module().init(
        "local",
        include_dashboard=False,
        object_store_memory=OBJECTS,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


@contextlib.contextmanager
def _at_the_root() -> Iterator[None]:
    """The root as current folder: Ray has its tasks look for modules in the driver's first, and
    files that lie there are not to be executed. Workers are told where the launch was called."""
    before = os.open(".", os.O_RDONLY)
    os.chdir("/")
    try:
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def line(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def module() -> ModuleType:
    """Ray, imported on use: it is an extra. Raises ConfigError."""
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "--on ray needs Ray, which is not installed; pip install 'weightsearch[ray]'."
        ) from None
    return ray
