"""An objective that trains nothing and imports no torch: for tests, benchmarks and first looks.

Per "image" i the error is the squared distance of the weights from an optimum that lies a little
elsewhere for each image, so intervals and paired comparisons have something to work on. Parameters
of the study: `epoch_s` seconds to sleep per epoch, `images` how many, `diverge_above` a weight of
the first term above which the loss is not a number.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from weightsearch.errors import NonFiniteLoss
from weightsearch.study import objective_contract, search_space
from weightsearch.study.objective_contract import Context, Run
from weightsearch.study.spec import StudySpec
from weightsearch.study.spec_fields import Value

OPTIMUM = (0.5, 0.3, 0.2)
"""Of the first three terms; further ones are best left out."""


def run(weights: Mapping[str, float], params: Mapping[str, Value], context: Context) -> Run:
    """Yields `rmse`, `rel` and `log10` per image; the error shrinks from epoch to epoch."""
    images = int(params.get("images", 12))
    first = next(iter(weights.values()))
    if first > float(params.get("diverge_above", 2.0)):
        raise NonFiniteLoss("the first term is not a number.")
    found: dict[str, list[float] | list[str]] = {}
    for epoch in range(1, context.epochs + 1):
        time.sleep(float(params.get("epoch_s", 0.0)))
        own = context.fork is None or epoch > context.fork.epochs
        trained = weights if own or context.fork is None else context.fork.weights
        found = _errors(trained, images, context.seed, 1 + 1 / epoch)
        yield found
    return found if context.final else None


SHARES = ("trunk", "frozen")
APART = ("epoch_s", "images", "diverge_above")


def run_together(
    points: Sequence[objective_contract.Point], contexts: Sequence[Context]
) -> list[Run]:
    """They have nothing to share, and only take turns."""
    return [run(*point, context) for point, context in zip(points, contexts, strict=True)]


def estimate(spec: StudySpec, device: str, packed: Path) -> dict[str, float]:
    """An epoch takes as long as it sleeps."""
    slept = search_space.levels(spec).get("epoch_s", (0.0,))
    return {"epoch_s": statistics.fmean(float(seconds) for seconds in slept)}


def _errors(
    weights: Mapping[str, float], images: int, seed: int, scale: float
) -> dict[str, list[float] | list[str]]:
    source = random.Random(f"trivial {seed}")
    optimum = [*OPTIMUM, *[0.0] * len(weights)]
    errors = []
    for _ in range(images):
        shifts = [source.gauss(0, 0.05) for _ in weights]
        errors.append(
            scale
            * (
                0.1
                + sum(
                    (w - o - s) ** 2
                    for w, o, s in zip(weights.values(), optimum, shifts, strict=False)
                )
            )
        )
    return {
        "rmse": errors,
        "rel": [0.3 * e for e in errors],
        "log10": [0.1 * e for e in errors],
        "groups": [f"scene {i // 3}" for i in range(images)],
    }
