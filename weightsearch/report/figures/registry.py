"""All figures of a study, by name, in the order of the page: each a function from its records to a
plotly figure."""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go

from weightsearch.report.evidence.records import Records
from weightsearch.report.figures import causes, course, merit
from weightsearch.report.figures.nightly_history import Night, history
from weightsearch.report.figures.ternary_map import ternaries, ternary

FIGURES: dict[str, Callable[[Records], go.Figure]] = {
    "ranking": merit.ranking,
    "interaction": causes.interaction,
    "ablation": causes.ablation,
    "importance": causes.importance,
    "parallel": causes.parallel,
    "noise": merit.noise,
    "cost": merit.cost,
    "by_depth": merit.by_depth,
    "best_so_far": course.best_so_far,
    "learning_curves": course.learning_curves,
    "loss_shares": course.loss_shares,
    "timeline": course.timeline,
}

__all__ = ["FIGURES", "Night", "history", "ternaries", "ternary"]
