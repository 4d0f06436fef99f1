"""What the commands about pretrained weights answer: JSON-ready dicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightsearch.errors import WeightsError

if TYPE_CHECKING:
    from weightsearch.depth.network.weight_sources import Source, TimmEncoder


def sources(names: Sequence[str]) -> dict[str, Any]:
    """Where these encoders' weights would come from, one row each; `place` is None, and `reason`
    says why, where they cannot be had. Without names, of all whose weights are on this machine.

    Raises ConfigError for a name that timm does not know.
    """
    from weightsearch.depth.network import weight_sources

    if names:
        return {"weights": [_row(weight_sources.encoder_of(name)) for name in names]}
    local = weight_sources.all_here()
    return {"weights": [_said(encoder, source) for encoder, source in local]}


def fetched(names: Sequence[str], folder: Path, quiet: bool) -> dict[str, Any]:
    """Writes these encoders' weights into the folder; the answer is `sources`'s.

    Raises ConfigError for a name that timm does not know, before anything is written, and
    WeightsError where weights cannot be had.
    """
    from weightsearch.depth.network import weight_fetching, weight_sources
    from weightsearch.launch.display.progress import display

    encoders = [weight_sources.encoder_of(name) for name in names]
    with display("fetching", quiet) as shown:
        rows = [
            _said(encoder, weight_fetching.fetch(encoder, folder, shown.say))
            for encoder in encoders
        ]
    return {"weights": rows}


def _row(encoder: TimmEncoder) -> dict[str, Any]:
    from weightsearch.depth.network import weight_fetching, weight_sources

    try:
        source = weight_sources.find(encoder)
    except WeightsError as error:
        return {"encoder": encoder.name, "place": None, "reason": str(error)}
    row = _said(encoder, source)
    if source.path is None and row["sha256"] is None:
        row["sha256"] = weight_fetching.hub_sha256(encoder)
    return row


def _said(encoder: TimmEncoder, source: Source) -> dict[str, Any]:
    path = None if source.path is None else str(source.path)
    return {"encoder": encoder.name, "place": source.place, "path": path, **asdict(source.origin)}
