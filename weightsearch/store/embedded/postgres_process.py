"""PostgreSQL as a child of this process: making its data directory, starting it, ending it."""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from weightsearch.errors import StorageError
from weightsearch.store.embedded import postgres_programs
from weightsearch.store.embedded.client import PORT, USER

PATIENCE_S = {signal.SIGINT: 60.0, signal.SIGQUIT: 10.0, signal.SIGKILL: 10.0}
"""Ways to end PostgreSQL (a fast shutdown, one without a checkpoint, force), and waits for each."""

ROOM = 2 * 16 << 20
"""Bytes on the disk below which trouble is put down to that: the log of changes grows by 16 MB."""

SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "timezone": "GMT",  # "UTC" is refused where the machine has no time zone files
    "log_timezone": "GMT",
    # Not /dev/shm: logind empties it when the user logs out, and containers have little of it.
    "dynamic_shared_memory_type": "mmap",
    # A minute by default, in which 50,000 trivial points leave their dead entries to the claims.
    "autovacuum_naptime": "10s",
    # Of 16 MB each, two segments of the log stay for reuse; by default 80 MB would.
    "min_wal_size": "32MB",
    "logging_collector": "off",
    "log_checkpoints": "off",
}
if sys.platform.startswith("linux"):
    # One call, not one for each of a thousand files: a recovery took 4.1 to 4.8 s, now 1.2 to 2.8.
    SETTINGS["recovery_init_sync_method"] = "syncfs"


FROM_OUTSIDE = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, signal.SIGTERM)
TROUBLE = re.compile(
    r"FATAL|PANIC|error:|terminated by signal (?!("
    + "|".join(str(int(number)) for number in FROM_OUTSIDE)
    + r"):)\d"
)
PASSING = re.compile(
    r"the database system is (starting up|shutting down|in recovery mode|not yet accepting)"
    r"|terminating (background worker|connection|walreceiver)|could not receive data from client"
)
"""What PostgreSQL tells clients that come too early or stay too long: no trouble of its own."""


class ServerKilled(StorageError):
    """The server was ended from outside (kill, a lack of memory, a shutdown) and names no trouble:
    the next start recovers from that."""


@dataclass
class Log:
    """The log of server and supervisor, from the server's last start on."""

    path: Path
    start: int

    def begin(self) -> None:
        """From here on."""
        self.start = self.path.stat().st_size

    def _lines(self) -> list[str]:
        with open(self.path, "rb") as file:
            file.seek(max(self.start, os.fstat(file.fileno()).st_size - 65536))
            return file.read().decode(errors="replace").splitlines()

    def _trouble(self) -> list[str]:
        lines = self._lines()
        return [line for line in lines if TROUBLE.search(line) and not PASSING.search(line)]

    def ended(self, what: str, code: int) -> StorageError:
        """The error for a server that has ended with this exit code.

        PostgreSQL says what is wrong with its data or its settings as FATAL or PANIC, and ends with
        that. Where it has said neither, others ended it; its hint that "some data is corrupted",
        printed whenever a recovery was cut short before, is of the past.
        """
        own = code < 0 and -code not in FROM_OUTSIDE
        if own or self._trouble() or shutil.disk_usage(self.path.parent).free < ROOM:
            return self.stated(what)
        how = f"by {signal.Signals(-code).name}" if code < 0 else "from outside"
        return ServerKilled(
            f"{what} {how}; it names no fault of its data and recovers at its next start: see what"
            f" ends it (a lack of memory?), then run the same command. The log is {self.path}."
        )

    def stated(self, what: str) -> StorageError:
        """`what`, with the last line about trouble (else the last line), and what to do."""
        lines, trouble = self._lines(), self._trouble()
        last = (trouble or lines or ["it left no word"])[-1].strip().rstrip(".")
        # Asked of the disk: a log on a full disk does not get to say so.
        free = shutil.disk_usage(self.path.parent).free
        advice = "correct that"
        if free < ROOM or any("No space left" in line for line in lines):
            advice = f"the disk is full ({free >> 20} MB are left), free some space"
        return StorageError(f"{what}: {last}; {advice}. The log is {self.path}.")


def initialise(data: Path, programs: Path, account: pwd.struct_passwd | None, log: Log) -> None:
    """A new data directory, under its name only when it is whole."""
    for stale in data.parent.glob("data.tmp-*"):
        shutil.rmtree(stale, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix="data.tmp-", dir=data.parent))
    try:
        if account is not None:
            os.chown(staging, account.pw_uid, account.pw_gid)
        command: list[Path | str] = [programs / "initdb", "-D", staging, "-U", USER, "-E", "UTF8"]
        command += ["-A", "scram-sha-256", "--pwfile", data.parent / "password"]
        command += ["--locale=C", "--data-checksums", "--no-instructions", "--no-clean"]
        arguments = postgres_programs.run_as(account) | {"preexec_fn": _die_too(signal.SIGKILL)}
        if subprocess.run(command, **arguments).returncode:
            raise log.stated("initdb must make the embedded database, but it failed")
        staging.rename(data)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    descriptor = os.open(data.parent, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def start(
    data: Path, programs: Path, sockets: Path, account: pwd.struct_passwd | None
) -> subprocess.Popen[bytes]:
    settings = SETTINGS | {"unix_socket_directories": str(sockets)}
    command: list[Path | str] = [programs / "postgres", "-D", data]
    command += [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    # A process group of its own: a signal to ours is for us to pass on, as a fast shutdown.
    arguments = postgres_programs.run_as(account) | {"preexec_fn": _die_too(signal.SIGINT)}
    return subprocess.Popen(command, process_group=0, **arguments)


def _die_too(number: signal.Signals) -> Callable[[], None] | None:
    """What a child runs before its program, to be sent a signal when the supervisor dies.

    After the change of user, which would undo it. Only Linux has this; elsewhere a server that
    lost its supervisor stays, and PostgreSQL says so at the next start.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl, supervisor = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        prctl(1, int(number), 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != supervisor:  # died before it was asked
            os._exit(1)

    return ask


def await_ready(server: subprocess.Popen[bytes], data: Path, log: Log) -> None:
    """Returns when the server takes connections, by the line in which it tells pg_ctl so.

    Raises StorageError where it cannot start, ServerKilled where it might.
    """
    while True:
        if (code := server.poll()) is not None:
            raise log.ended("PostgreSQL must start, but was ended", code)
        with suppress(FileNotFoundError):
            lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
            if lines[0:1] == [str(server.pid)] and lines[7:8] and lines[7].strip() == "ready":
                return
        time.sleep(0.02)


def at_work_in(data: Path) -> list[int]:
    """PostgreSQL's processes on this data directory: a server without its supervisor, or parts."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile, or somebody else's
            name = (process / "comm").read_text().strip()
            if name == "postgres" and os.readlink(process / "cwd") == str(data.resolve()):
                found.append(int(process.name))
    return found


def end(alive: Callable[[], list[int]]) -> None:
    """Ends the processes that `alive` lists, and returns when it lists none."""
    for number, patience_s in PATIENCE_S.items():
        for pid in alive():
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if not alive():
                return
            time.sleep(0.02)
    raise StorageError(f"PostgreSQL must end when it is told to, but processes {alive()} do not.")
