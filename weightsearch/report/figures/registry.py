"""All figures of a study, by name, in the order of the page: each a function from its records to a
plotly figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from weightsearch.report.evidence.records import Records
from weightsearch.report.figures import (
    accuracy,
    learned_weights,
    rivals,
    search_progress,
    weight_effects,
)
from weightsearch.report.figures.ternary_map import ternary
from weightsearch.report.figures.weight_pairs import pairs

FIGURES: dict[str, Callable[[Records], go.Figure]] = {
    "rivals": rivals.rivals,
    "ranking": accuracy.ranking,
    "noise": accuracy.noise,
    "cost": accuracy.cost,
    "interaction": weight_effects.interaction,
    "ablation": weight_effects.ablation,
    "importance": weight_effects.importance,
    "parallel": weight_effects.parallel,
    "by_depth": accuracy.by_depth,
    "best_so_far": search_progress.best_so_far,
    "learning_curves": search_progress.learning_curves,
    "loss_shares": search_progress.loss_shares,
    "weightings": learned_weights.weightings,
    "timeline": search_progress.timeline,
}


def weight_map(records: Records, name: str, metric: str) -> go.Figure:
    """The map of a metric over the weights with one encoder: a triangle for three terms."""
    return (ternary if len(records.terms) == 3 else pairs)(records, name, metric)


def weight_maps(records: Records, metrics: Sequence[str]) -> list[go.Figure]:
    """One for each encoder and metric."""
    return [weight_map(records, name, metric) for name in records.encoders for metric in metrics]
