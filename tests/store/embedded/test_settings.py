"""How the embedded server is set up, and who can reach it."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from support.embedded_servers import Client, connect, query

from weightsearch.store.embedded import client as server
from weightsearch.store.embedded import server_folders

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
