"""Checkpoints, pictures and predictions made to do harm get one line, and nothing else happens."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from support.data_sets import Csv
from support.hostile_commands import PICTURES, Hostile, check, picture, predicting
from support.hostile_files import Evil, header, npy, pickled, pipe, png
from support.saved_network import save_network


def to_predict(content: bytes, name: str = "a.png") -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        (folder / name).write_bytes(content)
        return predicting(folder, folder / name)

    return make


# Predictions and checkpoints


def predictions(content: bytes, suffix: str = ".npy") -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        csv = Csv(folder / "nyu_data", tests=1).write()
        made = folder / "mine" / Path(csv.test[0][0]).with_suffix(suffix)
        made.parent.mkdir(parents=True)
        made.write_bytes(content)
        return ["evaluate", "--predictions", folder / "mine", "--data", csv.root]

    return make


PREDICTIONS = {
    "pickled predictions": (pickled, "must be a whole .npy file, but"),
    "a pickle": (lambda: pickle.dumps(Evil()), "it is not one; save it with numpy.save"),
    "a promise of terabytes": (lambda: header("(1000000, 1000000)"), "must be a whole .npy file"),
    "a negative size": (lambda: header("(-1, 4)"), "must be"),
    "code in a header": (
        lambda: npy("__import__('os').system('touch /tmp/weightsearch-was-here')\n"),
        "must be a whole .npy file, but malformed node",
    ),
    "a header of 60,000 brackets": (lambda: npy("(" * 60000 + "\n"), "must be a whole .npy file"),
}


def manifest(text: str) -> Callable[[Path], list[object]]:
    """A checkpoint whose manifest was replaced; FILE is its one tensor file, DIGEST its sha256."""

    def make(folder: Path) -> list[object]:
        checkpoint = save_network(folder / "run")
        (file,) = checkpoint.glob("*.safetensors")
        file.rename(folder / "run" / "outside.safetensors")
        (checkpoint / "manifest.json").write_text(text)
        return ["predict", checkpoint, folder / "a.png", "--out", folder / "out"]

    def with_picture(folder: Path) -> list[object]:
        (folder / "a.png").write_bytes(picture("PNG"))
        return make(folder)

    return with_picture


def tensors(change: Callable[[Path], object]) -> Callable[[Path], list[object]]:
    """A checkpoint whose tensor file was changed."""

    def make(folder: Path) -> list[object]:
        (folder / "a.png").write_bytes(picture("PNG"))
        asked = predicting(folder, folder / "a.png")
        (file,) = (folder / "run" / "best").glob("*.safetensors")
        change(file)
        return asked

    return make


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def entry(file: str) -> str:
    return f'{{"format": 1, "files": {{"model": {{"file": "{file}", "sha256": "00"}}}}}}'


BESIDE = "must name .safetensors files beside it"
CHECKPOINTS = {
    "a manifest with ..": Hostile(manifest(entry("../outside.safetensors")), BESIDE),
    "a manifest with /": Hostile(manifest(entry("/etc/passwd")), BESIDE),
    "a manifest that names a pickle": Hostile(manifest(entry("model.pt")), BESIDE),
    "a manifest without files": Hostile(manifest('{"format": 1}'), BESIDE),
    "a manifest of another kind": Hostile(manifest("[1, 2]"), "must be of format 1"),
    "a manifest with NaN": Hostile(
        manifest('{"format": 1, "files": {}, "value": NaN}'), "is not as it was written"
    ),
    "a manifest of brackets": Hostile(manifest("[" * 100000), "is not as it was written"),
    "a manifest that is no text": Hostile(manifest("\0\x01"), "is not as it was written"),
    "a pickle for tensors": Hostile(
        tensors(lambda file: file.write_bytes(pickle.dumps(Evil()))), "is not as it was written"
    ),
    "a flipped bit": Hostile(tensors(flip), "is not as it was written"),
    "half of the tensors": Hostile(
        tensors(lambda file: os.truncate(file, file.stat().st_size // 2)),
        "is not as it was written",
    ),
    "a pipe for tensors": Hostile(tensors(pipe), "is not as it was written"),
}
NETWORKS = {
    **{
        f"{name} to predict for": Hostile(to_predict(PICTURES[name][0]()), "must be a picture, but")
        for name in ("a picture of 3.6 gigapixels", "PostScript", "markup", "a swollen text")
    },
    "a picture whose name is red": Hostile(
        to_predict(b"", "\x1b[31mred\n.png"), r"/\\x1b\[31mred\\n\.png: must be a picture"
    ),
    **{name: Hostile(predictions(make()), says) for name, (make, says) in PREDICTIONS.items()},
    "a huge PNG of predictions": Hostile(
        predictions(png((60000, 60000)), ".png"), "must be a whole .png file, but"
    ),
    **CHECKPOINTS,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_hostile_to_a_network_gets_one_line(name: str, tmp_path: Path) -> None:
    check(NETWORKS[name], tmp_path)
