"""Predictions of other programs: each unit beside each reader, stated, or the right one named.

Every prediction is 1.1 times as deep as the ground truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from support.data_layouts import LAYOUTS
from support.data_sets import Csv, Labeled

from weightsearch.data.packs.building import Pack, ensure
from weightsearch.data.readers.registry import READERS
from weightsearch.depth.evaluation.prediction_files import (
    PLAUSIBLE,
    USUAL_OF,
    Files,
    evaluate_predictions,
)
from weightsearch.depth.files.depth_maps import USUAL
from weightsearch.depth.files.units import UNITS, that_fits
from weightsearch.errors import ConfigError, DataError
from weightsearch.study.spec_fields import Value

IN_PNG = ("mm", "cm", "m/256")
"""Units of whole numbers."""


@pytest.fixture(scope="module", params=sorted(READERS))
def pack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pack]:
    """A small data set of each reader."""
    home, reader = tmp_path_factory.mktemp("home"), request.param
    options: dict[str, Value] = {}
    path: Path | None = None
    if reader == "nyu_labeled":
        path = Labeled(home / "set").write().folder
    elif reader == "nyu_csv":
        path = Csv(home / "set").write().root
    elif reader == "synthetic":
        options = {"frames": 2, "test_frames": 1, "height": 24, "width": 32, "frames_per_room": 1}
    else:
        path = LAYOUTS[reader](home / "set").path
    with Pack(ensure(reader, path, options, home)) as opened:
        yield opened


def written(folder: Path, unit: str, depth_m: npt.NDArray[np.float64], name: str) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if unit in IN_PNG:
        steps = np.rint(depth_m * UNITS[unit].per_metre).astype(np.uint16)
        Image.fromarray(steps).save(f"{file}.png")
        return
    values = {
        "m": depth_m,
        "1/m": 1 / depth_m,
        "relative": depth_m / 7,
        "disparity": 30 / depth_m - 5,  # partly below 0
    }[unit]
    np.save(f"{file}.npy", values.astype(np.float32))


@pytest.mark.parametrize("unit", list(UNITS))
def test_each_unit_beside_each_reader(pack: Pack, unit: str, tmp_path: Path) -> None:
    split = pack.splits[0]
    for i in pack.indices(split):
        _, depth_m, valid = pack.read([i])
        written(tmp_path, unit, np.where(valid, 1.1 * depth_m, 3.0)[0].astype(float), pack.names[i])
    files = Files(tmp_path, unit)
    if UNITS[unit].kind != "m":
        with pytest.raises(ConfigError, match=f"unit '{unit}' .* says nothing of metres; give"):
            evaluate_predictions(files, pack, "full", split)
        got = evaluate_predictions(files, pack, "full", split, "scale-shift")
        assert got.metrics()["abs_rel"] == pytest.approx(0, abs=1e-4)
        assert got.raw is None
        assert got.provenance == {"input": "whole", "unit": unit, "median_ratio": None}
        return
    got = evaluate_predictions(files, pack, "full", split, "median")
    assert got.raw is not None
    step = 0.5 / UNITS[unit].per_metre if unit in IN_PNG else 1e-6
    assert got.raw.metrics()["abs_rel"] == pytest.approx(0.1, abs=step)  # depths are above 1 m
    assert got.metrics()["abs_rel"] == pytest.approx(0, abs=2 * step)
    assert (got.raw.alignment, got.alignment) == ("none", "median")
    for one in (got, got.raw):
        assert one.provenance["unit"] == unit
        assert one.provenance["median_ratio"] == pytest.approx(1.1, abs=2 * step)
    # And where nobody states it:
    suffix = ".png" if unit in IN_PNG else ".npy"
    usual = (USUAL | USUAL_OF.get(pack.reader, {}))[suffix]
    silent = replace(files, unit=None)
    if unit == usual:
        found = evaluate_predictions(silent, pack, "full", split)
        assert found.metrics() == got.raw.metrics()
        assert found.provenance == got.raw.provenance
        return
    with pytest.raises(DataError, match=r"times the ground truth at the median, which must be 0.5"):
        evaluate_predictions(silent, pack, "full", split)
    if unit in IN_PNG:
        with pytest.raises(DataError, match=rf"if their unit is another, give --unit {unit};"):
            evaluate_predictions(silent, pack, "full", split)


@pytest.mark.parametrize("unit", [name for name, unit in UNITS.items() if unit.kind == "m"])
def test_the_unit_that_would_fit_is_found_from_the_ratio(unit: str) -> None:
    """In metres taken for another unit; units are more than twice apart, so one fits best."""
    for taken, other in UNITS.items():
        if other.kind == "m" and not other.inverse and not UNITS[unit].inverse:
            ratio = UNITS[unit].per_metre / other.per_metre
            assert that_fits(ratio, taken) == unit
    assert that_fits(1e9, unit) is None
    assert PLAUSIBLE == (0.5, 2.0)


def test_whole_numbers_and_8_bits_are_read_where_their_unit_is_said(
    small: Pack, tmp_path: Path
) -> None:
    for i, name in enumerate(small.names):
        _, depth_m, valid = small.read([i])
        depth_m = np.where(valid, depth_m, 1)[0]
        for folder in ("whole", "eight"):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / f"whole/{name}.npy", np.rint(1000 * depth_m).astype(np.int32))
        grey = np.rint(255 / depth_m).astype(np.uint8)
        Image.fromarray(grey).save(tmp_path / f"eight/{name}.png")
    whole, eight = Files(tmp_path / "whole"), Files(tmp_path / "eight")
    with pytest.raises(DataError, match=r"must be floating point, but is int32 .* --unit"):
        evaluate_predictions(whole, small, "full")
    found = evaluate_predictions(replace(whole, unit="mm"), small, "full")
    assert found.metrics()["mae"] == pytest.approx(0, abs=1e-6)
    with pytest.raises(DataError, match=r"8 bits are too coarse for metres"):
        evaluate_predictions(eight, small, "full")
    disparity = replace(eight, unit="disparity")
    scores = evaluate_predictions(disparity, small, "full", alignment="scale-shift")
    assert 0 < scores.metrics()["abs_rel"] < 0.01  # its steps


def test_an_unknown_unit_is_named(small: Pack, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown unit 'mmm'; did you mean 'mm'"):
        evaluate_predictions(Files(tmp_path, "mmm"), small, "full")


def test_a_unit_that_was_given_is_taken_whatever_the_ratio(small: Pack, tmp_path: Path) -> None:
    for i, name in enumerate(small.names):
        written(tmp_path, "m", 5.0 * small.frame(i).depth_m + 1e-6, name)
    with pytest.raises(DataError, match=r"are 5 times .* or --align median .* give --unit m\."):
        evaluate_predictions(Files(tmp_path), small, "full")
    found = evaluate_predictions(Files(tmp_path, "m"), small, "full")
    assert found.provenance["median_ratio"] == pytest.approx(5)
    assert found.metrics()["abs_rel"] == pytest.approx(4, rel=1e-6)


def test_disparity_must_be_finite(small: Pack, tmp_path: Path) -> None:
    for name in small.names:
        written(tmp_path, "m", np.full((24, 32), np.nan), name)
    with pytest.raises(DataError, match=r"must be finite, because 'disparity' has no range"):
        evaluate_predictions(Files(tmp_path, "disparity"), small, "full", alignment="median")
