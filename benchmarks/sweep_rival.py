"""The sweep of `sweep.py` as people write it: Optuna's `study.optimize` around a plain loop.

So many processes share a journal file and a GridSampler over the points. Each trial builds its
network and its DataLoader, trains with the plain step of `step.py`, and after each epoch scores the
validation frames as protocol `full` does: bilinear to the ground truth's size, depth raised to
1 mm, the mean of the images' RMSE. The best epoch counts, as with us.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsFloat

import optuna
import step
import torch
import torch.nn.functional as F
from loader import Pictures, metres
from optuna.samplers import GridSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.depth.training.batches import stream
from weightsearch.study.spec import StudySpec

NAME = "rival"
NEAREST_M = 1e-3


@dataclass(frozen=True)
class Point:
    encoder: str
    weights: tuple[float, float, float]
    """Of mae, edge and ssim, as `normalised` gives them."""


@dataclass(frozen=True)
class Rival:
    """What its processes are told: the same frames, in the same split, and the same networks."""

    spec: StudySpec
    points: Sequence[Point]
    train: Sequence[tuple[Path, Path]]
    """Pictures, and their depth."""
    val: Sequence[tuple[Path, Path]]
    typical_m: float
    bf16: bool
    journal: Path


def sweep(rival: Rival, processes: int, start: str) -> dict[Point, float]:
    """The lowest RMSE of each point that a trial completed; `start` is how Python starts them."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    grid = GridSampler({"point": list(range(len(rival.points)))}, seed=rival.spec.train.seed)
    study = optuna.create_study(storage=_storage(rival), sampler=grid, study_name=NAME)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context(start)
    working = [context.Process(target=work, args=(rival,)) for _ in range(processes)]  # type: ignore[attr-defined]
    for process in working:
        process.start()
    for process in working:
        process.join()
        if process.exitcode:
            raise SystemExit("a process of the rival's must end with 0, but failed; see above.")
    done = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    found: dict[Point, float] = {}
    for trial in done:
        assert trial.value is not None
        found.setdefault(rival.points[trial.params["point"]], trial.value)
    return found


def work(rival: Rival) -> None:
    """One process: trials until the grid is used up."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    count = len(rival.points)
    grid = GridSampler({"point": list(range(count))}, seed=rival.spec.train.seed)
    study = optuna.load_study(study_name=NAME, storage=_storage(rival), sampler=grid)

    def objective(trial: optuna.Trial) -> float:
        return train(rival, rival.points[trial.suggest_int("point", 0, count - 1)])

    study.optimize(objective)


def _storage(rival: Rival) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(rival.journal)))


def train(rival: Rival, point: Point) -> float:
    """The lowest RMSE of a point's epochs, in metres."""
    spec = rival.spec
    assert spec.data is not None
    assert spec.model is not None
    torch.manual_seed(stream(spec.train.seed))  # the network begins as ours does
    model = spec.model.model_copy(update={"encoder": point.encoder})
    net = step.Plain(DepthNet(model, spec.data, rival.typical_m))
    optimizer = torch.optim.Adam(net.parameters(), lr=spec.train.lr)
    frames = Pictures(rival.train, spec.data.size)
    loader = DataLoader(frames, spec.train.batch, shuffle=True, drop_last=True)
    weights = dict(zip(spec.loss.terms, point.weights, strict=True))
    scores = []
    for _ in range(spec.train.epochs):
        net.train()
        for rgb, depth_m in loader:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16) if rival.bf16 else nullcontext():
                pred_m = net(rgb)
            value = step.loss(pred_m, depth_m, weights)
            value.backward()
            optimizer.step()
            if not value.isfinite():
                raise optuna.TrialPruned
        scores.append(rmse_m(net.eval(), rival.val, spec.data.size, spec.train.batch))
    return min(scores)


class Whole(Pictures):
    """For validation: nothing is mirrored, and depth keeps its size."""

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        picture, depth = self.pairs[place]
        rgb: Tensor = self.rgb(Image.open(picture).convert("RGB"))
        return rgb, metres(v2.functional.pil_to_tensor(Image.open(depth)).float())


@torch.no_grad()
def rmse_m(
    net: step.Plain, val: Sequence[tuple[Path, Path]], size: tuple[int, int], batch: int
) -> float:
    values = []
    for rgb, depth_m in DataLoader(Whole(val, size), batch):
        pred_m = F.interpolate(net(rgb), size=depth_m.shape[-2:], mode="bilinear")
        error = pred_m.clamp(min=NEAREST_M) - depth_m
        values.append(error.square().flatten(1).mean(1).sqrt())
    return torch.cat(values).mean().item()


def normalised(weights: Mapping[str, SupportsFloat]) -> tuple[float, float, float]:
    """Of mae, edge and ssim, to sum to 1; in three digits, as our answers have them in four."""
    found = [float(weights[name]) for name in ("mae", "edge", "ssim")]
    mae, edge, ssim = (round(weight / sum(found), 3) for weight in found)
    return mae, edge, ssim
