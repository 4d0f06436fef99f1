"""Checkpoints: whole or not there, and refused where they are not what was written."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from support.depth_studies import depth_spec
from torch import Tensor

from weightsearch.depth.network import checkpoint
from weightsearch.depth.network.decoders import DECODERS
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.errors import CheckpointError
from weightsearch.study.spec import ModelSpec

SPEC = depth_spec()


def tensors(value: float = 1.0) -> dict[str, dict[str, Tensor]]:
    image = torch.full((4, 3, 5, 5), value).to(memory_format=torch.channels_last)
    return {"model": {"a": image, "n": torch.tensor(3)}, "optimizer": {"a/step": torch.zeros(())}}


def saved(folder: Path, value: float = 1.0, name: str = "last", **facts: Any) -> Path:
    return checkpoint.save(folder, name, tensors(value), {"value": value} | facts)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    found = checkpoint.load(saved(tmp_path, 2.0, epochs=[{"rmse": [0.1, 1 / 3]}]))
    expected = tensors(2.0)
    assert found.tensors.keys() == expected.keys()
    for part, named in expected.items():
        for name, value in named.items():
            assert torch.equal(found.tensors[part][name], value)
    assert found.facts["epochs"] == [{"rmse": [0.1, 1 / 3]}]
    assert found.facts["versions"]["torch"] == torch.__version__.split("+")[0]


def test_a_new_one_replaces_the_old_one_and_its_files(tmp_path: Path) -> None:
    path = saved(tmp_path, 1.0)
    saved(tmp_path, 2.0)
    assert checkpoint.load(path).facts["value"] == 2
    named = {entry["file"] for entry in checkpoint.load(path).facts["files"].values()}
    assert {p.name for p in path.iterdir()} == named | {"manifest.json"}


def test_what_was_loaded_does_not_change_with_its_file(tmp_path: Path) -> None:
    """A mapped tensor would: the process would end by SIGBUS."""
    path = saved(tmp_path, 2.0)
    found = checkpoint.load(path).tensors
    for file in path.glob("*.safetensors"):
        os.truncate(file, 0)
    assert torch.equal(found["model"]["a"], tensors(2.0)["model"]["a"])


def test_best_is_found_before_last(tmp_path: Path) -> None:
    saved(tmp_path, 1.0, "last")
    assert checkpoint.find(tmp_path).name == "last"
    saved(tmp_path, 2.0, "best")
    assert checkpoint.find(tmp_path).name == "best"
    assert checkpoint.find(tmp_path / "last").name == "last"
    with pytest.raises(CheckpointError, match="must be a checkpoint's folder"):
        checkpoint.find(tmp_path / "nowhere")


def damage(path: Path, kind: str) -> None:
    file = next(path.glob("model-*.safetensors"))
    manifest = path / "manifest.json"
    match kind:
        case "truncated":
            os.truncate(file, file.stat().st_size - 1)
        case "flipped":
            content = bytearray(file.read_bytes())
            content[-1] ^= 1
            file.write_bytes(content)
        case "gone":
            file.unlink()
        case "manifest cut":
            os.truncate(manifest, 40)
        case "other format":
            manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 99}))


@pytest.mark.parametrize("kind", ["truncated", "flipped", "gone", "manifest cut", "other format"])
def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path)
    damage(path, kind)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


WRITER = """
import sys, torch
from pathlib import Path
from weightsearch.depth.network import checkpoint
for value in range(10_000):
    named = {"a": torch.full((200_000,), float(value))}
    checkpoint.save(Path(sys.argv[1]), "last", {"model": named, "rows": named}, {"value": value})
    print(value, flush=True)
"""


def test_a_kill_at_any_time_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    for _ in range(3):
        written = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    found = checkpoint.load(tmp_path)
    assert found.facts["value"] >= written
    for part in ("model", "rows"):
        assert found.tensors[part]["a"].eq(found.facts["value"]).all()


def test_where_there_is_no_room_the_previous_one_stays(tmp_path: Path) -> None:
    path = saved(tmp_path, 1.0)
    before = sorted(p.name for p in path.iterdir())
    big = {"model": {"a": torch.zeros(100)}, "rows": {"a": torch.ones(100_000)}}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(CheckpointError, match="a checkpoint must be written, but"):
            checkpoint.save(tmp_path, "last", big, {"value": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(p.name for p in path.iterdir()) == before
    assert checkpoint.load(path).facts["value"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": None}, "lacks 'a'"),
        ({"b": torch.zeros(1)}, "has the foreign tensor 'b'"),
        ({"a": torch.zeros(4, 3, 5, 6)}, r"must have shape \(4, 3, 5, 5\)"),
    ],
)
def test_tensors_of_another_model_are_refused_before_any_is_copied(
    tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    into = {k: torch.zeros_like(v) for k, v in tensors()["model"].items()}
    changed = {k: v for k, v in (tensors()["model"] | change).items() if v is not None}
    with pytest.raises(CheckpointError, match=message):
        checkpoint.copy(changed, into, tmp_path)
    assert all(v.eq(0).all() for v in into.values())


def test_copying_keeps_the_layout_in_memory(tmp_path: Path) -> None:
    into = {k: torch.zeros_like(v) for k, v in tensors()["model"].items()}
    checkpoint.copy(checkpoint.load(saved(tmp_path)).tensors["model"], into, tmp_path)
    assert into["a"].is_contiguous(memory_format=torch.channels_last)
    assert into["a"].eq(1).all()


def facts() -> dict[str, Any]:
    assert SPEC.model is not None
    assert SPEC.data is not None
    # As if trained from pretrained weights: they must not be asked for again.
    model = SPEC.model.model_dump(mode="json") | {"pretrained": True}
    return {"model": model, "data": SPEC.data.model_dump(mode="json")}


def test_a_network_is_rebuilt_from_its_checkpoint_alone(tmp_path: Path) -> None:
    assert SPEC.model is not None
    assert SPEC.data is not None
    torch.manual_seed(5)
    net = DepthNet(SPEC.model, SPEC.data).eval()
    net.encoder.mean.fill_(0.4)
    checkpoint.save(tmp_path, "best", {"model": checkpoint.named_tensors(net)}, facts())
    before = torch.get_rng_state()
    again = checkpoint.network(tmp_path, "cpu")
    assert torch.equal(torch.get_rng_state(), before)  # nothing was drawn to be thrown away
    rgb = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        assert torch.equal(again(rgb), net(rgb))
    assert again.data == SPEC.data == checkpoint.data_spec(tmp_path)
    assert not again.training


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_network_with_any_decoder_is_rebuilt(decoder: str, tmp_path: Path) -> None:
    assert SPEC.data is not None
    model = ModelSpec(encoder="test_efficientnet", decoder=decoder, width=0.25, pretrained=False)
    net = DepthNet(model, SPEC.data).eval()
    torch.nn.init.normal_(net.decoder.head.weight)  # type: ignore[arg-type, union-attr]
    described = facts() | {"model": model.model_dump(mode="json")}
    checkpoint.save(tmp_path, "best", {"model": checkpoint.named_tensors(net)}, described)
    rgb = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        assert torch.equal(checkpoint.network(tmp_path, "cpu")(rgb), net(rgb))


def test_a_checkpoint_without_a_network_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(CheckpointError, match="must describe a model"):
        checkpoint.network(tmp_path, "cpu")
    checkpoint.save(tmp_path, "last", tensors(), facts())
    with pytest.raises(CheckpointError, match="must fit the model"):
        checkpoint.network(tmp_path, "cpu")


# The one before


def test_the_one_before_is_used_where_the_last_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for value in (1.0, 2.0, 3.0):
        path = checkpoint.save(
            tmp_path, "last", tensors(value), {"value": value}, keep_previous=True
        )
    assert len(list(path.iterdir())) == 2 + 2 + 1  # the optimizer's file is the same in both
    assert checkpoint.load_or_previous(path).facts["value"] == 3
    assert caplog.text == ""
    os.truncate(path / checkpoint.load(path).facts["files"]["model"]["file"], 100)
    with pytest.raises(CheckpointError, match="is not as it was written"):
        checkpoint.load(path)
    found = checkpoint.load_or_previous(path)
    assert found.facts["value"] == 2
    assert found.tensors["model"]["a"].eq(2).all()
    assert "is not as it was written" in caplog.text
    assert "The one before it is used." in caplog.text
    # The next one replaces both, the damaged one's files too.
    checkpoint.save(tmp_path, "last", tensors(4.0), {"value": 4.0})
    assert len(list(path.iterdir())) == 2 + 1
    damage(path, "gone")
    with pytest.raises(CheckpointError):
        checkpoint.load_or_previous(path)


def test_a_manifest_that_cannot_be_read_does_not_replace_the_one_before(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        path = checkpoint.save(
            tmp_path, "last", tensors(value), {"value": value}, keep_previous=True
        )
    damage(path, "manifest cut")
    assert checkpoint.load_or_previous(path).facts["value"] == 1
    checkpoint.save(tmp_path, "last", tensors(3.0), {"value": 3.0}, keep_previous=True)
    assert checkpoint.load(path).facts["value"] == 3
    damage(path, "manifest cut")
    assert checkpoint.load_or_previous(path).facts["value"] == 1


def test_facts_that_are_no_json_are_refused_and_the_previous_one_stays(tmp_path: Path) -> None:
    path = saved(tmp_path, 1.0)
    before = sorted(p.name for p in path.iterdir())
    with pytest.raises(CheckpointError, match="its facts must be JSON, but Out of range"):
        saved(tmp_path, 2.0, metric=float("nan"))
    assert sorted(p.name for p in path.iterdir()) == before
    assert checkpoint.load(path).facts["value"] == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else for a moment")
def test_a_folder_that_may_not_be_written_is_one_line(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    path = saved(folder, 1.0)
    path.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(CheckpointError, match="must be written, but Permission denied"):
            saved(folder, 2.0)
        assert checkpoint.load(path).facts["value"] == 1
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("name", ["decoder.head.bias", "encoder.std"])
def test_a_network_that_is_not_of_numbers_is_refused(
    tmp_path: Path, name: str, value: float
) -> None:
    assert SPEC.model is not None
    assert SPEC.data is not None
    named = checkpoint.named_tensors(DepthNet(SPEC.model, SPEC.data))
    with torch.no_grad():
        named[name].view(-1)[0] = value
    checkpoint.save(tmp_path, "best", {"model": named}, facts())
    with pytest.raises(
        CheckpointError, match=f"'{name}' must be of finite numbers, but has {value}"
    ):
        checkpoint.network(tmp_path, "cpu")


def test_infinities_that_a_new_network_has_are_its_own(tmp_path: Path) -> None:
    mask = {"mask": torch.tensor([0.0, float("-inf")])}
    checkpoint._refuse_infinite(mask, {"mask": mask["mask"].clone()}, tmp_path)
    with pytest.raises(CheckpointError, match="in 1 of 2 places"):
        checkpoint._refuse_infinite(mask, {"mask": torch.zeros(2)}, tmp_path)


def test_a_parameter_has_none_of_its_own_even_where_it_is_unfilled(tmp_path: Path) -> None:
    """Memory that nothing has filled yet may hold a NaN, just where the checkpoint has one."""
    broken = {"weight": torch.tensor([0.0, float("nan")])}
    unfilled = torch.nn.Parameter(broken["weight"].clone())
    with pytest.raises(CheckpointError, match="in 1 of 2 places"):
        checkpoint._refuse_infinite(broken, {"weight": unfilled}, tmp_path)
