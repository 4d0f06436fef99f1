"""The table [answer] of a study file: what a difference must come to before it matters."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from weightsearch.stats.margin import DEFAULT, Margin
from weightsearch.study.spec_fields import Part

WITHOUT_UNIT = ("rel", "log10", "rmse_log", "silog", "delta1", "delta2", "delta3")
"""Of the metrics of depth; the others are in metres."""


class AnswerSpec(Part):
    """How the answer is told; no part of a study's identity, because no result depends on it."""

    margin: str | float = DEFAULT
    """The difference in the metric that would make someone change their mind: in per cent of the
    best, or in the metric's unit (0.01, or '0.01 m')."""

    @field_validator("margin", mode="before")
    @classmethod
    def _above_zero(cls, margin: Any) -> Any:
        Margin.parse(margin)
        return margin

    def delta(self) -> Margin:
        return Margin.parse(self.margin)

    def check(self, metric: str) -> None:
        """Raises ValueError for metres where the deciding metric has no unit."""
        if self.delta().unit == "m" and metric in WITHOUT_UNIT:
            raise ValueError(
                f"answer.margin must have the unit of '{metric}', which has none, but got"
                f" '{self.delta()}'; write it in per cent, or as a bare number."
            )
