"""`[train]` of a study file: how a point is trained. Exact definitions: docs/training.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from weightsearch.study.spec_fields import Count, Part, Positive, Seed
from weightsearch.study.tables import init_spec, number_range
from weightsearch.study.tables.init_spec import Init
from weightsearch.study.tables.number_range import Range

ONECYCLE_WARM_UP = 0.3
"""OneCycleLR's own, in torch as in fastai."""
LATER = (
    *("schedule", "warm_up", "average", "decay"),
    *("encoder_lr", "freeze", "init", "amsgrad"),
)
"""Settings that older studies did not have: their defaults are in no digest."""


class TrainSpec(Part):
    """How one point is trained; the same for all but for what is searched."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Under adam and adamw a common factor of the weights changes nothing."""
    amsgrad: bool = False
    """Of adam and adamw: the largest second moment so far instead of the latest (DenseDepth)."""
    lr: Positive | Annotated[tuple[Positive, ...], Field(min_length=1)] | Range = 1e-4
    """The largest of the schedule; a list or a range ({ low, high, log }) is searched."""
    schedule: Literal["constant", "onecycle", "cosine"] = "constant"
    """What the lr does over the steps of a run, from its first to its last."""
    warm_up: Annotated[float, Field(ge=0, lt=1)] | None = None
    """The share of a run's steps in which the lr rises. Left out: 0.3 of onecycle, else 0."""
    encoder_lr: Positive = 1.0
    """The encoder's lr as a ratio of lr."""
    freeze: int | Literal["all"] = 0
    """For so many epochs the encoder stays as it is, in evaluation mode."""
    average: Literal["none", "ema"] = "none"
    """ema: what is validated and kept is an exponential moving average of the weights."""
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """Of the average, in a step; less in the first steps."""
    init: Init | None = None
    """A checkpoint of one's own to start from: its folder or a file in it, relative to the study
    file."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Coupled (L2) under adam and sgd, decoupled under adamw."""
    clip_norm: Positive | None = None
    """The gradient's norm is cut to this; the scale of the weights then matters."""
    batch: Count = 8
    """Images in a step."""
    epochs: Count = 5
    """Of a run of the search; a promotion has its own."""
    patience: Count | None = None
    """Stop after this many epochs without a better validation metric."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 autocast where the device computes it natively, else fp32."""
    augment: tuple[Literal["mirror", "channels"], ...] = ("mirror", "channels")
    """What is done to training images at random: mirrored; colour channels permuted."""
    seed: Seed = 0
    """Initialisation and data order; the same for every point."""

    @field_validator("lr", mode="before")
    @classmethod
    def _lr_as_range(cls, lr: Any) -> Any:
        found = number_range.read(lr)
        if not isinstance(found, Range):
            return found
        if found.low <= 0:
            raise ValueError(f"`low` must be above 0, but got {found.low:g}.")
        # Never whole numbers, however they are written.
        return found.model_copy(update={"low": float(found.low), "high": float(found.high)})

    @field_validator("freeze", mode="before")
    @classmethod
    def _epochs_or_all(cls, freeze: Any) -> Any:
        if freeze != "all" and (type(freeze) is not int or freeze < 0):
            raise ValueError(f"`freeze` must be a number of epochs or 'all', but got {freeze!r}.")
        return freeze

    @field_validator("init", mode="before")
    @classmethod
    def _checkpoint(cls, init: Any) -> Any:
        return init_spec.read(init)

    @model_validator(mode="after")
    def _does_what_it_says(self) -> TrainSpec:
        """Refuses what would change a digest and nothing else."""
        if self.amsgrad and self.optimizer == "sgd":
            raise ValueError("`amsgrad` is of adam and adamw, but `optimizer` is 'sgd'.")
        if self.average == "none" and self.decay != _default("decay"):
            raise ValueError("`decay` is of average = 'ema', but `average` is 'none'.")
        if self.freeze == "all" and self.encoder_lr != 1:
            raise ValueError(
                "`encoder_lr` is of an encoder that is trained, but freeze = 'all' trains none of"
                " it; leave one of them out."
            )
        return self

    def warm_up_share(self) -> float:
        if self.warm_up is not None:
            return self.warm_up
        return ONECYCLE_WARM_UP if self.schedule == "onecycle" else 0.0

    def check_epochs(self, epochs: Mapping[str, int]) -> None:
        """Raises ValueError where a run (its epochs by setting) ends before `freeze` does."""
        for setting, count in epochs.items():
            if self.freeze != "all" and self.freeze > count:
                raise ValueError(
                    f"train.freeze must be at most {setting}, but got {self.freeze} and {count};"
                    " freeze = 'all' is for a whole run."
                )

    def identity(self) -> dict[str, Any]:
        """What of it is in a study's digest, as JSON types."""
        facts = self.model_dump(mode="json")
        for name in LATER:
            if getattr(self, name) == _default(name):
                del facts[name]
        if self.init is not None:
            facts["init"] = self.init.sha256
        return facts


def _default(name: str) -> Any:
    return TrainSpec.model_fields[name].default
