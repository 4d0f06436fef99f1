"""A run that forks from a trunk is one run whose weights change at that epoch, bit for bit."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.depth_studies import WEIGHTS, context, depth_spec
from support.lanes import same, trainer, unscored, with_dropout

from weightsearch.depth import objective
from weightsearch.depth.network import checkpoint
from weightsearch.depth.training import beginnings
from weightsearch.errors import Interrupted
from weightsearch.study.objective_contract import LAST, Context, Fork

EQUAL = {"mae": 1 / 3, "edge": 1 / 3, "ssim": 1 / 3}
MAE = {"mae": 1.0, "edge": 0.0, "ssim": 0.0}
WAYS: dict[str, Any] = {
    "plain": {},
    "all of it": {"optimizer": "adamw", "schedule": "onecycle", "average": "ema", "freeze": 1},
}


@pytest.mark.parametrize("moments", ["kept", "reset"])
@pytest.mark.parametrize("way", WAYS)
def test_a_fork_is_one_run_whose_weights_change(tmp_path: Path, moments: Any, way: str) -> None:
    """Against a lane whose weights are exchanged in place, in one process."""
    spec = depth_spec(train={"epochs": 2, **WAYS[way]})
    on = with_dropout(trainer(spec))
    one = on.lane(EQUAL, 0, 1e-3)
    list(on.run(one, 1, unscored))
    checkpoint.save(tmp_path, LAST, one.tensors(), {"position": one.position()})
    if moments == "reset":
        one.optimizer.load_state_dict(one.optimizer.state_dict() | {"state": {}})
    one.weights = torch.tensor(list(WEIGHTS.values()))
    list(on.run(one, 2, unscored))

    at = replace(context(spec, tmp_path), fork=Fork(EQUAL, 1, tmp_path, moments))
    after = with_dropout(trainer(spec))
    fork = beginnings.forked(after.lane(WEIGHTS, 0, 1e-3), checkpoint.load(tmp_path / LAST), at)
    assert (fork.epoch, fork.step) == (1, 0)
    list(after.run(fork, 2, unscored))
    assert same(fork, one)


def ran(weights: dict[str, float], there: Context) -> list[dict[str, Any]]:
    """All that is yielded, without what differs from run to run."""
    found = []
    for epoch in objective.run(weights, {}, there):
        timed = ("seconds", "images_per_second", "latency_ms")
        found.append({k: v for k, v in epoch.items() if k not in timed})
        if len(found) == there.until:
            break
    return found


def networks(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder / "best").tensors["model"]


def alike(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_fork_comes_to_the_same_with_and_without_its_trunk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The trunk has three terms, the fork one of them; and a stop in the trunk that it trains."""
    spec = depth_spec(train={"epochs": 2}, keep={"search": "weights"})
    trunk = context(spec, tmp_path / "trunk", until=1)
    first = ran(EQUAL, trunk)
    there = context(spec, tmp_path / "fork", fork=Fork(EQUAL, 1, trunk.folder))
    with caplog.at_level(logging.INFO):
        forked = ran(MAE, there)
    assert "forking from its trunk after epoch 1" in caplog.text
    assert forked[0] == first[0]
    assert "loss_edge" in forked[0]
    assert "loss_edge" not in forked[1]
    manifest = checkpoint.load(there.folder / "best").facts
    assert manifest["epoch"] == 2  # never one of the trunk's
    assert manifest["point"]["fork"] == {"weights": EQUAL, "epochs": 1, "moments": "reset"}

    alone = replace(there, folder=tmp_path / "alone", fork=Fork(EQUAL, 1, tmp_path / "nowhere"))
    assert ran(MAE, alone) == forked
    assert alike(networks(alone.folder), networks(there.folder))

    asked: list[None] = []

    def grace_s() -> float | None:
        asked.append(None)
        return 0.0 if len(asked) > 3 else None

    cut = replace(alone, folder=tmp_path / "cut", grace_s=grace_s)
    with pytest.raises(Interrupted):
        ran(MAE, cut)
    position = checkpoint.load(cut.folder / LAST).facts["position"]
    assert (position["epoch"], position["step"] > 0) == (0, True)
    with caplog.at_level(logging.INFO):
        assert ran(MAE, replace(cut, grace_s=lambda: None)) == forked
    assert "resuming from epoch 0" in caplog.text
    assert alike(networks(cut.folder), networks(there.folder))


def test_no_run_goes_on_from_what_is_not_its_trunk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = depth_spec(train={"epochs": 2})
    other = context(spec, tmp_path / "other", until=1)
    ran(WEIGHTS, other)
    there = context(spec, tmp_path / "fork", fork=Fork(EQUAL, 1, other.folder))
    with caplog.at_level(logging.WARNING):
        found = ran(MAE, there)
    assert "is of another trunk, which is trained anew" in caplog.text
    alone = replace(there, folder=tmp_path / "alone", fork=Fork(EQUAL, 1, tmp_path / "nowhere"))
    assert found == ran(MAE, alone)
    # And a fork's own state is nobody else's: the same point from scratch begins anew.
    scratch = context(spec, there.folder)
    assert ran(MAE, scratch) != found


def test_forks_that_are_trained_together_come_to_what_each_comes_to_alone(tmp_path: Path) -> None:
    """Each without its trunk: their lanes are exchanged for those of their own weights midway."""
    spec = depth_spec(train={"epochs": 2})
    fork = Fork(EQUAL, 1, tmp_path / "nowhere")
    places = [context(spec, tmp_path / name, fork=fork) for name in ("a", "b")]
    points = [(MAE, {}), (WEIGHTS, {})]
    runs = objective.run_together(points, places)
    together = list(zip(*runs, strict=True))
    for k, (weights, _) in enumerate(points):
        alone = ran(weights, replace(places[k], folder=tmp_path / f"alone-{k}"))
        assert [epoch[k]["rmse"] for epoch in together] == [epoch["rmse"] for epoch in alone]
