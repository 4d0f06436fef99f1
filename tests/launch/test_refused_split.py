"""A split that the data cannot give: refused before a frame is decoded, packed or trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.depth_studies import depth_spec
from support.own_data import frames

from weightsearch.data.packs import building
from weightsearch.errors import DataError
from weightsearch.launch import preparation
from weightsearch.launch.preparation import Request
from weightsearch.store.connection.database import Database


def test_a_split_that_cannot_be_is_refused_before_packing_and_before_timing(
    opened: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"source": "folder", "options": {}, "size": [32, 32], "val": "folds:5"}
    request = Request("s", tmp_path / "home", frames(tmp_path / "data"), "cpu", agree=print)

    def unwanted(*_: object) -> None:
        raise AssertionError("nothing is to be checked, packed or timed")

    monkeypatch.setattr(preparation.Preflight, "check_model", unwanted)
    monkeypatch.setattr(preparation, "_checked", unwanted)
    with pytest.raises(DataError, match=r"each of 5 folds must .* there (are|is) 1 group"):
        preparation.prospect(opened, depth_spec(data=data), request)
    assert not (tmp_path / "home" / "packs").exists()
    building.ensure("folder", request.data, {}, request.home)
    with pytest.raises(DataError, match="each of 5 folds must have a group"):  # packed before
        preparation.prospect(opened, depth_spec(data=data), request)
