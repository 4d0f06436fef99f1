"""The databases that this process has opened: a notebook asks for one study after another."""

from __future__ import annotations

import os
from pathlib import Path

from weightsearch.runtime.home import home_folder
from weightsearch.store.connection.database import Database, open_database

_databases: dict[tuple[str | None, str | None, Path], Database] = {}


def opened(storage: str | None) -> Database:
    """The database of that URL, by default WEIGHTSEARCH_STORAGE, else the embedded one; opened
    once. Raises StorageError where it cannot be used."""
    key = (storage, os.environ.get("WEIGHTSEARCH_STORAGE"), home_folder())
    if key not in _databases:
        _databases[key] = open_database(storage, home_folder())
    return _databases[key]


def close() -> None:
    """Ends all connections; a study that is asked again opens new ones."""
    while _databases:
        _databases.popitem()[1].engine.dispose()
