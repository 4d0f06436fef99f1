"""What the commands that measure a network answer: JSON-ready dicts, which `show_model.py` prints
for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weightsearch import config, names


def robustness(
    checkpoint: Path,
    data: Path | None,
    protocol: str,
    split: str,
    reader: str | None,
    options: Mapping[str, config.Value],
    limit: int | None,
    device: str,
    quiet: bool,
) -> dict[str, Any]:
    """How a checkpoint's accuracy falls when its pictures get worse.

    The data and the kind of ground truth are chosen as `evaluate` chooses them. Raises ConfigError,
    DataError and CheckpointError.
    """
    from weightsearch.data import pack, readers
    from weightsearch.depth import checkpoint as saved
    from weightsearch.depth import robustness as measuring
    from weightsearch.depth.protocols import PROTOCOLS
    from weightsearch.launch import devices
    from weightsearch.launch.progress import display

    names.check("protocol", protocol)
    trained = saved.data_spec(checkpoint)
    reader = reader or (trained.source if data is None else readers.detect(data))
    known = trained.options if trained.source == reader else {}
    judged = readers.judging(reader, known, PROTOCOLS[protocol].ground_truth)
    packed = pack.ensure(reader, data, {**judged, **options}, config.home())
    placed = devices.pick(device, 1)[0]
    with display("evaluating", quiet) as shown:
        return measuring.measure(
            checkpoint,
            packed,
            protocol,
            split,
            placed,
            limit,
            lambda done, total: shown.count(done, total, "evaluations"),
        )
