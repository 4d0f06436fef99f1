"""The table [data] of a study file: which frames, and which of them are held out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from weightsearch.study import known_names
from weightsearch.study.spec_fields import Count, Part, Positive, Value

MOST_FOLDS = 50
LEAST_SIDE = 32


def folds_of(val: str) -> int | None:
    """K of 'folds:K'; None where `val` is no division. Raises ValueError."""
    kind, _, count = val.partition(":")
    if kind != "folds":
        return None
    if not (count.isascii() and count.isdecimal()) or not 2 <= int(count) <= MOST_FOLDS:
        raise ValueError(
            f"`val` must read 'folds:K' with K from 2 to {MOST_FOLDS}, but got '{val}'."
        )
    return int(count)


class DataSpec(Part):
    """Which frames, at which size, in which representation."""

    source: str
    """A reader: a key of `weightsearch.data.readers.registry.READERS`."""
    path: Path | None = Field(default=None, exclude=True)
    """Where the data set lies on this machine, relative to the study file; `--data` takes
    precedence. Of this machine only: what is excluded here is neither stored nor in a digest."""
    size: tuple[Annotated[int, Field(ge=LEAST_SIDE)], Annotated[int, Field(ge=LEAST_SIDE)]]
    """Input height and width in pixels; the output is half of it."""
    target: Literal["depth", "inverse", "log"] = "depth"
    """What the loss compares: d, max_depth_m / d, or ln d, but for terms that are always of one of
    them (`depth/loss/weighted_sum.py`). Metres in, metres out in any case."""
    val: str = "blocks:10%"
    """Which training frames are held out for validation, by scene or block, never by frame: a share
    ('blocks:10%'), or each in its turn ('folds:5': repeat r is scored on fold r)."""
    min_depth_m: Positive = 0.1
    """Training leaves out ground truth that is nearer."""
    max_depth_m: Positive = 10.0
    """Left out: the range of the reader, 80 m for KITTI (`known_names.FARTHEST_M`)."""
    limit: Count | None = None
    """At most this many frames for training and validation, whole blocks evenly spread."""
    options: dict[str, Value] = Field(default_factory=dict)
    """Options of the reader; they are part of the pack's identity."""

    @model_validator(mode="before")
    @classmethod
    def _range_of_the_reader(cls, table: Any) -> Any:
        if not isinstance(table, dict) or "max_depth_m" in table:
            return table
        options = table.get("options")
        reach_m = known_names.farthest_m(
            str(table.get("source")), options if isinstance(options, dict) else {}
        )
        return {**table, "max_depth_m": reach_m}

    @field_validator("size", mode="before")
    @classmethod
    def _two_sides(cls, size: Any) -> Any:
        sides = size if isinstance(size, list | tuple) else ()
        whole = [side for side in sides if isinstance(side, int) and side >= LEAST_SIDE]
        if len(sides) != 2 or len(whole) != 2:
            raise ValueError(
                f"must be [height, width] in pixels, each at least {LEAST_SIDE}, but got {size!r}."
            )
        return size

    @model_validator(mode="after")
    def _in_order(self) -> DataSpec:
        if self.min_depth_m >= self.max_depth_m:
            raise ValueError(
                f"`min_depth_m` must be below `max_depth_m`, but got {self.min_depth_m:g} and"
                f" {self.max_depth_m:g}."
            )
        return self

    @field_validator("val")
    @classmethod
    def _by_blocks(cls, val: str) -> str:
        if folds_of(val) is not None:
            return val
        kind, _, share = val.partition(":")
        try:
            percent = float(share.removesuffix("%"))
        except ValueError:
            percent = 0.0
        if kind != "blocks" or not share.endswith("%") or not 0 < percent <= 50:
            raise ValueError(
                f"`val` must read 'blocks:P%' with 0 < P <= 50, or 'folds:K', but got '{val}'."
            )
        return val

    def folds(self) -> int | None:
        """Into how many the frames are divided; None where they are not."""
        return folds_of(self.val)
