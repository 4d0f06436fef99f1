"""The table [nightly] of a study file: what is repeated each night, and judged.

Canaries are configurations that never change, each with the same seeds every night: when their
metrics move, the code did it, or the machine. The search may find another best every night.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from weightsearch.errors import did_you_mean
from weightsearch.study import weight_presets
from weightsearch.study.spec_fields import Part, Seed, Value, Weights


class CanarySpec(Part):
    """A configuration that is trained again every night."""

    name: Annotated[str, Field(pattern=r"^[\w][\w.+-]*$")]
    """What its results are stored and shown under: letters, digits and . _ + -."""
    weights: Weights | str
    """A table, or a name of `study/weight_presets.py`."""
    params: dict[str, Value] = Field(default_factory=dict)
    """One value for each choice of the study that is a list: encoder, lr, ..."""


class NightlySpec(Part):
    """Canaries, their seeds, and how much is searched each night."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=3)]
    """Of every canary. Their spread is the band: 3 leave it seven times as wide as 8."""
    canaries: Annotated[tuple[CanarySpec, ...], Field(min_length=1)]
    """The configurations that are judged."""
    trials: Annotated[int, Field(ge=0)] = 0
    """Points of the study's search each night; 0: only the canaries."""

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"`seeds` must be distinct, but got {list(seeds)}.")
        return seeds

    @model_validator(mode="after")
    def _named_once(self) -> NightlySpec:
        names = [canary.name for canary in self.canaries]
        if len(set(names)) != len(names):
            raise ValueError(f"canaries must have names of their own, but got {names}.")
        return self

    def check(self, terms: Sequence[str]) -> None:
        """Raises ValueError for weights that are none of the study's loss."""
        for canary in self.canaries:
            weights: dict[str, Any] = weight_presets.tables(canary.weights, terms)
            for term in weights:
                if term not in terms:
                    raise ValueError(
                        f"nightly.canaries: weight of '{canary.name}' for unknown term '{term}';"
                        f" {did_you_mean(term, terms)}"
                    )
            if not any(weights.values()):
                raise ValueError(
                    f"nightly.canaries: at least one weight of '{canary.name}' must be above 0."
                )
