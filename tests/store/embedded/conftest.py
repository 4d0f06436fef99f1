"""Homes of embedded servers, and their clients."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.embedded_servers import Client, remove, stop

from weightsearch.store.embedded import client as server
from weightsearch.store.embedded import server_folders


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
    """The home of a server that tests only look at, made by the real `initdb`."""
    path = tmp_path_factory.mktemp("running")
    with pytest.MonkeyPatch.context() as context:
        context.delenv("WEIGHTSEARCH_PG_BIN", raising=False)
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
