"""A damaged frame costs the file that it lies in, which is made again, and nothing else."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch
from support.data_sets import Csv
from support.depth_studies import context, depth_spec
from support.small_packs import ROOMS, flip_a_bit
from typer.testing import CliRunner

from weightsearch.commands.main import app
from weightsearch.data.packs.building import (
    Pack,
    copy_made_again,
    ensure,
    remove_damaged,
    training_copy,
)
from weightsearch.data.packs.layout import DamagedPackError
from weightsearch.data.readers import registry
from weightsearch.depth import prepared
from weightsearch.depth.training.batches import open_frames
from weightsearch.study.spec_fields import Value

CPU = torch.device("cpu")


def read(path: Path) -> list[bytes]:
    with Pack(path) as pack:
        return [part.tobytes() for part in pack.read(range(len(pack)))]


def test_the_command_that_the_error_states_makes_the_pack_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIGHTSEARCH_HOME", str(tmp_path))
    csv = Csv(tmp_path / "my set").write()
    other = ensure("synthetic", None, ROOMS, tmp_path)
    packed = ensure("nyu_csv", csv.root, {"half_step": False}, tmp_path)
    copy = training_copy(packed, (32, 32), tmp_path)
    before = {path: (read(path), path.stat().st_mtime_ns) for path in (other, packed, copy)}
    flip_a_bit(packed, 4)
    with Pack(packed) as pack, pytest.raises(DamagedPackError) as caught:
        pack.check()
    said = str(caught.value)
    assert said.startswith(
        f"{packed}: frames from data/nyu2_train/block_002_out/0000 cannot be read"
    )
    command = said.partition("make the pack again: ")[2].removesuffix(".")
    assert command == "weightsearch data pack DATA --reader nyu_csv --option half_step=false"
    words = shlex.split(command.replace("DATA", shlex.quote(str(csv.root))))
    assert CliRunner().invoke(app, words[1:]).exit_code == 0
    for path, (held, changed) in before.items():
        assert read(path) == held
        if path != packed:
            assert path.stat().st_mtime_ns == changed


def test_a_copy_that_is_damaged_is_removed_alone(tmp_path: Path) -> None:
    packed = ensure("synthetic", None, ROOMS, tmp_path)
    small, large = (training_copy(packed, size, tmp_path) for size in ((32, 32), (48, 64)))
    assert list(remove_damaged("synthetic", None, ROOMS, tmp_path)) == []
    flip_a_bit(small, 2)
    with Pack(small) as pack, pytest.raises(DamagedPackError, match="a copy for training"):
        pack.check()
    assert list(remove_damaged("synthetic", None, ROOMS, tmp_path)) == [small]
    assert large.exists()
    assert packed.exists()


@pytest.mark.parametrize("memory_bytes", [1 << 30, 0], ids=["held", "from disk"])
def test_training_goes_on_with_a_copy_made_again(memory_bytes: int, tmp_path: Path) -> None:
    packed = ensure("synthetic", None, ROOMS, tmp_path)
    copy = training_copy(packed, (48, 64), tmp_path)
    data = depth_spec().data
    assert data is not None
    whole = open_frames(copy, range(8), data, CPU, memory_bytes).read(range(8))
    flip_a_bit(copy, 7)
    made: list[Path] = []

    def remake() -> Path:
        made.append(copy_made_again(packed, (48, 64), tmp_path))
        return made[-1]

    found = open_frames(copy, range(8), data, CPU, memory_bytes, remake).read(range(8))
    assert made == [copy]
    mended = copy.stat().st_ino
    assert copy_made_again(packed, (48, 64), tmp_path) == copy  # for another worker
    assert copy.stat().st_ino == mended
    assert torch.equal(found.rgb, whole.rgb)
    assert torch.equal(found.depth_m, whole.depth_m)
    flip_a_bit(copy, 7)
    with pytest.raises(DamagedPackError):  # nothing to make it again from
        open_frames(copy, range(8), data, CPU, memory_bytes).read(range(8))


def test_the_objective_makes_a_damaged_copy_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = depth_spec()
    assert spec.data is not None
    assert spec.model is not None
    packed = ensure(spec.data.source, None, spec.data.options, tmp_path)
    copy = training_copy(packed, spec.data.size, tmp_path)
    with Pack(copy) as pack:
        frames = range(len(pack))
    flip_a_bit(copy, 0)
    made = context(spec, tmp_path / "point", home=tmp_path)
    trainer = prepared.trainer(packed, frames, spec.model, made, None)
    assert trainer is not None
    assert f"{copy} was damaged, and is made again from its pack" in caplog.text
    assert len(read(copy)) == 3


Options = dict[str, Value]
COMMANDS: dict[str, tuple[str, Options, str]] = {
    "defaults": ("nyu_csv", {"half_step": True}, "weightsearch data pack DATA --reader nyu_csv"),
    "text and numbers": (
        "folder",
        {"list": "my frames.csv", "depth_scale": 256.0, "split": "train"},
        "weightsearch data pack DATA --reader folder --option 'list=my frames.csv'"
        " --option depth_scale=256.0",
    ),
    "no place": (
        "synthetic",
        {"frames": 8},
        "weightsearch data pack --reader synthetic --option frames=8",
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_has_what_differs_from_the_defaults(name: str) -> None:
    reader, options, command = COMMANDS[name]
    assert registry.pack_command(reader, options) == command


def test_every_reader_has_its_defaults() -> None:
    assert registry.DEFAULTS.keys() == registry.READERS.keys()
