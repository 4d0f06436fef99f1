"""What a night measured, as a table: of a first night, which has nothing to be compared with."""

from __future__ import annotations

from statistics import fmean, stdev

from weightsearch.stats.night_values import CanaryRuns
from weightsearch.store.ledger.stored_night import NightVerdict

HEADINGS = ("what", "metric", "mean", "sd of the seeds", "seeds")


def rows(verdict: NightVerdict) -> list[list[str]]:
    """A row for each metric of each canary that is done, and one for the best of the search."""
    measured = verdict.measured
    found = [row for name, runs in measured.canaries.items() for row in _canary(name, runs)]
    if measured.best is not None:
        found.append(["best of the search", verdict.metric, f"{measured.best.value:.4f}", "", ""])
    return found


def _canary(name: str, runs: CanaryRuns) -> list[list[str]]:
    metrics = dict.fromkeys(metric for run in runs.seeds.values() for metric in run)
    found = []
    for metric in metrics:
        values = [run[metric] for run in runs.seeds.values() if metric in run]
        sd = f"{stdev(values):.4f}" if len(values) > 1 else ""
        seeds = f"{len(values)} of {len(runs.seeds)}"
        found.append([name, metric, f"{fmean(values):.4f}", sd, seeds])
    return found or [[name, "", "no number", "", f"0 of {len(runs.seeds)}"]]
