"""All figures of a study, by name, in the order of the page: each a function from its records to a
plotly figure."""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go

from weightsearch.report.evidence.records import Records
from weightsearch.report.figures import accuracy, learned_weights, search_progress, weight_effects
from weightsearch.report.figures.nightly_history import Night, history
from weightsearch.report.figures.ternary_map import ternaries, ternary

FIGURES: dict[str, Callable[[Records], go.Figure]] = {
    "ranking": accuracy.ranking,
    "interaction": weight_effects.interaction,
    "ablation": weight_effects.ablation,
    "importance": weight_effects.importance,
    "parallel": weight_effects.parallel,
    "noise": accuracy.noise,
    "cost": accuracy.cost,
    "by_depth": accuracy.by_depth,
    "best_so_far": search_progress.best_so_far,
    "learning_curves": search_progress.learning_curves,
    "loss_shares": search_progress.loss_shares,
    "weightings": learned_weights.weightings,
    "timeline": search_progress.timeline,
}

__all__ = ["FIGURES", "Night", "history", "ternaries", "ternary"]
