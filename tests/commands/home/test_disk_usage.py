"""`disk` counts bytes by what they are of."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.homes import write

from weightsearch.commands.home import disk_usage
from weightsearch.store.connection.database import Database

# disk


def test_disk_counts_bytes_by_what_they_are_of(opened: Database, tmp_path: Path) -> None:
    home = tmp_path / "not" / "there" / "yet"
    assert {
        kind: disk_usage.disk(home, opened.engine)[kind] for kind in disk_usage.KINDS
    } == dict.fromkeys(disk_usage.KINDS, 0)
    for number, kind in enumerate(disk_usage.KINDS, start=1):
        write(home / kind / "a" / "b", "x" * number)
        write(home / kind / "c", "x" * number)
    found = disk_usage.disk(home, opened.engine)
    assert [found[kind] for kind in disk_usage.KINDS] == [2, 4, 6, 8, 10]
    assert found["database"] > 1_000_000
    assert 0 < found["free"] <= shutil.disk_usage(tmp_path).total
