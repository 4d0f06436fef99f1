"""The embedded PostgreSQL: any process may start it, none stops it under the others.

This is the clients' half. The server is owned by a detached process (`supervisor.py`) that stops it
when no client is left. Two flocks in the server's folder hold it together, because the kernel drops
them however a process ends:

- users.lock: shared, held by every client. The supervisor stops the server only while it holds it
  exclusively, and keeps it to its own end. So nobody loses the server while using it, and a client
  that comes too late waits for that end and then starts a new one.
- supervisor.lock: exclusive, taken by the client that finds it free and *inherited* by the
  supervisor it starts. There is no moment between "none is alive" and "mine is alive": of many
  clients that start at once one succeeds, the others see the lock held and wait. What is written
  in it is how far that supervisor has come. It is believed only while the lock is held and the
  process named in it lives, as it may be the word of one that was killed a moment ago.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weightsearch.errors import StorageError
from weightsearch.runtime import child_python
from weightsearch.store.embedded import postgres_programs, server_folders

USER = DBNAME = "weightsearch"
PORT = 5432  # part of the socket's name; nothing listens on the network
START_S = 120.0  # initdb on a slow disk, or a long recovery
STARTS = 10  # of supervisors that are killed before they have said how it went
STRANGER_S = 5.0  # how long another machine may hold the lock before this one gives up


@dataclass(frozen=True)
class Server:
    """How to connect to the embedded server."""

    host: str
    """The socket's folder."""
    user: str
    password: str = field(repr=False)
    dbname: str
    port: int = PORT
    """To be passed on: otherwise PGPORT would change the socket's name."""


_mutex = threading.Lock()
_held: dict[Path, int] = {}  # home: descriptor of this process's shared users.lock


def ensure(home: Path) -> Server:
    """The embedded server of `home`, running; this process counts as its user from now on.

    Costs a few file operations while the server runs, so call it before every new connection: when
    server or supervisor were killed, this starts them again. Safe in threads and after a fork.
    Raises StorageError.
    """
    home = Path(os.path.realpath(home))
    try:
        with _mutex:
            folder = server_folders.server_folder(home)
            deadline = time.monotonic() + START_S
            _use(home, folder, deadline)
            _await_server(folder, deadline)
            password = (folder / "password").read_text()
    except OSError as error:
        raise StorageError(
            f"the embedded database needs a folder to write in, but {error.filename or home}:"
            f" {error.strerror}; correct that, name another folder in WEIGHTSEARCH_HOME, or set"
            " WEIGHTSEARCH_STORAGE."
        ) from None
    return Server(str(server_folders.socket_folder(folder, password)), USER, password, DBNAME)


def release(home: Path | None = None) -> None:
    """This process no longer uses the server of `home`, or any: for after the last connection."""
    with _mutex:
        for held in list(_held) if home is None else [Path(os.path.realpath(home))]:
            # Closed, not unlocked: that would also unlock it for the process this was forked from.
            if held in _held:
                os.close(_held.pop(held))


def _after_fork_in_child() -> None:
    # A child is no user until it asks: one that outlives its parent must not keep the server.
    _mutex.release()
    release()


# No fork while `ensure` holds descriptors, and no child with a mutex that nobody will release.
os.register_at_fork(
    before=_mutex.acquire,
    after_in_parent=_mutex.release,
    after_in_child=_after_fork_in_child,
)


def _use(home: Path, folder: Path, deadline: float) -> None:
    """Holds the shared lock that says: this process uses the server."""
    path = folder / "users.lock"
    if home in _held:
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(_held[home]), path.stat()):
                return
        os.close(_held.pop(home))  # HOME was emptied under us: its lock is another file now
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    while not locked(descriptor, fcntl.LOCK_SH):  # a supervisor is stopping the server
        if time.monotonic() > deadline:
            os.close(descriptor)
            raise StorageError(
                f"the embedded database must have stopped within {START_S:.0f} s before it can be"
                f" started again, but has not; see {folder / 'server.log'}."
            )
        time.sleep(0.01)
    _held[home] = descriptor


def _await_server(folder: Path, deadline: float) -> None:
    """Returns when a supervisor says that its server answers; starts one where none is alive."""
    log, began, started = folder / "server.log", time.monotonic(), 0
    while True:
        descriptor = os.open(folder / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if locked(descriptor, fcntl.LOCK_EX):
                word = said(descriptor)
                if started and not _may_recover(word, started):
                    raise StorageError(word.get("failure") or _unknown_end(log))
                os.ftruncate(descriptor, 0)
                _start_supervisor(folder, log, descriptor)
                started += 1
            else:
                word = said(descriptor)
                ours = word.get("host", socket.gethostname()) == socket.gethostname()
                if ours and word.get("ready") and _alive(word["pid"]):
                    return
                late = time.monotonic() > deadline
                if late or (not ours and time.monotonic() > began + STRANGER_S):
                    raise StorageError(_still_waiting(word, folder, ours))
        finally:
            os.close(descriptor)
        time.sleep(0.01)


def _may_recover(word: dict[str, Any], started: int) -> bool:
    """Whether to start once more, after so many supervisors that this call started and that are
    gone already: not where the last has said that its server cannot start."""
    killed = "failure" not in word or word.get("passing")
    return bool(killed) and started < STARTS


def _start_supervisor(folder: Path, log: Path, lock: int) -> None:
    programs = postgres_programs.find(folder / "data", server_folders.account())
    # It imports what this process can import, and connects without this process's libpq settings.
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    env["PYTHONPATH"] = os.pathsep.join(child_python.search_path())
    module = "weightsearch.store.embedded.supervisor"
    with open(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w") as output:
        subprocess.run(
            child_python.command(module, str(folder), str(programs), str(lock)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            pass_fds=(lock,),
            start_new_session=True,
        )


def locked(descriptor: int, how: int) -> bool:
    """Takes a flock, or says that somebody else's is in the way."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def say(lock: int, **word: Any) -> None:
    """Writes a supervisor's word into its lock: `pid`, `host`, `ready`; or a `failure`, and whether
    it is `passing`: the next start may well succeed."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps(word).encode(), 0)


def said(lock: int) -> dict[str, Any]:
    """The supervisor's last word; empty before the first, and while it is being written."""
    try:
        word = json.loads(os.pread(lock, 65536, 0))
    except ValueError:
        return {}
    return word if isinstance(word, dict) else {}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _unknown_end(log: Path) -> str:
    free = shutil.disk_usage(log.parent).free
    return (
        f"the embedded database ended while it was starting ({free >> 20} MB are free on its disk);"
        f" {log} may say why."
    )


def _still_waiting(word: dict[str, Any], folder: Path, ours: bool) -> str:
    holder = f"process {word.get('pid', 'unknown')} on {word.get('host', 'this machine')}"
    if not ours:
        return (
            f"the embedded database in {folder} is already in use by {holder}; set"
            " WEIGHTSEARCH_STORAGE to a PostgreSQL server that both machines reach, or another"
            " WEIGHTSEARCH_HOME here."
        )
    return (
        f"the embedded database must answer within {START_S:.0f} s, but {holder} is still starting"
        f" it; see {folder / 'server.log'}, and try again."
    )
