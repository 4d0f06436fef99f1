"""Finished points in order of merit, with intervals, and which of them the data tells apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weightsearch.stats import comparison
from weightsearch.store.ledger.queries import Done
from weightsearch.study import search_space
from weightsearch.study.spec import StudySpec

ALWAYS = ("rmse", "rel", "log10")
"""Metrics that every row has, null where the objective does not yield them."""


def measured(spec: StudySpec) -> dict[str, Any]:
    """What the numbers of a ranking are: the metric, by which protocol, on which split."""
    return {
        "metric": spec.objective.metric,
        "protocol": spec.evaluate.protocol if spec.data else None,
        "split": "val",
    }


def ranked(spec: StudySpec, done: Sequence[Done]) -> list[Done]:
    """The best first; points that diverged are no candidates."""
    metric = spec.objective.metric
    candidates = [point for point in done if not point.diverged()]
    worst_first = spec.objective.direction == "maximize"
    return sorted(candidates, key=lambda p: p.result["metrics"][metric], reverse=worst_first)


def ranking(
    spec: StudySpec, done: Sequence[Done], first: int | None = None
) -> list[dict[str, Any]]:
    """A row per point, or only for the `first` ones: who it is, the metric with its interval, the
    guards, and a paired verdict against the best.

    One seed each: the verdict is about these images, not about what another seed would give.
    """
    metric = spec.objective.metric
    shown = dict.fromkeys((metric, *spec.objective.guards, *ALWAYS))
    order = ranked(spec, done)
    rows = []
    for place, point in enumerate(order[:first], start=1):
        result = point.result
        values = result["samples"].get(metric)
        bounds = comparison.interval(values, result["groups"]) if values else None
        against = None
        if place > 1 and values:
            against = comparison.paired(
                [values],
                [order[0].result["samples"][metric]],
                result["groups"],
                spec.objective.direction == "minimize",
            ).verdict
        rows.append(
            {
                "rank": place,
                "point": point.point.id(),
                "number": point.number,
                "encoder": point.point.params.get("encoder"),
                "params": dict(point.point.params),
                "weights": search_space.decimals(point.point.weights),
                **{n: result["metrics"].get(n) for n in shown},
                "interval": list(bounds) if bounds else None,
                "against_best": against,
                "images": result["images"],
                "epoch": result["epoch"],
                "seconds": result["seconds"],
                "device": result["device"],
            }
        )
    return rows
