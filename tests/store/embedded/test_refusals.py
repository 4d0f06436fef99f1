"""What may lie in the way of the embedded server."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.embedded_servers import CLIENT, ROOT, as_root, query, remove, stop, supervisors_in

from weightsearch.errors import StorageError
from weightsearch.store.embedded import client as server
from weightsearch.store.embedded import postgres_programs, server_folders

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
