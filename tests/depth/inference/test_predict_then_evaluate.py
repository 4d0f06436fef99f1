"""`predict`, then `evaluate --predictions`, gives the numbers of `evaluate CHECKPOINT`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.packs import frame, write_pack
from support.saved_network import save_network

from weightsearch.data.frames.source import Frame
from weightsearch.data.packs.building import Pack
from weightsearch.depth.evaluation.alignment import ALIGNMENTS
from weightsearch.depth.evaluation.prediction_files import Files, evaluate_predictions
from weightsearch.depth.evaluation.protocols import PROTOCOLS
from weightsearch.depth.evaluation.scoring import evaluate_checkpoint
from weightsearch.depth.files.depth_maps import mirrored_file
from weightsearch.depth.inference.predict import PredictSettings, predict
from weightsearch.errors import ConfigError, DataError

Size = tuple[int, int]
SIZES: dict[str, tuple[Size, Size]] = {
    "nyu": ((480, 640), (480, 640)),
    "kitti": ((375, 1242), (375, 1242)),
    "make3d": ((568, 426), (55, 305)),
}
"""Of pictures, and of ground truth: a protocol is judged on each that it takes."""


def frames_of(data: str) -> dict[str, Frame]:
    picture, shape = SIZES[data]
    made = {}
    for n in range(1 + (data == "make3d")):
        rgb = frame(n, picture, blur=24).rgb
        depth_m = frame(n, shape, blur=5).depth_m
        made[f"{data}/{n}"] = Frame(rgb, depth_m, depth_m > 1.5)
    return made


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp("saved"))


@pytest.fixture(scope="module")
def predicted(
    saved: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, Pack], Path]]:
    """A pack of each kind of data, and the folder of both views of its pictures."""
    home = tmp_path_factory.mktemp("predicted")
    with contextlib.ExitStack() as stack:
        packs = {}
        for data in SIZES:
            frames = frames_of(data)
            for name, made in frames.items():
                (home / "pictures" / data).mkdir(parents=True, exist_ok=True)
                Image.fromarray(made.rgb).save(home / f"pictures/{name}.png")
            packs[data] = stack.enter_context(Pack(write_pack(home / f"{data}.h5", frames)))
        predict(saved, [home / "pictures"], home / "out", "cpu", PredictSettings(views=True))
        yield packs, home / "out"


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_files_score_as_the_checkpoint_does(
    protocol: str, saved: Path, predicted: tuple[dict[str, Pack], Path]
) -> None:
    packs, out = predicted
    judged = []
    for data, pack in packs.items():
        with contextlib.suppress(DataError):
            PROTOCOLS[protocol].check_shape(pack.depth_sizes[0], pack.sizes[0])
            judged.append(data)
    assert judged, "no data above suits this protocol: add some"
    how = list(ALIGNMENTS)[len(protocol) % len(ALIGNMENTS)]
    for data in judged:
        want = evaluate_checkpoint(saved, packs[data], protocol, "test", "cpu", how)
        got = evaluate_predictions(Files(out), packs[data], protocol, alignment=how)
        assert want.names == got.names == packs[data].names
        assert want.pixels == got.pixels
        for one, other in ((want, got), (want.raw, got.raw)):
            if one is None or other is None:
                assert one is other is None
                assert how == "none"
                continue
            for name, values in one.per_image.items():
                assert other.per_image[name] == pytest.approx(values, rel=1e-6, abs=1e-6)
            assert other.metrics() == pytest.approx(one.metrics(), rel=1e-6, abs=1e-6)
        assert want.provenance == {"input": "whole"}
        assert got.provenance["input"] == "whole"
        assert not any("mirrored" in note for note in got.notes)


def test_a_view_of_an_earlier_prediction_is_not_taken_for_a_new_one(
    saved: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(picture)
    predict(saved, [picture], tmp_path / "out", "cpu", PredictSettings(views=True))
    assert mirrored_file(tmp_path / "out/a").is_file()
    with pytest.raises(DataError, match=r"a_mirrored.npy: is there from another prediction"):
        predict(saved, [picture], tmp_path / "out", "cpu")
    with pytest.raises(ConfigError, match=r"--mirror averages what --views writes apart"):
        predict(saved, [picture], tmp_path, "cpu", PredictSettings(mirror=True, views=True))
