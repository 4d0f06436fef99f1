"""How much lies under WEIGHTSEARCH_HOME."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from sqlalchemy import Engine, func, select

from weightsearch.store.embedded import server_folders

KINDS = ("packs", "checkpoints", "artifacts", "logs", "spool")


def disk(home: Path, engine: Engine) -> dict[str, int]:
    """Bytes of the database, of `home`'s embedded server with all that it holds, of each folder of
    `home`, and what is free on its disk."""
    with engine.connect() as connection:
        database = connection.execute(
            select(func.pg_database_size(func.current_database()))
        ).scalar_one()
    there = next(place for place in (home, *home.parents) if place.exists())
    sizes = {kind: _size(home / kind) for kind in KINDS}
    server = server_folders.existing_folder(home)
    sizes = {"server": _size(server) if server else 0} | sizes
    return {"database": database, **sizes, "free": shutil.disk_usage(there).free}


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder that need not be there; links lead elsewhere, and are not ours."""
    try:
        return sorted(path for path in folder.iterdir() if not path.is_symlink())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; of what is gone meanwhile, nothing."""
    inside = (Path(at, name) for at, _, names in os.walk(path) for name in names)
    files = inside if path.is_dir() else [path]
    found = 0
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            found += file.lstat().st_size
    return found
