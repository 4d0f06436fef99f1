"""The process that owns the embedded PostgreSQL; `server.ensure` starts it, nobody else.

    python -m weightsearch.store.embedded.supervisor FOLDER PROGRAMS LOCK

FOLDER holds data, password, log and locks, PROGRAMS the programs of PostgreSQL, LOCK is the
descriptor of the locked supervisor.lock. It makes the data directory where there is none, runs
`postgres` as its child, and stops it when no process holds users.lock any more (`client.py` says
why that is safe) or when it is told to by SIGTERM.

If the supervisor is killed the kernel interrupts its child (PR_SET_PDEATHSIG), which then shuts
down; that takes a moment. So the next supervisor first ends, found by working folder, whatever
still runs on the data. After that a postmaster.pid is stale even where its number is alive: the
number belongs to somebody else by now, and PostgreSQL would refuse to start for it.

Folders: FOLDER is this user's and private. As root it can be entered by the server's user, who
owns `data` and the socket's folder, each of mode 0700; so no other user can reach the socket or
put another in its place, and a password is asked besides. Nothing listens on the network.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
import shutil
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import Any, NoReturn

import psycopg

from weightsearch.errors import StorageError
from weightsearch.runtime.atomic_file import write_atomically
from weightsearch.store.embedded import postgres_process, server_folders
from weightsearch.store.embedded.client import DBNAME, PORT, USER, locked, say
from weightsearch.store.embedded.postgres_process import ServerKilled

LINGER_S = 2.0  # without users before the stop: the next command may follow at once
POLL_S = 0.1
STARTS = 10  # of a server that is ended from outside each time before it is ready
ENDS_S = 1.0  # for a server whose connections break off


def main() -> None:
    folder, programs, lock = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    if os.fork():
        os._exit(0)  # the client goes on, and never has a dead child to bury
    os.chdir("/")
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        _supervise(folder, programs, lock)
    except StorageError as error:
        _fail(lock, str(error), isinstance(error, ServerKilled))
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        _fail(lock, f"the embedded database cannot be started ({what}); correct that.")


def _fail(lock: int, why: str, passing: bool = False) -> NoReturn:
    with suppress(OSError):  # a full disk
        print(f"weightsearch: {why}", file=sys.stderr, flush=True)
        say(lock, failure=why, passing=passing)
    sys.exit(1)


def _supervise(folder: Path, programs: Path, lock: int) -> None:
    me: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname()}
    say(lock, **me)
    log = postgres_process.Log(folder / "server.log", os.fstat(sys.stdout.fileno()).st_size)
    account, data = server_folders.account(), folder / "data"

    # 1. What an earlier supervisor left behind
    _clear(data)

    # 2. What the server needs
    folder.chmod(0o700 if account is None else 0o711)
    password = _password(folder, data, account)
    sockets = server_folders.socket_folder(folder, password)
    _make_private(sockets, account)
    if not data.exists():
        postgres_process.initialise(data, programs, account, log)

    # 3. The server, until nobody needs it
    server: Popen[bytes] | None = None
    try:
        for left in reversed(range(STARTS)):
            log.begin()
            server = postgres_process.start(data, programs, sockets, account)
            try:
                postgres_process.await_ready(server, data, log)
                _create_database(server, sockets, password, log)
                break
            except ServerKilled:  # perhaps while it recovered from the last time
                if not left:
                    raise
                _clear(data)
        assert server is not None
        say(lock, ready=True, **me)
        users = os.open(folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)  # never closed
        _await_last_user(server, users, sockets, log)
    finally:
        say(lock, **me)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        postgres_process.end(lambda: [server.pid] if server and server.poll() is None else [])
        shutil.rmtree(sockets, ignore_errors=True)


def _clear(data: Path) -> None:
    """Ends what still runs on the data, and forgets it."""
    postgres_process.end(lambda: postgres_process.at_work_in(data))
    if Path("/proc/self").exists():  # without it nobody can tell; PostgreSQL will
        (data / "postmaster.pid").unlink(missing_ok=True)


def _password(folder: Path, data: Path, account: pwd.struct_passwd | None) -> str:
    """The database's password, made once: written before the data directory that has it inside."""
    path = folder / "password"
    if not path.exists():
        if data.exists():
            raise StorageError(
                f"the password of the database must be in {path}, but is gone; bring it back, or"
                f" move {folder} away to start afresh."
            )
        write_atomically(path, secrets.token_urlsafe(24).encode(), mode=0o600)
    if account is not None:
        os.chown(path, account.pw_uid, account.pw_gid)  # initdb reads it
    return path.read_text()


def _make_private(folder: Path, account: pwd.struct_passwd | None) -> None:
    """An empty folder that only the server's user can enter."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)


def _create_database(
    server: Popen[bytes], sockets: Path, password: str, log: postgres_process.Log
) -> None:
    """Raises StorageError; ServerKilled where the server has ended meanwhile."""
    try:
        with psycopg.connect(
            host=str(sockets),
            port=PORT,
            user=USER,
            password=password,
            dbname="postgres",
            autocommit=True,
        ) as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, (DBNAME,)).fetchone() is None:
                connection.execute(f"CREATE DATABASE {DBNAME}")
    except psycopg.Error as error:
        with suppress(TimeoutExpired):
            code = server.wait(ENDS_S)
            raise log.ended("PostgreSQL must start, but was ended", code) from None
        why = " ".join(str(error).split())
        raise StorageError(f"the embedded database must let its owner in, but: {why}") from None


def _await_last_user(
    server: Popen[bytes], users: int, sockets: Path, log: postgres_process.Log
) -> None:
    """Returns, holding users.lock exclusively, when nobody has held it for a while."""
    unused_since = None
    while server.poll() is None:
        if not (sockets / f".s.PGSQL.{PORT}").exists():  # somebody tidied up
            raise StorageError(f"the socket in {sockets} must stay, but was removed.")
        if locked(users, fcntl.LOCK_EX):
            unused_since = unused_since or time.monotonic()
            if time.monotonic() - unused_since >= LINGER_S:
                return
            fcntl.flock(users, fcntl.LOCK_UN)
        else:
            unused_since = None
        time.sleep(POLL_S)
    raise log.ended("PostgreSQL must run while it is used, but was ended", server.returncode)


if __name__ == "__main__":
    main()
