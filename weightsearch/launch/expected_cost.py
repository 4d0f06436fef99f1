"""What a study is expected to take: an objective's estimate of an epoch, times what is planned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from weightsearch.runtime.devices import cores
from weightsearch.runtime.safe_text import counted, size
from weightsearch.study.budget import Budget
from weightsearch.study.objective_contract import Estimate
from weightsearch.study.spec import StudySpec

HOUR_S = 3600.0


@dataclass(frozen=True)
class Expected:
    """Of a search and its promotion; nothing is known of early stopping, so it is the most."""

    planned: int
    points: int
    """Of those, which the budget leaves time for."""
    epochs: int
    full_runs: int
    full_epochs: int
    workers: int
    at_once: int
    """So many of the workers share no device with another."""
    search_s: float
    full_s: float
    """At most, of the full runs."""
    bytes: float
    """Of checkpoints, once it has ended."""
    how: str

    @property
    def seconds(self) -> float:
        return self.search_s + self.full_s

    def told(self) -> str:
        """`700 points of 5 epochs, then 9 full runs of up to 25 (about 12 h): about 310 h ...`."""
        runs = (
            f", then {counted(self.full_runs, 'full run')} of up to {self.full_epochs}"
            f" (about {hours(self.full_s)})"
        ) * bool(self.full_runs)
        workers = counted(self.workers, "worker")
        share = f" that share {_devices(self.at_once)}" * (self.at_once < self.workers)
        kept = f", {size(self.bytes)} of checkpoints" * bool(self.bytes)
        how = f" (measured: {self.how})" * bool(self.how)
        part = f"{self.points} of " * (self.points < self.planned)
        return (
            f"{part}{counted(self.planned, 'point')} of {counted(self.epochs, 'epoch')}{runs}:"
            f" about {hours(self.seconds)} on {workers}{share}{kept}{how}"
        )


def expected(
    one: Estimate, spec: StudySpec, points: int, devices: Sequence[str], budget: Budget | None
) -> Expected:
    """Workers on one GPU, or more of them than cores, are counted as one after the other. A budget
    bounds the search, never the promotion."""
    limit, planned = budget or Budget(), points
    points = min(points, limit.points or points)
    workers = min(len(devices), points)
    at_once = _at_once(devices[:workers])
    search_s = -(-points // at_once) * spec.train.epochs * one.epoch_s
    if limit.seconds is not None:
        search_s = min(search_s, limit.seconds)
    if limit.device_seconds is not None:
        search_s = min(search_s, limit.device_seconds / workers)
    if one.epoch_s:  # a point that is begun in time is finished
        rounds = math.ceil(search_s / (spec.train.epochs * one.epoch_s))
        points = min(points, at_once * rounds)
    full = spec.promote
    runs = full.runs(-(-points // spec.answer.repeats)) if full else 0
    full_epochs = full.epochs if full else 0
    full_epoch_s = one.epoch_s if one.full_epoch_s is None else one.full_epoch_s
    return Expected(
        planned=planned,
        points=points,
        epochs=spec.train.epochs,
        full_runs=runs,
        full_epochs=full_epochs,
        workers=workers,
        at_once=at_once,
        search_s=search_s,
        full_s=full_run_seconds(runs, full_epochs, full_epoch_s, devices),
        bytes=points * one.point_bytes + runs * one.full_bytes,
        how=one.how,
    )


def full_run_seconds(runs: int, epochs: int, epoch_s: float, devices: Sequence[str]) -> float:
    """Of so many full runs at most: nothing is known of early stopping."""
    return -(-runs // _at_once(devices[: max(1, runs)])) * epochs * epoch_s


def hours(seconds: float) -> str:
    """`1 min`, `25 min`, `5.2 h`, `310 h (13 days)`: no more digits than an estimate has."""
    if seconds < HOUR_S:
        return f"{max(1, round(seconds / 60))} min"
    if seconds < 10 * HOUR_S:
        return f"{seconds / HOUR_S:.1f} h"
    days = f" ({seconds / HOUR_S / 24:.0f} days)" if seconds >= 48 * HOUR_S else ""
    return f"{float(f'{seconds / HOUR_S:.2g}'):.0f} h{days}"


def _at_once(devices: Sequence[str]) -> int:
    on_cpu = sum(device == "cpu" for device in devices)
    return len(set(devices) - {"cpu"}) + min(on_cpu, cores())


def _devices(count: int) -> str:
    return "one device" if count == 1 else f"{count} devices"
