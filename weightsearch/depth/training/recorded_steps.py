"""Steps of several lanes at once on a GPU: recorded as one CUDA graph, then replayed.

A step is thousands of kernels of a few microseconds each, and Python starts them more slowly than
they run. A recorded step starts all of them at once, those of each lane on a branch of their own,
so that they run side by side. What differs from step to step lies in tensors that stay where they
are: the batch, what a lane is made of, learning rates. What cannot be recorded takes turns.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from weightsearch.depth.training.trial_state import Lane

WARM_STEPS = 3
"""In turns, before one is recorded: libraries choose their kernels, optimizers make their state."""

Rows = list[Tensor]
Compute = Callable[[], Rows]
Step = Callable[[Lane, Tensor, Tensor], Tensor]
"""Moves a lane by a batch, rgb and depth_m, and gives the row that says how."""

log = logging.getLogger(__name__)


def cuda_graph(compute: Compute) -> Compute:
    """What computes the same again, from and into the same tensors; nothing is computed yet."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        rows = compute()

    def replay() -> Rows:
        graph.replay()
        return rows

    return replay


RECORDS: dict[str, Callable[[Compute], Compute]] = {"cuda": cuda_graph}
"""How a step is recorded, by the kind of device."""


class Recorded:
    """The step of some lanes, as often as it is asked for."""

    def __init__(
        self,
        lanes: Sequence[Lane],
        step: Step,
        rgb: Tensor,
        depth_m: Tensor,
        record: Callable[[Compute], Compute],
    ) -> None:
        self.lanes = tuple(lanes)
        self.rgb, self.depth_m = rgb.clone(), depth_m.clone()
        self.lrs = [
            (group, torch.tensor(float(group["lr"]), device=rgb.device))
            for lane in lanes
            for group in lane.optimizer.param_groups
        ]
        for lane in lanes:
            lane.optimizer.zero_grad()  # gradients are to lie where the recorded step puts them
        with self._recordable():
            compute = partial(_side_by_side, self.lanes, step, self.rgb, self.depth_m)
            self.compute = record(compute)

    def step(self, rgb: Tensor, depth_m: Tensor) -> Rows:
        """Each lane's row; valid until the next step."""
        self.rgb.copy_(rgb)
        self.depth_m.copy_(depth_m)
        for group, lr in self.lrs:
            lr.fill_(float(group["lr"]))
        return self.compute()

    @contextlib.contextmanager
    def _recordable(self) -> Iterator[None]:
        """Optimizers read learning rates from the device and count their steps there."""
        before = [(group, dict(group)) for group, _ in self.lrs]
        try:
            for group, lr in self.lrs:
                group.update(lr=lr, capturable=True)
            yield
        finally:
            for group, values in before:
                group.clear()
                group.update(values)


def _side_by_side(lanes: Sequence[Lane], step: Step, rgb: Tensor, depth_m: Tensor) -> Rows:
    if rgb.device.type != "cuda":
        return [step(lane, rgb, depth_m) for lane in lanes]
    here, rows = torch.cuda.current_stream(), []
    branches = [torch.cuda.Stream() for _ in lanes]  # type: ignore[no-untyped-call]
    for lane, branch in zip(lanes, branches, strict=True):
        branch.wait_stream(here)
        with torch.cuda.stream(branch):
            rows.append(step(lane, rgb, depth_m))
    for branch in branches:
        here.wait_stream(branch)
    return rows


@dataclass
class Recorder:
    """Says when lanes step at once, and when they take turns."""

    step: Step
    record: Callable[[Compute], Compute] | None
    """None: they always take turns."""
    recorded: Recorded | None = None
    warm: int = 0
    """Steps in turns so far."""
    draws: bool = field(default=False)
    """The network draws random numbers as it trains: a replay would draw others than a lane that
    is alone."""

    def may_record(self) -> bool:
        """Whether lanes may step at once, as far as is known: after `WARM_STEPS`, and one step of
        several lanes, for good."""
        return self.record is not None and not self.draws

    def rows(self, lanes: Sequence[Lane], rgb: Tensor, depth_m: Tensor) -> Rows | None:
        """Those of a step at once; None where the lanes are to take turns."""
        if self.record is None or not self.may_record():
            return None
        if len(lanes) < 2 or self.warm < WARM_STEPS:
            return None
        if not all(lane.is_plain(len(rgb)) for lane in lanes):
            return None
        if self.recorded is None or self.recorded.lanes != tuple(lanes):
            self.recorded = None  # its memory is needed for the next
            try:
                self.recorded = Recorded(lanes, self.step, rgb, depth_m, self.record)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                said = str(error).partition("\n")[0]
                log.warning("a step cannot be recorded here, and lanes take turns: %s", said)
                self.record = None
                return None
        return self.recorded.step(rgb, depth_m)

    @contextlib.contextmanager
    def turn(self, device: torch.device) -> Iterator[None]:
        """Around a lane's step in turns."""
        if self.record is None or self.warm >= WARM_STEPS:
            yield
            return
        before = _random_state(device)
        yield
        self.draws |= not torch.equal(before, _random_state(device))
        self.warm += 1

    def forget(self, lane: Lane) -> None:
        """The lane leaves, and its memory with it."""
        if self.recorded is not None and lane in self.recorded.lanes:
            self.recorded = None


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
