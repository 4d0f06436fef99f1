"""The table [pruner] of a study file: which configurations are trained on after each look."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from weightsearch.study.spec_fields import Count, Part

MOST_LOOKS = 4


class PrunerSpec(Part):
    """Which configurations go on, and when that is decided."""

    kind: Literal["none", "racing", "rungs"] = "none"
    """racing: over repeats. rungs: over the first epochs of the first repeat, then racing."""
    looks: Annotated[int, Field(ge=1, le=MOST_LOOKS)] = MOST_LOOKS
    """At most so many decisions; the level of racing is spent over them."""
    audit: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The share of dropped configurations that are trained on all the same, to see how often one
    was really better."""
    rungs: tuple[Count, ...] = ()
    """The epochs at which a run of the first repeat is judged before its end (train.epochs)."""
    keep: Annotated[float, Field(gt=0, le=1)] = 1 / 3
    """At least this share goes on from each rung."""

    @model_validator(mode="after")
    def _rungs_of_this_kind(self) -> PrunerSpec:
        if (self.kind == "rungs") != bool(self.rungs):
            raise ValueError(
                "`rungs` must name epochs where the kind is 'rungs', and only there, but got kind"
                f" = '{self.kind}' and rungs = {list(self.rungs)}."
            )
        if list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"`rungs` must grow, but got {list(self.rungs)}.")
        if len(self.rungs) > self.looks:
            raise ValueError(
                f"`rungs` must not be more than the looks, but got {len(self.rungs)} rungs and"
                f" looks = {self.looks}; leave rungs out."
            )
        return self

    def check(self, epochs: int) -> None:
        """Raises ValueError where a rung is not below the epochs of a whole run."""
        if self.rungs and self.rungs[-1] >= epochs:
            raise ValueError(
                f"pruner.rungs must be below train.epochs = {epochs}, but got {list(self.rungs)};"
                " the last stage is the whole run."
            )

    def stages(self, epochs: int) -> tuple[int, ...]:
        """The epochs at the end of each stage."""
        return (*self.rungs, epochs)
