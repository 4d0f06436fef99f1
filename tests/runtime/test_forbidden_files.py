"""What is there and this user may not read is another user's: never replaced, never removed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.homes import create, write
from support.other_users import needs_root, shared_folder, somebody_else
from support.small_packs import ROOMS

from weightsearch.commands.home import garbage
from weightsearch.data.packs.building import ensure, remove_damaged, training_copy
from weightsearch.depth.network import checkpoint
from weightsearch.depth.training import beginnings
from weightsearch.errors import DataError
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases, references, result_spool

pytestmark = needs_root


def state(*files: Path) -> list[tuple[int, int]]:
    return [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files]


def test_a_pack_is_not_taken_for_a_damaged_one() -> None:
    with shared_folder() as home:
        packed = ensure("synthetic", None, ROOMS, home)
        copy = training_copy(packed, (32, 32), home)
        before = state(packed, copy)
        for file in (packed, copy):
            refused = pytest.raises(DataError, match=f"{file.name}: must be readable by you")
            with somebody_else(home, file):
                with refused:
                    list(remove_damaged("synthetic", None, ROOMS, home))
                with refused:
                    training_copy(ensure("synthetic", None, ROOMS, home), (32, 32), home)
        assert state(packed, copy) == before


@pytest.mark.parametrize("closed", ["manifest.json", "model-*.safetensors"])
def test_training_does_not_begin_anew_over_a_checkpoint(closed: str) -> None:
    with shared_folder() as folder:
        for value in (1.0, 2.0):
            part = {"model": {"a": torch.full((2,), value)}}
            last = checkpoint.save(folder, "last", part, {"value": value}, keep_previous=True)
        files = sorted(last.iterdir())
        newest = checkpoint.load(last).facts["files"]["model"]["file"]
        (file,) = [path for path in last.glob(closed) if path.name in ("manifest.json", newest)]
        with somebody_else(folder, file):
            with pytest.raises(
                checkpoint.ForbiddenCheckpointError, match="must be readable by you"
            ):
                beginnings._saved(last)
            with pytest.raises(
                checkpoint.ForbiddenCheckpointError, match=f"{file.name}: must be readable"
            ):
                checkpoint.load_or_previous(last)
        assert sorted(last.iterdir()) == files


def test_gc_keeps_packs_and_results_and_a_worker_passes_by_a_result(
    opened: Database, caplog: pytest.LogCaptureFixture
) -> None:
    study = create(opened)
    with shared_folder() as home:
        spool = result_spool.folder(opened.engine, home)
        lease = leases.claim(opened.engine, study.id, "w", "cpu", 60.0)
        assert lease
        result = result_spool.write(spool, lease, {"metrics": {}}, "done")
        pack = write(home / "packs" / "synthetic-0123456789ab.h5")
        unfinished = write(home / "packs" / "synthetic-0123456789ac.partial")
        with (
            references.referred(opened.engine, hold=False) as known,
            somebody_else(home, pack, unfinished, result),
        ):
            found = [*garbage._packs(home, known, []), *garbage._results(home, known)]
            assert [(item.path, item.kept) for item in found] == [(pack, True), (result, True)]
            assert garbage._is_being_packed(unfinished)
            assert result_spool.replay(opened.engine, spool) == 0
        assert result.exists()
        assert f"{result}: another user's result" in caplog.text
