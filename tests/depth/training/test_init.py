"""Training from one's own checkpoint: which one it is, where it lies, and where it does not fit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.depth_studies import WEIGHTS, context, depth_spec, whole
from support.lanes import trainer, unscored

from weightsearch.depth.network import checkpoint, starting
from weightsearch.depth.objective import check_model
from weightsearch.errors import CheckpointError, ConfigError
from weightsearch.study import loading
from weightsearch.study.spec import StudySpec

FILE = """goal = "test"
[data]
source = "synthetic"
size   = [48, 64]
[model]
encoder    = "test_efficientnet"
pretrained = false
[loss]
weights = "equal"
[train]
init = "PATH"
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`last` of a run whose weights were averaged, and `best`: its average."""
    folder = tmp_path_factory.mktemp("run")
    on = trainer(depth_spec(train={"batch": 12, "average": "ema"}))
    lane = on.lane(WEIGHTS, 0, 1e-3)
    next(on.run(lane, 1, unscored))
    specs = {"model": on.model.model_dump(mode="json"), "data": on.data.model_dump(mode="json")}
    checkpoint.save(folder, "last", lane.tensors(), specs)
    checkpoint.save(folder, "best", {"model": lane.evaluated()}, specs)
    return folder


def study(init: Path, **tables: Any) -> StudySpec:
    train = {"batch": 12, "init": str(init)} | tables.pop("train", {})
    return depth_spec(**tables, train=train)


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_lane_begins_as_the_checkpoints_network(saved: Path, name: str) -> None:
    """The averaged one; another seed only orders the frames otherwise."""
    lane = trainer(study(saved / name)).lane(WEIGHTS, 7, 1e-3)
    expected = checkpoint.load(saved / "best").tensors["model"]
    assert lane.model.keys() == expected.keys()
    assert all(torch.equal(lane.model[n], value) for n, value in expected.items())


def test_the_content_is_part_of_the_study_and_the_place_is_not(saved: Path, tmp_path: Path) -> None:
    moved, raw = tmp_path / "moved", study(saved / "last")
    shutil.copytree(saved / "best", moved)
    one = study(saved)  # the best of the run
    manifest, file = moved / checkpoint.MANIFEST, next(moved.glob("model-*"))
    for place in (saved / "best", moved, manifest, file):
        assert study(place).digest() == one.digest()
    assert len({one.digest(), raw.digest(), depth_spec().digest()}) == 3
    assert loading.parse(one.resolved(), "stored").digest() == one.digest()


def test_a_path_is_relative_to_the_study_file(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "run")
    file = tmp_path / "study.toml"
    file.write_text(FILE.replace("PATH", "run/best"))
    init = loading.load(file).train.init
    assert init is not None
    assert init.path == tmp_path / "run" / "best"
    file.write_text(FILE.replace("PATH", "gone"))
    with pytest.raises(ConfigError, match=r"train\.init: must be a checkpoint .* does not exist;"):
        loading.load(file)
    file.write_text(FILE.replace("PATH", "."))
    with pytest.raises(ConfigError, match=r"train\.init: must be a checkpoint .* is none;"):
        loading.load(file)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"encoder": "test_resnet"}, "test_resnet with densedepth x 1, target depth, but is of"),
        ({"model": {"decoder": "unet"}}, "test_efficientnet with unet x 1"),
        ({"model": {"width": 0.5}}, "densedepth x 0.5"),
        ({"data": {"target": "log"}}, "target log, but is of test_efficientnet"),
    ],
)
def test_another_network_is_refused_in_one_line(
    saved: Path, tables: dict[str, Any], said: str
) -> None:
    with pytest.raises(CheckpointError, match=r"train\.init must be of the study") as caught:
        check_model(study(saved, **tables), "cpu")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_checkpoint_in_its_place_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(saved, folder)
    spec = study(folder / "best")
    assert spec.model is not None
    assert spec.data is not None
    starting.network(spec.model, spec.data, spec.train.init)
    shutil.rmtree(folder / "best")
    shutil.copytree(folder / "last", folder / "best")
    with pytest.raises(CheckpointError, match=r"begun with .* holds another; restore it"):
        starting.network(spec.model, spec.data, spec.train.init)
    shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match="must be a checkpoint's folder"):
        starting.network(spec.model, spec.data, spec.train.init)


def test_results_and_checkpoints_say_what_training_began_with(saved: Path, tmp_path: Path) -> None:
    spec = study(saved, train={"epochs": 1})
    assert spec.train.init is not None
    epochs, _ = whole(context(spec, tmp_path, final=True))
    assert epochs[0]["about"]["init"] == spec.train.init.sha256
    kept = checkpoint.load(tmp_path / "best").facts["spec"]["train"]["init"]
    assert kept["sha256"] == spec.train.init.sha256
