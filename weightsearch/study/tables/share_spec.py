"""The table [share] of a study file: whether configurations share the start of their training."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from weightsearch.study.known_names import CHOOSING
from weightsearch.study.spec_fields import Part
from weightsearch.study.tables.train_spec import TrainSpec

FEWEST = 8
"""Configurations of a pilot, of each combination of choices."""
OF_TRUNKS, OF_PILOTS = ("fraction", "moments"), ("pilot", "tau")


class Form(IntEnum):
    """How a run of a study with [share] is trained: its `stage` in the ledger. Only runs of one
    form compare."""

    SCRATCH = 0
    """Whole, as without [share]."""
    TRUNK = 1
    """With equal weights, for the first share of the epochs."""
    SHARED = 2
    """The rest of a run from a trunk's end on; or, whole, with a frozen encoder."""


class ShareSpec(Part):
    """Whether configurations share the start of their training, if a pilot allows it."""

    kind: Literal["none", "trunk", "frozen"] = "none"
    """trunk: runs fork from one that is trained with equal weights. frozen: the encoder stays as it
    was pretrained. Finalists are trained from scratch, whatever the kind."""
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Of the epochs, those of the trunk."""
    moments: Literal["reset", "kept"] = "reset"
    """The optimizer's, where a run forks."""
    pilot: Annotated[int, Field(ge=FEWEST)] = FEWEST
    """So many configurations of each combination of choices are trained both ways."""
    tau: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The rest is trained in the shared form where Kendall's tau of the pilot is at least this."""

    @model_validator(mode="after")
    def _of_this_kind(self) -> ShareSpec:
        fields = type(self).model_fields
        given = [n for n in OF_TRUNKS if getattr(self, n) != fields[n].default]
        unused = [n for n in OF_PILOTS if getattr(self, n) != fields[n].default]
        if unused and self.kind == "none":
            raise ValueError(
                f"`{unused[0]}` is of studies that share, but got kind = 'none'; say kind = 'trunk'"
                " or 'frozen', or leave it out."
            )
        if given and self.kind != "trunk":
            raise ValueError(
                f"`{given[0]}` is of kind = 'trunk', but got kind = '{self.kind}'; leave it out."
            )
        return self

    def trunk_epochs(self, epochs: int) -> int:
        """Those that a run of so many has from its trunk."""
        return round(self.fraction * epochs) if self.kind == "trunk" else 0

    def form(self, stage: int) -> Form:
        """How a run of that stage is trained."""
        return Form.SCRATCH if self.kind == "none" else Form(stage)

    def check(
        self, train: TrainSpec, pruner: str, sampler: str, learned: bool, ranges: bool
    ) -> None:
        """Raises ValueError where the study's other tables do not let it share: its pruner and
        sampler by their kinds, and whether weightings are learned and ranges searched."""
        if self.kind == "none":
            return
        rules = {
            "needs pruner.kind = 'none', as looks would drop by the values of one form; leave one"
            " of them out.": pruner != "none",
            "needs fixed weights: a learned weighting has no trunk; leave loss.weightings out.": (
                learned
            ),
            f"needs points that are known beforehand, but sampler '{sampler}' chooses them later;"
            " take grid, random or qmc.": sampler in CHOOSING,
            "needs runs of the same choices, which numbers of a range are not; list them.": ranges,
            "needs runs of one length; leave train.patience out.": train.patience is not None,
            "needs an encoder that is trained otherwise, but train.freeze is 'all'.": (
                self.kind == "frozen" and train.freeze == "all"
            ),
        }
        for rule, is_broken in rules.items():
            if is_broken:
                raise ValueError(f"share.kind = '{self.kind}' {rule}")
        trunk = self.trunk_epochs(train.epochs)
        if self.kind == "trunk" and not 0 < trunk < train.epochs:
            raise ValueError(
                "share.fraction must leave epochs to the trunk and to the runs that fork from it,"
                f" but {self.fraction:g} of train.epochs = {train.epochs} makes {trunk}; raise the"
                " epochs."
            )

    def identity(self) -> dict[str, Any]:
        """What of it is in a study's digest; nothing where nothing is shared."""
        return {} if self.kind == "none" else {"share": self.model_dump(mode="json")}
