"""A server that was ended from outside recovers, and nothing is said of damage; one whose data are
damaged says so."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from support.embedded_servers import Client, gone, query, supervisor_of, until

from weightsearch.errors import StorageError
from weightsearch.store.embedded import postgres_process, server_folders
from weightsearch.store.embedded.postgres_process import Log, ServerKilled

RECOVERING = """\
LOG:  database system was interrupted while in recovery at 2026-01-01 00:00:00 GMT
HINT:  This probably means that some data is corrupted and you will have to use the last backup for\
 recovery.
"""
TOO_EARLY = "FATAL:  the database system is starting up\n"
KILLED = f"""{RECOVERING}\
LOG:  startup process (PID 7) was terminated by signal 9: Killed
LOG:  aborting startup due to startup process failure
LOG:  database system is shut down
"""
STOPPED = f"{RECOVERING}{TOO_EARLY}LOG:  received immediate shutdown request\n"
DAMAGED = f"{RECOVERING}PANIC:  could not locate a valid checkpoint record\n{TOO_EARLY}"
SEGFAULT = f"{RECOVERING}LOG:  startup process (PID 7) was terminated by signal 11: Segmentation\n"
WRONG = "FATAL:  data directory has invalid permissions\n"


@pytest.mark.parametrize(
    ("said", "code", "recovers"),
    [
        ("", -9, True),
        (RECOVERING, -9, True),
        (KILLED, 1, True),
        (STOPPED, 0, True),
        (DAMAGED, 1, False),
        (SEGFAULT, 1, False),
        (RECOVERING, -11, False),
        (WRONG, 1, False),
    ],
)
def test_a_server_that_was_killed_is_told_from_one_that_cannot_start(
    said: str, code: int, recovers: bool, tmp_path: Path
) -> None:
    path = tmp_path / "server.log"
    path.write_text(f"PANIC:  of an earlier start\n{said}")
    log = Log(path, 0)
    log.start = len("PANIC:  of an earlier start\n")
    error = log.ended("PostgreSQL must start, but was ended", code)
    assert isinstance(error, ServerKilled) is recovers
    assert "starting up" not in str(error)
    if recovers:
        assert "corrupted" not in str(error)
    for line in (DAMAGED, WRONG):
        if said == line:
            assert "PANIC:  could not" in str(error) or "invalid permissions" in str(error)


def test_a_start_counts_from_where_the_log_ends_then(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text(DAMAGED)
    log = Log(tmp_path / "server.log", 0)
    assert not isinstance(log.ended("it ended", -9), ServerKilled)
    log.begin()
    assert isinstance(log.ended("it ended", -9), ServerKilled)


def postmaster(home: Path) -> int | None:
    """The server's process; None where none runs."""
    with suppress(OSError, ValueError, IndexError):
        data = server_folders.server_folder(home) / "data"
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        return pid if pid in postgres_process.at_work_in(data) else None
    return None


def crash(home: Path, last: int | None, number: signal.Signals) -> int:
    """Kills the server that runs next after the `last`; its process."""
    pid: int | None = None

    def another() -> bool:
        nonlocal pid
        pid = postmaster(home)
        return pid not in (None, last)

    until(another)
    assert pid is not None
    with suppress(ProcessLookupError):
        os.kill(pid, number)
    return pid


def test_a_server_that_is_killed_while_it_recovers_recovers_all_the_same(
    used_home: Path, client: Callable[..., Client]
) -> None:
    user = client(used_home)
    user.answer()
    query(used_home, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 42 AS answer")
    query(used_home, "SELECT pg_switch_wal()")  # the part that a recovery begins in ends here
    query(used_home, "UPDATE kept SET answer = 43")
    [(name,)] = query(used_home, "SELECT pg_walfile_name(pg_current_wal_lsn())")
    folder = server_folders.server_folder(used_home)
    segment, log = folder / "data" / "pg_wal" / name, folder / "server.log"
    crash(used_home, None, signal.SIGKILL)
    until(lambda: supervisor_of(used_home) is None)

    def told(what: str) -> int:
        return log.read_text(errors="replace")[begun:].count(what)

    # In place of a part of its log a pipe that nobody writes: there the recovery waits for us.
    begun = len(log.read_text(errors="replace"))
    whole = segment.rename(folder / name)
    os.mkfifo(segment)
    segment.chmod(0o666)
    user.tell()  # who asks is told nothing of what follows
    until(lambda: told("redo starts") == 1)
    last = crash(used_home, None, signal.SIGKILL)
    for part in postgres_process.at_work_in(folder / "data"):  # at the pipe it sees no end of it
        with suppress(ProcessLookupError):
            os.kill(part, signal.SIGKILL)
    until(lambda: told("redo starts") == 2)
    supervisor = supervisor_of(used_home) or 0
    assert supervisor > 0
    os.kill(supervisor, signal.SIGSTOP)  # it starts nothing before the log is whole again
    try:
        crash(used_home, last, signal.SIGQUIT)
        until(lambda: all(map(gone, postgres_process.at_work_in(folder / "data"))))
        whole.rename(segment)
    finally:
        os.kill(supervisor, signal.SIGCONT)
    assert "error" not in user.answer()
    assert told("interrupted while in recovery") == 2
    assert query(used_home, "SELECT answer FROM kept") == [(43,)]


def test_damaged_data_are_not_taken_for_a_crash(
    used_home: Path, client: Callable[..., Client]
) -> None:
    client(used_home).answer()
    control = server_folders.server_folder(used_home) / "data" / "global" / "pg_control"
    crash(used_home, None, signal.SIGKILL)
    until(lambda: supervisor_of(used_home) is None)
    whole = control.read_bytes()
    control.write_bytes(bytes(len(whole)))
    try:
        with pytest.raises(StorageError, match=r"must start, but was ended: .*(PANIC|FATAL)"):
            query(used_home, "SELECT 1")
    finally:
        control.write_bytes(whole)
