"""The embedded PostgreSQL: real servers, real processes, real kills."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from support.embedded_servers import (
    Client,
    connect,
    gone,
    query,
    stop,
    supervisor_of,
    supervisors_in,
    until,
)

from weightsearch.store.embedded import client as server
from weightsearch.store.embedded import server_folders

# A client whose child, forked, asks for itself when a line comes.
FORKER = """
import os, sys
from pathlib import Path
from weightsearch.store.embedded import client
home = Path(sys.argv[1])
client.ensure(home)
if os.fork() == 0:
    print("forked", flush=True)
    sys.stdin.readline()
    client.ensure(home)
    print("served", flush=True)
    sys.stdin.readline()
    os._exit(0)
os.wait()
"""


def keep(home: Path) -> None:
    query(home, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 42 AS answer")


def kept(home: Path) -> bool:
    return bool(query(home, "SELECT answer FROM kept") == [(42,)])


# Who starts it, who ends it


def test_a_second_process_uses_the_same_server(
    running: Path, client: Callable[..., Client]
) -> None:
    first, second = client(running).answer(), client(running).answer()
    assert first == second


def test_many_first_users_at_once_start_one_server(
    home: Path, client: Callable[..., Client]
) -> None:
    found: list[server.Server] = []
    threads = [threading.Thread(target=lambda: found.append(server.ensure(home))) for _ in range(8)]
    processes = [client(home) for _ in range(3)]
    for thread in threads:
        thread.start()
    answers = [one.answer() for one in processes]
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert all(one == answers[0] for one in answers)
    assert supervisors_in(home) == [answers[0]["supervisor"]]


def test_the_server_ends_with_its_last_user_and_keeps_the_data(
    used_home: Path, client: Callable[..., Client]
) -> None:
    keep(used_home)
    users = [client(used_home), client(used_home)]
    answers = [user.answer() for user in users]
    server.release(used_home)
    users[0].end(signal.SIGKILL)
    assert users[1].again() == answers[1], "one user is left"
    users[1].end(signal.SIGKILL)
    until(lambda: gone(answers[0]["postmaster"]) and gone(answers[0]["supervisor"]))
    assert not Path(answers[0]["host"]).exists()
    assert kept(used_home)


def test_a_user_carries_on_when_supervisor_or_server_was_killed(
    used_home: Path, client: Callable[..., Client]
) -> None:
    user = client(used_home)
    before = user.answer()
    keep(used_home)
    for victim in ("supervisor", "postmaster"):
        for number in (signal.SIGKILL, signal.SIGTERM):
            os.kill(before[victim], number)
            until(lambda held=before: supervisor_of(used_home) != held["supervisor"])  # type: ignore[misc]
            after = user.again()
            assert after["host"] == before["host"], "an address once given stays good"
            assert after["supervisor"] != before["supervisor"]
            assert after["postmaster"] != before["postmaster"]
            assert gone(before["postmaster"])
            assert kept(used_home)
            before = after


def test_a_user_who_comes_while_the_server_stops_waits_and_starts_a_new_one(
    used_home: Path, client: Callable[..., Client]
) -> None:
    user = client(used_home)
    before = user.answer()
    os.kill(before["postmaster"], signal.SIGSTOP)  # its shutdown takes as long as we like
    user.end()
    lock = server_folders.server_folder(used_home) / "supervisor.lock"
    until(lambda: '"ready"' not in lock.read_text())
    late = client(used_home)
    assert late.line() == "asking"
    os.kill(before["postmaster"], signal.SIGCONT)
    after = json.loads(late.line())
    assert after["supervisor"] != before["supervisor"]
    assert gone(before["postmaster"])
    assert supervisors_in(used_home) == [after["supervisor"]]


def test_a_supervisor_killed_during_the_shutdown_is_followed_by_one_that_waits(
    used_home: Path, client: Callable[..., Client]
) -> None:
    before = client(used_home).answer()
    keep(used_home)
    with connect(server.ensure(used_home)) as connection:
        session = connection.info.backend_pid
        os.kill(session, signal.SIGSTOP)  # the server cannot end before this one has
        os.kill(before["supervisor"], signal.SIGKILL)
        late = client(used_home)
        until(lambda: supervisor_of(used_home) not in (None, before["supervisor"]))
        assert not gone(before["postmaster"])
        os.kill(session, signal.SIGCONT)
        after = late.answer()
    assert gone(before["postmaster"])
    assert after["postmaster"] != before["postmaster"]
    assert kept(used_home)


def test_a_forked_child_is_a_user_only_once_it_asks(
    used_home: Path, client: Callable[..., Client]
) -> None:
    forker = client(used_home, FORKER)
    assert forker.line() == "forked"
    supervisor = supervisor_of(used_home)
    assert supervisor is not None
    forker.process.kill()  # the child lives on, with all that it inherited
    until(lambda: gone(supervisor))
    forker.tell()
    assert forker.line() == "served"
    assert supervisor_of(used_home) not in (None, supervisor)


def test_an_emptied_home_means_a_fresh_database(used_home: Path) -> None:
    keep(used_home)
    old = server_folders.server_folder(used_home)
    stop(used_home)
    for entry in used_home.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    assert query(used_home, "SELECT to_regclass('kept')") == [(None,)]
    if old != server_folders.server_folder(used_home):
        shutil.rmtree(old)


def test_a_removed_socket_is_made_again(used_home: Path, client: Callable[..., Client]) -> None:
    user = client(used_home)
    before = user.answer()
    Path(before["host"], f".s.PGSQL.{server.PORT}").unlink()
    until(lambda: gone(before["postmaster"]))
    user.again()
    assert query(used_home, "SELECT 1") == [(1,)]
