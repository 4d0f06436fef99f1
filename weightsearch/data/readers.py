"""The readers by name. Each opens one layout of files as a `Source`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from weightsearch.config import Value
from weightsearch.data import nyu_csv, nyu_labeled, synthetic
from weightsearch.data.source import GroundTruth, Source, one_per_name
from weightsearch.errors import ConfigError, DataError, did_you_mean

READERS: dict[str, Callable[[Path | None, Mapping[str, Value]], Source]] = {
    "nyu_labeled": nyu_labeled.open_source,
    "nyu_csv": nyu_csv.open_source,
    "synthetic": synthetic.open_source,
}

GROUND_TRUTHS: dict[str, dict[GroundTruth, dict[str, Value]]] = {
    "nyu_labeled": {"raw": {"depths": "raw"}, "filled": {"depths": "filled"}},
}
"""The options under which a reader gives a kind of ground truth, where it has a choice."""


def judging(
    reader: str, options: Mapping[str, Value], wanted: GroundTruth | None
) -> dict[str, Value]:
    """The options for data to evaluate on: with the ground truth that a protocol is meant for,
    where the reader can give it."""
    kinds = GROUND_TRUTHS.get(reader, {})
    return {**options, **(kinds.get(wanted, {}) if wanted else {})}


def open_source(reader: str, path: Path | None, options: Mapping[str, Value]) -> Source:
    """The data set at `path`; close it when done.

    Raises ConfigError for an unknown reader or option, DataError for files that are missing,
    damaged or of another layout.
    """
    if reader not in READERS:
        raise ConfigError(f"unknown reader '{reader}'; {did_you_mean(reader, READERS)}")
    source = READERS[reader](path, options)
    try:
        one_per_name(path, source.frames)
    except BaseException:
        source.close()
        raise
    return source


def detect(path: Path | None) -> str:
    """The reader whose layout lies at `path`, by names alone; without a path, the synthetic one.

    Raises DataError where there is nothing, or nothing known.
    """
    if path is None:
        return "synthetic"
    if not path.exists():
        raise DataError(f"{path}: must be a data set, but there is no such file or folder.")
    for reader, recognises in (
        ("nyu_labeled", nyu_labeled.recognises),
        ("nyu_csv", nyu_csv.recognises),
    ):
        if recognises(path):
            return reader
    raise DataError(
        f"{path}: must be {nyu_labeled.FILE}, nyu_data.zip, or the folder of either, but is none of"
        f" them; name its reader ({', '.join(READERS)})."
    )
