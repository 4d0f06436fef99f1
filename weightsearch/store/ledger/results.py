"""What one run of a point brought, as `points.result` keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from weightsearch.runtime.stored_json import known
from weightsearch.store.tables.states import Outcome


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one epoch over the frames of one split."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """Finite ones only: JSON has no NaN."""
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Per metric one value per image, of what is compared: the deciding metric and the guards."""
    groups: Sequence[str] = ()
    """The scene of each image."""
    images: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    """What else the objective says, as it said it."""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Evaluation:
        return cls(**known(cls, stored))


@dataclass(frozen=True)
class Result:
    """The best epoch of a run, and how the run was made. One that diverged has no metrics."""

    outcome: Outcome
    validation: Evaluation
    test: Evaluation | None = None
    """Of a promotion, where the objective has a test split."""
    reason: str | None = None
    """Why it diverged."""
    epoch: int | None = None
    """The best one, from 1."""
    epochs: int | None = None
    """How many there were."""
    folder: str | None = None
    """Of its checkpoints; None where the objective has written none."""
    seconds: float = 0.0
    device: str = ""
    host: str | None = None
    attempt: int = 1
    shrink: int = 0
    """How often it had run out of memory before."""
    commit: str | None = None
    """Of the code; None where it was not run from a checkout."""
    versions: Mapping[str, str] | None = None
    """Of what it was computed with."""
    shared: Mapping[str, Any] | None = None
    """Of a run of a study with [share] that is not from scratch: its `form` (forked, trunk, frozen
    encoder), the `epochs` of its trunk, and `trunk_anew` where it trained these itself."""

    @property
    def form(self) -> str:
        """`from scratch`, `frozen encoder`, `forked after 2 epochs, moments reset`: only runs of
        one form compare."""
        facts = self.shared or {"form": "from scratch"}
        told = (
            f"{facts['form']} after {facts['epochs']} epochs"
            if "epochs" in facts
            else facts["form"]
        )
        return f"{told}, moments {facts['moments']}" if "moments" in facts else str(told)

    @property
    def metrics(self) -> Mapping[str, float]:
        return self.validation.metrics

    @property
    def samples(self) -> Mapping[str, Sequence[float]]:
        return self.validation.samples

    @property
    def groups(self) -> Sequence[str]:
        return self.validation.groups

    @property
    def images(self) -> int | None:
        return self.validation.images

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Result:
        return cls(
            **known(cls, stored)
            | {
                "outcome": Outcome(stored.get("outcome", Outcome.DONE)),
                "validation": Evaluation.from_json(stored),
                "test": Evaluation.from_json(stored["test"]) if stored.get("test") else None,
            }
        )
