"""One run outside a study: no database, no dispatch; the same objective, the same study file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weightsearch.errors import ConfigError, Interrupted, NonFiniteLoss, WeightsearchError
from weightsearch.runtime.atomic_file import write_atomically
from weightsearch.study import objective_contract, planning, search_space
from weightsearch.study.objective_contract import Context, Summary
from weightsearch.study.spec import StudySpec


def protocol(kind: str, spec: StudySpec) -> str | None:
    """By which protocol the metrics of an "epoch" or the "test" are; None without one."""
    if spec.data is None:
        return None
    return (spec.promote or spec.evaluate if kind == "test" else spec.evaluate).protocol


def train(
    spec: StudySpec, home: Path, data: Path | None, device: str, out: Path
) -> Iterator[tuple[str, Summary]]:
    """Trains the one configuration that the study describes; its checkpoints come to lie in `out`.

    Yields `("epoch", summary)` after each epoch, and `("test", summary)` at last where there is a
    test split; writes both to `out/metrics.json`. Raises ConfigError where there are several.
    """
    points = planning.plan(spec).points
    point = points[0]
    if len(points) > 1 or point is None:
        raise ConfigError(
            f"`train` runs one configuration, but the file describes {len(points)}; fix the encoder"
            " and the weights, or use `launch`."
        )
    context = Context(
        spec=spec,
        study=out.name,
        seed=spec.train.seed,
        epochs=spec.train.epochs,
        patience=spec.train.patience,
        device=device,
        folder=out,
        home=home,
        data=data,
        final=True,
    )
    weights = {term: float(weight) for term, weight in point.weights.items()}
    trained = objective_contract.load(spec.objective.run)
    objective_contract.check_weightings(spec)
    run = trained(weights, point.params, context)
    record: dict[str, Any] = {
        "weights": search_space.decimals(point.weights),
        "params": dict(point.params),
        "epochs": [],
    }
    while True:
        try:
            summary = objective_contract.summarise(next(run))
        except StopIteration as end:
            tested = end.value
            break
        except NonFiniteLoss as verdict:
            raise WeightsearchError(
                f"the loss must stay a number, but {verdict} Lower train.lr, or change the weights."
            ) from None
        except (WeightsearchError, Interrupted, OSError):
            raise
        except Exception as error:
            raise objective_contract.failed(spec.objective.run, "not fail", error) from None
        record["epochs"].append(summary.metrics)
        _write(record, out)
        yield "epoch", summary
    if tested is not None:
        summary = objective_contract.summarise(tested)
        record["test"] = summary.metrics | {"images": summary.images}
        _write(record, out)
        yield "test", summary


def _write(record: dict[str, Any], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "metrics.json", json.dumps(record, indent=1).encode())
