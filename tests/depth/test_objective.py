"""The depth objective as the service sees it: what it yields, keeps, resumes and never reads."""

from __future__ import annotations

import hashlib
import logging
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from support.data_sets import Labeled
from support.depth_studies import OPTIONS, WEIGHTS, context, depth_spec, home, whole

from weightsearch.data.packs import building
from weightsearch.data.packs.building import Pack
from weightsearch.depth.evaluation.metrics import METRICS
from weightsearch.depth.evaluation.scoring import evaluate_checkpoint
from weightsearch.depth.network import checkpoint
from weightsearch.depth.objective import check, run
from weightsearch.depth.training import saving
from weightsearch.errors import ConfigError, DataError, Interrupted
from weightsearch.study import loading
from weightsearch.study.objective_contract import summarise

TIMES = {"seconds", "images_per_second", "latency_ms"}


def timeless(epochs: list[Any]) -> list[Any]:
    return [{k: v for k, v in epoch.items() if k not in TIMES} for epoch in epochs]


def test_the_module_is_imported_without_torch() -> None:
    code = "import sys, weightsearch.depth.objective; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_epoch_yields_metrics_of_each_validation_image(tmp_path: Path) -> None:
    epochs, test = whole(context(depth_spec(), tmp_path))
    assert len(epochs) == 2
    assert test is None
    per_image = {"rel" if name == "abs_rel" else name for name in METRICS}
    numbers = {"rmse_pooled", "loss", "loss_mae", "loss_edge", "loss_ssim", "parameters", *TIMES}
    numbers |= {"micro_batch", *(f"counted_{term}" for term in WEIGHTS)}
    numbers |= {f"{kind}_{term}" for kind in ("share", "gradient_share") for term in WEIGHTS}
    for epoch in epochs:
        assert set(epoch) == per_image | numbers | {"groups", "about"}
        summary = summarise(epoch)
        constant = summary.about["constant"]
        assert len(constant["samples"]) == summary.images
        assert constant["value"] == pytest.approx(sum(constant["samples"]) / 6)
        assert summary.images == 6  # 20 % of 30 frames, in rooms of 6
        assert len(set(summary.groups)) == 1
        assert all(math.isfinite(value) for value in summary.metrics.values())
    assert [p.name for p in tmp_path.iterdir()] == ["last"]  # the worker removes it


def test_a_searched_size_is_what_the_network_is_trained_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scored at native size all the same: sizes are compared on the same pixels."""
    monkeypatch.setattr(saving, "SHARE", 1e9)
    spec = depth_spec(train={"epochs": 2, "batch": 4, "lr": 1e-3})
    small = context(spec, tmp_path / "small")
    (at_small, _), _ = whole(small, {"size": "32x64"})
    (at_own, _), _ = whole(context(spec, tmp_path / "own"))
    saved = checkpoint.load(small.folder / "last").facts["data"]["size"]
    assert list(saved) == [32, 64]
    assert at_small["rmse"] != at_own["rmse"]
    assert len(at_small["rmse"]) == len(at_own["rmse"])
    with pytest.raises(ConfigError, match=r"must read HxW, .* but got '32'"):
        next(run(WEIGHTS, {"size": "32"}, small))


def test_a_killed_attempt_goes_on_from_its_last_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: what is yielded, and what is saved, of an attempt that died without a word."""
    monkeypatch.setattr(saving, "SHARE", 1e9)  # epochs this short are not all saved
    spec = depth_spec(train={"epochs": 3, "batch": 4, "lr": 1e-3})
    expected, _ = whole(context(spec, tmp_path / "whole"))
    there = context(spec, tmp_path / "killed")
    killed = run(WEIGHTS, {}, there)
    next(killed), next(killed)
    assert checkpoint.load(there.folder / "last").facts["position"]["epoch"] == 2
    del killed  # as if its process were gone: nothing more is written
    resumed, _ = whole(replace(there, cache={}))
    assert timeless(resumed) == timeless(expected)
    a, b = (checkpoint.load(tmp_path / name / "last").tensors for name in ("whole", "killed"))
    assert all(torch.equal(a[part][k], b[part][k]) for part in a for k in a[part])


def test_trials_share_a_trainer_and_only_one_is_kept(tmp_path: Path) -> None:
    spec = depth_spec(model={"encoder": ["test_efficientnet", "test_resnet"]}, train={"epochs": 1})
    there = context(spec, tmp_path)
    first, _ = whole(there, {"encoder": "test_efficientnet"})
    kept = dict(there.cache)
    assert len(kept) == 3
    again, _ = whole(there, {"encoder": "test_efficientnet"})
    assert timeless(first) == timeless(again)
    assert all(there.cache[name] is kept[name] for name in kept)
    other, _ = whole(there, {"encoder": "test_resnet", "lr": 1e-4})
    assert timeless(other) != timeless(first)
    assert there.cache.keys() == kept.keys()
    assert there.cache["depth frames"] is kept["depth frames"]
    assert there.cache["depth trainer"] is not kept["depth trainer"]


def test_a_lost_point_writes_nothing_into_its_successors_folder(tmp_path: Path) -> None:
    there = replace(context(depth_spec(), tmp_path, final=True), lost=lambda: True)
    with pytest.raises(Interrupted):
        whole(there)
    assert not list(tmp_path.iterdir())


def test_other_data_than_the_studys_is_refused(tmp_path: Path) -> None:
    there = replace(context(depth_spec(), tmp_path), data_digest="0" * 64)
    with pytest.raises(DataError, match="begun on data with digest 000000000000, but"):
        whole(there)


class Stopping:
    """Asks for a stop at the n-th look, with no time left."""

    def __init__(self, at: int) -> None:
        self.looks, self.at = 0, at

    def __call__(self) -> float | None:
        self.looks += 1
        return 0.0 if self.looks >= self.at else None


def test_a_promotion_is_resumed_wherever_it_was_cut(tmp_path: Path) -> None:
    spec = depth_spec()
    expected, test = whole(context(spec, tmp_path / "whole", final=True))
    bins = summarise(test).about["by_depth_m"]
    assert sum(row["pixels"] for row in bins) > 0
    pooled = math.fsum(row["pixels"] * (row["rmse"] or 0) ** 2 for row in bins)
    pooled /= sum(row["pixels"] for row in bins)
    assert math.sqrt(pooled) == pytest.approx(test["rmse_pooled"])
    for at in (3, 7, 12, 17):  # in an epoch, its validation, the next one, the test split
        there = context(spec, tmp_path / str(at), final=True, grace_s=Stopping(at))
        with pytest.raises(Interrupted):
            whole(there)
        epochs, again = whole(context(spec, tmp_path / str(at), final=True))
        assert timeless(epochs) == timeless(expected)
        assert again == test


def test_a_point_stopped_after_an_epoch_goes_on_from_there(tmp_path: Path) -> None:
    spec = depth_spec()
    expected, _ = whole(context(spec, tmp_path / "whole"))
    running = run(WEIGHTS, {}, context(spec, tmp_path, grace_s=lambda: 3600.0))
    next(running)
    running.close()
    there = context(spec, tmp_path)
    epochs, _ = whole(there)
    assert timeless(epochs) == timeless(expected)
    assert epochs[0]["seconds"] != epochs[1]["seconds"]


def test_a_point_goes_on_after_its_study_was_extended_and_not_after_it_was_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = depth_spec()
    expected, _ = whole(context(spec, tmp_path / "whole"))
    next(run(WEIGHTS, {}, context(spec, tmp_path, grace_s=lambda: 3600.0)))
    shutil.copytree(tmp_path / "last", tmp_path / "changed" / "last")
    grown = loading.extended(spec, "trials=4000,repeats=3", "the study")
    assert grown.digest() != spec.digest()
    with caplog.at_level(logging.INFO):
        epochs, _ = whole(context(grown, tmp_path))
    assert "resuming from epoch" in caplog.text
    assert timeless(epochs) == timeless(expected)
    changed = spec.model_copy(update={"train": spec.train.model_copy(update={"batch": 3})})
    with caplog.at_level(logging.WARNING):
        next(run(WEIGHTS, {}, context(changed, tmp_path / "changed")))
    assert "is of another point" in caplog.text


def test_another_points_or_a_damaged_checkpoint_is_left_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = depth_spec(train={"epochs": 1})
    there = context(spec, tmp_path, grace_s=lambda: 3600.0)
    expected, _ = whole(there)
    with caplog.at_level(logging.WARNING):
        other, _ = whole(context(spec, tmp_path, seed=5, grace_s=lambda: 3600.0))
    assert "is of another point" in caplog.text
    assert timeless(other) != timeless(expected)
    for file in (tmp_path / "last").glob("model-*"):
        file.write_bytes(file.read_bytes()[:-1])
    again, _ = whole(context(spec, tmp_path, seed=5))
    assert "Training starts anew" in caplog.text
    assert timeless(again) == timeless(other)


def test_a_damaged_checkpoint_costs_the_epochs_since_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = depth_spec()
    expected, _ = whole(context(spec, tmp_path, grace_s=lambda: 3600.0))
    last = tmp_path / "last"
    file = last / checkpoint.load(last).facts["files"]["model"]["file"]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with caplog.at_level(logging.INFO):
        again, _ = whole(context(spec, tmp_path))
    assert "The one before it is used." in caplog.text
    assert "resuming from epoch 1, step 0" in caplog.text
    assert timeless(again) == timeless(expected)


def test_a_promotion_keeps_the_best_and_measures_it_on_the_test_split(tmp_path: Path) -> None:
    # Maximised, so that the best epoch is not the last one.
    spec = depth_spec(objective={"metric": "rmse", "direction": "maximize"})
    there = context(spec, tmp_path, final=True, epochs=3, patience=None)
    epochs, test = whole(there)
    means = [summarise(epoch).metrics["rmse"] for epoch in epochs]
    best = checkpoint.load(tmp_path / "best")
    assert best.facts["epoch"] == means.index(max(means)) + 1
    assert best.facts["metrics"]["rmse"] == max(means)
    assert set(best.tensors) == {"model"}
    assert summarise(test).images == 6
    assert all(group.startswith("test_") for group in test["groups"])
    assert not any(g.startswith("test_") for epoch in epochs for g in epoch["groups"])
    net = checkpoint.network(tmp_path, "cpu")
    assert net(torch.zeros(1, 3, 48, 64)).shape == (1, 1, 24, 32)
    with Pack(building.ensure("synthetic", None, OPTIONS, there.home)) as native:
        scores = evaluate_checkpoint(tmp_path, native, "full", "test", "cpu")
    assert test["rel"] == pytest.approx(scores.per_image["abs_rel"], rel=1e-4)
    for fact in ("commit", "versions", "point", "model", "data", "spec"):
        assert fact in best.facts


def test_a_promotion_is_judged_on_the_ground_truth_that_its_protocol_is_meant_for(
    tmp_path: Path,
) -> None:
    mat = Labeled(tmp_path / "nyu", size=(480, 640)).write().mat
    spec = depth_spec(
        data={"source": "nyu_labeled", "options": {}, "val": "blocks:50%"},
        train={"epochs": 1, "batch": 2},
        promote={"protocol": "bts"},
    )
    there = replace(context(spec, tmp_path / "run", final=True), data=mat, home=tmp_path)
    _, test = whole(there)
    scores = {}
    for depths in ("raw", "filled"):
        with Pack(building.ensure("nyu_labeled", mat, {"depths": depths}, tmp_path)) as judged:
            found = evaluate_checkpoint(tmp_path / "run", judged, "bts", "test", "cpu")
            scores[depths] = found.per_image["rmse"]
    assert test["rmse"] == pytest.approx(scores["raw"], rel=1e-6)
    assert test["rmse"] != pytest.approx(scores["filled"], rel=1e-6)


def test_patience_ends_a_run(tmp_path: Path) -> None:
    spec = depth_spec(objective={"metric": "rmse", "direction": "maximize"})
    there = context(spec, tmp_path, epochs=9, patience=2, final=True)
    epochs, test = whole(there)
    means = [summarise(epoch).metrics["rmse"] for epoch in epochs]
    assert len(epochs) < 9
    assert len(epochs) - (means.index(max(means)) + 1) == 2
    again, tested = whole(context(spec, tmp_path, epochs=9, patience=2, final=True))
    assert again == epochs  # read from the checkpoint: nothing is trained again
    assert tested == test


def test_fresh_seeds_are_validated_on_the_same_frames(tmp_path: Path) -> None:
    spec = depth_spec(train={"epochs": 1})
    groups = {
        tuple(whole(context(spec, tmp_path / str(s), seed=s))[0][0]["groups"]) for s in (0, 1, 2)
    }
    assert len(groups) == 1


def test_each_fold_is_trained_on_the_frames_of_the_others(tmp_path: Path) -> None:
    spec = depth_spec(data={"val": "folds:3"}, train={"epochs": 1})
    cache: dict[str, Any] = {}
    scored = []
    for fold in range(3):
        there = context(spec, tmp_path / str(fold), fold=fold, cache=cache, final=True)
        scored.append(set(whole(there)[0][0]["groups"]))
        assert checkpoint.fold(there.folder) == fold
        trained = {
            group
            for name in cache["depth frames"][1].names
            for group in scored[-1]
            if group in name
        }
        assert not trained
    assert sum(map(len, scored)) == len(set.union(*scored)) > 3


def test_an_epoch_with_less_memory_says_that_it_does_not_compare(tmp_path: Path) -> None:
    spec = depth_spec(train={"epochs": 1})
    (whole_batch,), _ = whole(context(spec, tmp_path / "a"))
    (parts,), _ = whole(context(spec, tmp_path / "b", shrink=1))
    assert "not_comparable" not in summarise(whole_batch).about
    assert (whole_batch["micro_batch"], parts["micro_batch"]) == (4, 2)
    assert "memory ran out" in summarise(parts).about["not_comparable"]


def test_a_result_says_where_pretrained_weights_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights" / "test_efficientnet.safetensors"
    file.parent.mkdir()
    save_file(timm.create_model("test_efficientnet").state_dict(), file)
    monkeypatch.setenv("WEIGHTSEARCH_WEIGHTS", str(file.parent))
    monkeypatch.setattr(saving, "SHARE", 1e9)
    spec = depth_spec(model={"pretrained": True})
    there = context(spec, tmp_path / "point")
    (epoch, _), _ = whole(there)
    origin = summarise(epoch).about["encoder_weights"]
    assert (origin["file"], origin["package"]) == (file.name, None)
    assert origin["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert checkpoint.load(there.folder / "last").facts["encoder_weights"] == origin


def test_no_more_frames_than_the_limit_are_used(tmp_path: Path) -> None:
    spec = depth_spec(data={"limit": 12, "val": "blocks:50%"}, train={"epochs": 1})
    there = context(spec, tmp_path)
    epochs, _ = whole(there)
    assert summarise(epochs[0]).images == 6
    assert len(there.cache["depth frames"][1].names) == 6


@pytest.mark.parametrize(
    ("params", "tables", "message"),
    [
        ({"batch": 3}, {}, "no parameter 'batch'"),
        ({}, {"objective": {"metric": "rsme"}}, "did you mean 'rmse'"),
        ({}, {"model": {"encoder": ["test_resnet", "test_vit"]}}, "'encoder' must be one value"),
        ({"encoder": "densnet121"}, {}, "did you mean 'densenet121'"),
    ],
)
def test_what_it_does_not_know_is_refused(
    tmp_path: Path, params: dict[str, Any], tables: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        whole(context(depth_spec(**tables), tmp_path), params)


def test_a_learned_weighting_goes_on_from_its_own_checkpoint_only(tmp_path: Path) -> None:
    loss = {"weightings": ["uncertainty", "cov"]}
    spec = depth_spec(train={"epochs": 2, "batch": 12, "lr": 1e-3}, loss=loss)
    uncertainty, cov = {"weighting": "uncertainty"}, {"weighting": "cov"}
    expected, _ = whole(context(spec, tmp_path / "whole"), uncertainty)
    there = context(spec, tmp_path / "cut")
    with pytest.raises(Interrupted):
        whole(replace(there, grace_s=Stopping(4)), uncertainty)
    facts = checkpoint.load(there.folder / "last").facts
    assert facts["point"]["weighting"] == "uncertainty"
    other = context(spec, tmp_path / "other")
    shutil.copytree(there.folder, other.folder)
    resumed, _ = whole(there, uncertainty)
    assert timeless(resumed) == timeless(expected)
    anew, _ = whole(other, cov)
    assert timeless(anew) == timeless(whole(context(spec, tmp_path / "alone"), cov)[0])


def test_a_run_in_stages_is_the_run_that_was_never_stopped(tmp_path: Path) -> None:
    """Each stage goes on from the checkpoint of the one before, bit for bit."""
    spec = depth_spec(train={"epochs": 3}, pruner={"kind": "rungs", "rungs": [1, 2]})
    whole_run, _ = whole(context(spec, tmp_path / "whole"))
    for until in (1, 2, None):
        epochs = []
        there = context(spec, tmp_path / "stages", until=until)
        for epoch in run(WEIGHTS, {}, there):
            epochs.append(epoch)
            if len(epochs) == until:
                break
        assert (there.folder / "last").is_dir()
    assert [e["rmse"] for e in epochs] == [e["rmse"] for e in whole_run]
    assert [e["loss"] for e in epochs] == [e["loss"] for e in whole_run]


def test_folds_that_the_data_have_no_scenes_for_are_refused_before_anything_is_planned() -> None:
    spec = depth_spec(data={"val": "folds:50"})
    assert spec.data is not None
    packed = building.ensure("synthetic", None, OPTIONS, home())
    with pytest.raises(DataError, match="each of 50 folds must have a group"):
        check(spec, "cpu", packed)
