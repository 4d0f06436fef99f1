"""`gc` of packs: what a study may still read stays."""

from __future__ import annotations

import fcntl
from pathlib import Path

from support.garbage import ROOMS, left
from support.homes import create, removed, write

from weightsearch.commands.home import garbage
from weightsearch.data.packs import building
from weightsearch.store import study_removal
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import references, studies
from weightsearch.store.ledger.studies import Study
from weightsearch.study import planning


def with_data(database: Database, name: str, digest: str | None) -> Study:
    study = create(
        database,
        name,
        data={"source": "synthetic", "size": [32, 48], "val": "blocks:50%"},
        model={"encoder": "resnet10t"},
    )
    if digest:
        studies.record_data(database.engine, study, digest)
    return study


def test_gc_keeps_the_pack_of_a_study_and_its_copy_of_that_size(
    opened: Database, rooms: tuple[Path, str], tmp_path: Path
) -> None:
    path, digest = rooms
    study = with_data(opened, "study", digest)
    found = garbage.gc(tmp_path, opened)
    assert removed(found) == {str(path.with_name(f"{path.stem}-32x32.h5"))}
    with_data(opened, "undecided", None)
    study_removal.delete_study(opened.engine, study)
    assert removed(garbage.gc(tmp_path, opened)) == set()  # it may be the other's
    study_removal.delete_study(opened.engine, studies.find(opened.engine, "undecided"))
    size = path.stat().st_size + path.with_name(f"{path.stem}-32x48.h5").stat().st_size
    assert garbage.gc(tmp_path, opened)["bytes"] == size
    assert list((tmp_path / "packs").iterdir()) == []


def test_a_pack_that_is_found_again_counts_as_used(
    opened: Database, rooms: tuple[Path, str], tmp_path: Path
) -> None:
    path = building.ensure("synthetic", None, ROOMS, tmp_path)
    copy = building.training_copy(path, (32, 32), tmp_path)
    found = garbage.gc(tmp_path, opened)
    assert set(left(found)) == {str(path), str(copy)}
    assert removed(found) == {str(path.with_name(f"{path.stem}-32x48.h5"))}


def test_a_pack_that_goes_while_it_is_read_is_read_to_the_end(
    opened: Database, rooms: tuple[Path, str], tmp_path: Path
) -> None:
    path, _ = rooms
    with building.Pack(path) as reading_it:
        assert str(path) in removed(garbage.gc(tmp_path, opened))
        assert not path.exists()
        assert len(reading_it.read(range(len(reading_it)))[0]) == 5
    assert building.ensure("synthetic", None, ROOMS, tmp_path) == path
    assert path.exists()


def test_gc_keeps_the_copies_of_every_searched_size(opened: Database) -> None:
    from support.depth_studies import depth_spec

    spec = depth_spec(params={"size": ["32x64", "48x64"]})
    study = studies.create(opened.engine, "sizes", spec, planning.plan(spec))
    studies.record_data(opened.engine, study, "d")
    with references.referred(opened.engine, hold=False) as known:
        assert known.data == {("d", (32, 64)), ("d", (48, 64))}


def test_gc_removes_what_a_killed_packer_left_and_not_what_one_writes(
    opened: Database, tmp_path: Path
) -> None:
    abandoned = write(tmp_path / "packs" / "synthetic-0123456789ab.partial")
    written = write(tmp_path / "packs" / "synthetic-ba9876543210.partial")
    damaged = write(tmp_path / "packs" / "synthetic-aaaaaaaaaaaa.h5")
    somebodys = write(tmp_path / "packs" / "mine.h5")
    with written.open() as packer:
        fcntl.flock(packer, fcntl.LOCK_EX)
        found = garbage.gc(tmp_path, opened)
    assert removed(found) == {str(abandoned), str(damaged)}
    assert written.exists()
    assert somebodys.exists()
