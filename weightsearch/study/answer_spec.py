"""The table [answer] of a study file: how its results are told."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from weightsearch.stats.margin import DEFAULT, Margin
from weightsearch.study.spec_fields import Part

WITHOUT_UNIT = ("rel", "log10", "rmse_log", "silog", "delta1", "delta2", "delta3")
"""Of the metrics of depth; the others are in metres."""


class AnswerSpec(Part):
    """How the answer is found and told; of it only `repeats` is part of a study's identity, because
    no result depends on the rest."""

    margin: str | float = DEFAULT
    """The difference in the metric that would make someone change their mind: in per cent of the
    best, or in the metric's unit (0.01, or '0.01 m')."""
    repeats: Annotated[int, Field(ge=1, le=100)] = 1
    """How often each configuration is trained, each time with another seed, and scored on another
    fold where `data.val` has folds; repeat r has the same ones for all of them."""

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
