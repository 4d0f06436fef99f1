"""What the commands that measure a network answer: JSON-ready dicts, which
`commands/printing/networks.py` prints for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from weightsearch.errors import ConfigError, StudyError
from weightsearch.report.evidence.ranking import RankedPoint, ranking, yardstick
from weightsearch.store.ledger import queries, studies
from weightsearch.study import known_names
from weightsearch.study import spec as config
from weightsearch.study.spec_fields import Value


def robustness(
    checkpoint: Path,
    data: Path | None,
    protocol: str,
    split: str,
    reader: str | None,
    options: Mapping[str, Value],
    limit: int | None,
    device: str,
    quiet: bool,
) -> dict[str, Any]:
    """How a checkpoint's accuracy falls when its pictures get worse.

    The data and the kind of ground truth are chosen as `evaluate` chooses them. Raises ConfigError,
    DataError and CheckpointError.
    """
    from weightsearch.depth.evaluation import evaluate_command
    from weightsearch.depth.evaluation import robustness as measuring
    from weightsearch.depth.evaluation.protocols import PROTOCOLS
    from weightsearch.launch.display.progress import display
    from weightsearch.runtime import devices

    known_names.check("protocol", protocol)
    asked = evaluate_command.Question(checkpoint, None, reader=reader, options=options)
    _, packed = evaluate_command.packed(asked, data, PROTOCOLS[protocol].ground_truth)
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


Size = tuple[int, int]
DEFAULT_SIZE = (240, 320)
FRONT = "float32"
"""The way of running whose latency, one picture at a time, stands beside a study's accuracy."""


@dataclass(frozen=True)
class BenchSettings:
    """How networks are measured; what is left empty is chosen."""

    sizes: Sequence[Size]
    device: str
    repeats: int
    modes: Sequence[str]
    batches: Sequence[int]
    quiet: bool


def bench(encoders: Sequence[str], decoder: str, how: BenchSettings) -> dict[str, Any]:
    """What the networks of these encoders cost. Raises ConfigError and DeviceError."""
    if not encoders:
        raise ConfigError("`bench` needs timm names of encoders, or --study NAME.")
    known_names.check("decoder", decoder)
    models = [config.ModelSpec(encoder=e, decoder=decoder, pretrained=False) for e in encoders]
    return _bench(models, replace(how, sizes=how.sizes or [DEFAULT_SIZE]))


def front(engine: Engine, study_name: str, how: BenchSettings) -> dict[str, Any]:
    """What each network of a study costs, beside the best that it reached, and which of them are on
    the front: no other is as accurate and as fast, and better in one of the two.

    At the study's own size, unless `how.sizes` say otherwise (the front is that of the first).
    Raises StudyError for a study without networks of ours, or without a finished point.
    """
    study = studies.find(engine, study_name)
    spec = study.spec
    if spec.data is None or spec.model is None:
        raise StudyError(
            f"study '{study.name}' must have [data] and [model] tables for its networks to be"
            " built, but trains an objective of its own."
        )
    best: dict[tuple[str, str], RankedPoint] = {}
    for row in ranking(spec, queries.done(engine, study)):
        chosen = [row.params.get(n, getattr(spec.model, n)) for n in ("encoder", "decoder")]
        best.setdefault((str(chosen[0]), str(chosen[1])), row)
    if not best:
        raise StudyError(f"study '{study.name}' must have a finished point, but has none.")
    models = [spec.model.model_copy(update={"encoder": e, "decoder": d}) for e, d in best]
    with_front = replace(
        how,
        sizes=how.sizes or [spec.data.size],
        modes=list(dict.fromkeys((FRONT, *how.modes))) if how.modes else (),
        batches=sorted({1, *how.batches}) if how.batches else (),
    )
    answer = _bench(models, with_front)
    rows = []
    for (encoder, decoder), point in best.items():
        (cost,) = (
            c
            for c in answer["costs"]
            if (c["encoder"], c["decoder"], c["mode"], c["batch"]) == (encoder, decoder, FRONT, 1)
            and c["size"] == answer["costs"][0]["size"]
        )
        rows.append(
            {
                "encoder": encoder,
                "decoder": decoder,
                "point": point.number,
                spec.objective.metric: point.value,
                "interval": list(point.interval) if point.interval else None,
                "images": point.images,
                "weights": dict(point.weights),
                "p50_ms": cost["p50_ms"],
                "size": cost["size"],
            }
        )
    metric, larger = spec.objective.metric, spec.objective.direction == "maximize"
    on = on_front([(-r[metric] if larger else r[metric], r["p50_ms"]) for r in rows])
    front = [row | {"on_front": is_on} for row, is_on in zip(rows, on, strict=True)]
    return answer | {"study": study.name, **yardstick(spec).to_json(), "front": front}


def on_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Of each (error, cost), whether no other is at most as large in both and less in one."""
    return [
        not any(p[0] <= q[0] and p[1] <= q[1] and p != q for p in points if p is not q)
        for q in points
    ]


def _bench(models: Sequence[config.ModelSpec], how: BenchSettings) -> dict[str, Any]:
    from weightsearch.depth.inference import bench as benching
    from weightsearch.launch.display.progress import display
    from weightsearch.runtime import devices

    placed = devices.pick(how.device, 1)[0]
    with display("measuring", how.quiet) as shown:
        found = benching.bench(
            models,
            how.sizes,
            placed,
            how.repeats,
            how.modes,
            how.batches or benching.BATCHES,
            lambda done, total: shown.count(done, total, "networks"),
            shown.say,
        )
    return found | {name: [asdict(one) for one in found[name]] for name in ("networks", "costs")}
