"""Which frames of a pack train, and which validate."""

from __future__ import annotations

from weightsearch.data.packs.layout import Pack
from weightsearch.study.spec import StudySpec


def split_frames(native: Pack, spec: StudySpec) -> tuple[list[int], list[int]]:
    """Places within the training frames to train on, and frames of the pack to validate on."""
    from weightsearch.data.frames import split

    assert spec.data is not None
    frames = native.indices("train")
    groups = [native.groups[i] for i in frames]
    kept = list(range(len(frames)))
    if spec.data.limit is not None and spec.data.limit < len(frames):
        kept = split.subset(groups, spec.data.limit)
    # By the study's seed, not the run's: fresh seeds of a promotion are compared on these frames.
    train, val = split.validation([groups[k] for k in kept], spec.data.val, spec.train.seed)
    return [kept[k] for k in train], [frames[kept[k]] for k in val]
