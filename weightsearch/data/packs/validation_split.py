"""Which frames of a pack train, and which validate."""

from __future__ import annotations

from weightsearch.data.packs.layout import Pack
from weightsearch.study.spec import StudySpec


def split_frames(
    native: Pack, spec: StudySpec, fold: int | None = None
) -> tuple[list[int], list[int]]:
    """Places within the training frames to train on, and frames of the pack to validate on: those
    of the fold, by default the first, where `data.val` has several."""
    from weightsearch.data.frames import split

    assert spec.data is not None
    frames = native.indices("train")
    groups = [native.groups[i] for i in frames]
    # By the study's seed, not the run's: fresh seeds of a promotion are compared on these frames.
    train, val = split.chosen(groups, spec.data, spec.train.seed, fold or 0)
    return train, [frames[k] for k in val]
