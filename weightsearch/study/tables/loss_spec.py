"""`[loss]` of a study file: the terms, and the weights and weightings to try."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from weightsearch.errors import did_you_mean
from weightsearch.study import learned_weightings, weight_presets
from weightsearch.study.learned_weightings import WarmUp
from weightsearch.study.spec_fields import Count, Part, Weights


class Cube(Part):
    """Every combination of the levels, one level per term; the zero point is left out."""

    grid: Literal["cube"]
    """Which grid it is."""
    levels: tuple[Annotated[float, Field(ge=0)], ...] = Field(min_length=1)
    """The weights that each term may have."""


class Simplex(Part):
    """Every vector of multiples of 1/steps that sums to 1."""

    grid: Literal["simplex"]
    """Which grid it is."""
    steps: Count
    """Into how many parts the whole is divided: 6 has weights 0, 1/6, ..., 1."""


class LossSpec(Part):
    """The terms of the loss and the weights to try."""

    terms: tuple[str, ...] = ("mae", "edge", "ssim")
    """Names of the terms (docs/losses.md), or those of an own objective."""
    weights: Cube | Simplex | Weights | tuple[Weights, ...]
    """A grid; or one or several tables or names of `weight_presets.py`, kept as their tables."""
    directions: bool | None = None
    """Whether a common factor of the weights changes nothing. Left out: derived from `[train]`."""
    weightings: tuple[str, ...] = ()
    """Rules that weigh the terms anew while a point trains, each tried beside the weights:
    `depth/loss/weightings.py`, or those of an own objective."""
    warm_up: WarmUp | None = None
    """Of the weighting 'warm-up'."""

    @field_validator("weights", mode="before")
    @classmethod
    def _one_form(cls, weights: Any, so_far: ValidationInfo) -> Any:
        # Chosen here, so that a mistake is reported for the form that was meant, not for all four.
        if isinstance(weights, dict) and "grid" in weights:
            forms: dict[str, type[Part]] = {"cube": Cube, "simplex": Simplex}
            if weights["grid"] not in forms:
                raise ValueError(
                    f"unknown grid '{weights['grid']}'; {did_you_mean(str(weights['grid']), forms)}"
                )
            return forms[weights["grid"]].model_validate(weights)
        return weight_presets.tables(weights, so_far.data.get("terms", ()))

    @field_validator("warm_up", mode="before")
    @classmethod
    def _named_directions(cls, warm_up: Any, so_far: ValidationInfo) -> Any:
        return learned_weightings.written_out(warm_up, so_far.data.get("terms", ()))

    @model_validator(mode="after")
    def _known_terms(self) -> LossSpec:
        if len(set(self.terms)) != len(self.terms) or not self.terms:
            raise ValueError(f"`terms` must be distinct and at least one, but got {self.terms}.")
        ends = (self.warm_up.start, self.warm_up.end) if self.warm_up else ()
        for vector in (*self.vectors(), *ends):
            for term in vector:
                if term not in self.terms:
                    raise ValueError(
                        f"weight for unknown term '{term}'; {did_you_mean(term, self.terms)}"
                    )
            if not any(vector.values()):
                raise ValueError("at least one weight must be above 0, but all are 0.")
        if isinstance(self.weights, Cube) and not any(self.weights.levels):
            raise ValueError("at least one level must be above 0, but all are 0.")
        learned_weightings.check(self.weightings, self.warm_up, self.terms)
        return self

    def vectors(self) -> tuple[Weights, ...]:
        """The weight vectors that are written out; none where a grid is named."""
        if isinstance(self.weights, Cube | Simplex):
            return ()
        return self.weights if isinstance(self.weights, tuple) else (self.weights,)
