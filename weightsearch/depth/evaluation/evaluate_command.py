"""`weightsearch evaluate`: a checkpoint or a folder of predictions, on data sets, by protocols."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightsearch.data.frames.source import GroundTruth
from weightsearch.data.packs import building
from weightsearch.data.readers import registry
from weightsearch.depth.evaluation import prediction_files, scoring
from weightsearch.depth.evaluation.prediction_files import Files
from weightsearch.depth.evaluation.protocols import PROTOCOLS, Shows
from weightsearch.depth.evaluation.scoring import Scores
from weightsearch.depth.network import checkpoint
from weightsearch.errors import ConfigError, DataError
from weightsearch.runtime import devices
from weightsearch.runtime.home import home_folder
from weightsearch.stats import comparison
from weightsearch.study import known_names
from weightsearch.study.spec_fields import Value


@dataclass(frozen=True)
class Question:
    """What is scored, and how. Either a checkpoint or a folder of predictions."""

    checkpoint: Path | None
    predictions: Path | None
    protocols: Sequence[str] = ("full",)
    split: str = "test"
    reader: str | None = None
    options: Mapping[str, Value] | None = None
    partial: bool = False
    align: str = "none"
    size: tuple[int, int] | None = None
    """What the network is given (height, width); None means what it was trained at."""
    details: bool = False
    device: str = "auto"
    unit: str | None = None
    """Of predictions: what their numbers are."""
    shows: Shows | None = None
    """Of predictions: the whole picture, or the part that a protocol cuts out."""


Answer = tuple[dict[str, Any], Scores]
"""As JSON, and in full."""


def evaluations(
    asked: Question, data: Sequence[Path | None]
) -> list[tuple[dict[str, Any], Scores]]:
    """What each protocol says on each data set: JSON-ready, and in full.

    Without a reader it is found out from the data, and without data (None) it is the one that the
    checkpoint was trained on. Of an alignment the raw numbers come first, where there are metres.
    The ground truth is of the kind that the protocol is meant for, where
    the reader can give it and the options do not say otherwise. Of several protocols those that
    do not suit a data set are left out there, and named. Raises ConfigError and DataError.
    """
    for protocol in asked.protocols:
        known_names.check("protocol", protocol)
    _check_split(asked.split)
    _check_predictions(asked)
    if asked.predictions is not None and len(data) > 1:
        raise ConfigError("one folder of predictions belongs to one data set; give --data once.")
    if asked.predictions is not None and asked.size is not None:
        raise ConfigError(
            "--size is what a network is given; predictions have theirs: leave it out."
        )
    found = []
    for path in data:
        unsuited: list[DataError] = []
        here = []
        for protocol in asked.protocols:
            try:
                here += _evaluation(asked, path, protocol)
            except scoring.UnsuitedError as error:
                unsuited.append(error)
        if not here:
            raise unsuited[0]
        for answer, _ in here:
            answer["notes"] += [f"left out: {error}" for error in unsuited]
        found += here
    return found


def _reader(asked: Question, path: Path | None) -> tuple[str, Mapping[str, Value]]:
    """The reader, and the options that the checkpoint was trained with where it is the same."""
    trained = None if asked.checkpoint is None else checkpoint.data_spec(asked.checkpoint)
    reader = asked.reader
    if reader is None and path is not None:
        reader = registry.detect(path, asked.options or {})
    if reader is None:
        if trained is None:
            raise DataError(
                "predictions must be compared with something; name the data with --data."
            )
        reader = trained.source
    return reader, trained.options if trained is not None and trained.source == reader else {}


def packed(asked: Question, path: Path | None, wanted: GroundTruth | None) -> tuple[str, Path]:
    """The reader, and the pack with the ground truth that is wanted, where it can be had."""
    reader, known = _reader(asked, path)
    options = {**registry.judging(reader, known, wanted), **(asked.options or {})}
    return reader, building.ensure(reader, path, options, home_folder())


def dispute(asked: Question, path: Path | None, out: Path, most: int) -> dict[str, Any]:
    """See `disputed_frames.py`: against raw ground truth, with the in-painted beside it, where the
    reader has both."""
    from weightsearch.depth.evaluation.disputed_frames import disputes

    assert asked.checkpoint is not None
    _check_split(asked.split)
    device = devices.pick(asked.device, 1)[0]
    network = checkpoint.network(asked.checkpoint, device)
    reader, raw = packed(asked, path, "raw")
    with contextlib.ExitStack() as stack:
        judged = stack.enter_context(building.Pack(raw))
        filled = None
        if reader in registry.GROUND_TRUTHS:
            filled = stack.enter_context(building.Pack(packed(asked, path, "filled")[1]))
        size = network.data.size
        found = disputes(network, size, judged, filled, asked.split, out, most, device)
        return {"ground_truth": judged.ground_truth, "split": asked.split, **found}


def _check_split(split: str) -> None:
    if split not in ("train", "test"):
        raise ConfigError(f"--split must be test or train, but got '{split}'.")


def _check_predictions(asked: Question) -> None:
    if asked.shows not in (None, "whole", "part"):
        raise ConfigError(f"--shows must be whole or part, but got '{asked.shows}'.")
    if asked.predictions is None and (asked.unit or asked.shows):
        raise ConfigError(
            "--unit and --shows are about predictions; a checkpoint's are metres of the whole"
            " picture: leave them out."
        )


def _evaluation(asked: Question, path: Path | None, protocol: str) -> list[Answer]:
    reader, whole = packed(asked, path, PROTOCOLS[protocol].ground_truth)
    with building.Pack(whole) as opened:
        if asked.checkpoint is not None:
            scores = scoring.evaluate_checkpoint(
                asked.checkpoint,
                opened,
                protocol,
                asked.split,
                devices.pick(asked.device, 1)[0],
                asked.align,
                asked.size,
                asked.details,
            )
        else:
            assert asked.predictions is not None
            files = Files(asked.predictions, asked.unit, asked.shows, asked.partial)
            scores = prediction_files.evaluate_predictions(
                files, opened, protocol, asked.split, asked.align, asked.details
            )
    data = str(path) if path is not None else reader
    both = [scores] if scores.raw is None else [scores.raw, scores]
    return [(_answer(one, data, reader, asked.split), one) for one in both]


def _answer(scores: Scores, data: str, reader: str, split: str) -> dict[str, Any]:
    answer = {
        "data": data,
        "reader": reader,
        "protocol": scores.protocol,
        "alignment": scores.alignment,
        "split": split,
        **scores.provenance,
        "images": len(scores.names),
        "groups": len(set(scores.groups)),
        "metrics": scores.metrics(),
        "intervals": {
            name: comparison.interval(values, scores.groups)
            for name, values in scores.per_image.items()
        },
        "ground_truth": scores.ground_truth,
        "skipped": list(scores.skipped),
        "missing": scores.missing,
        "notes": list(scores.notes),
    }
    if scores.details is not None:
        answer["details"] = scores.details.answer()
    return answer


def write_csv(file: Path, found: Sequence[Answer]) -> None:
    """A row per image, data set and protocol; raises DataError where it cannot be written."""
    columns = dict.fromkeys(name for _, scores in found for name in scores.per_image)
    columns |= dict.fromkeys(
        name for _, scores in found if scores.details for name in scores.details.edges
    )
    try:
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.writer(opened)
            writer.writerow(["data", "protocol", "alignment", "image", "group", "pixels", *columns])
            for answer, scores in found:
                values = scores.per_image | scores.edges()
                facts = [answer[name] for name in ("data", "protocol", "alignment")]
                for n, image in enumerate(scores.names):
                    numbers = [values[name][n] if name in values else "" for name in columns]
                    writer.writerow([*facts, image, scores.groups[n], scores.pixels[n], *numbers])
    except OSError as error:
        raise DataError(f"{file}: must be writable, but {error.strerror}.") from None
