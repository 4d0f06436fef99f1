"""One epoch of a study's own objective in this process: what `check` has of it to say.

In this process, so that a breakpoint works, and what is raised has the user's own traceback. The
epoch is tiny where the objective looks at `context.tiny`, as the adapters of trainers do.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from weightsearch.commands.answers.findings import OK, WARNING, Row
from weightsearch.errors import NonFiniteLoss, ObjectiveError, WeightsearchError
from weightsearch.launch.preparation import Request
from weightsearch.runtime import child_python
from weightsearch.runtime.safe_text import counted
from weightsearch.study import objective_contract, planning, point_text, search_space
from weightsearch.study.objective_contract import Context, Summary
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec

PART = "objective"


def tried(spec: StudySpec, request: Request, device: str) -> Iterator[Row]:
    """Trains the first point for one epoch, in a folder that is removed.

    Raises ObjectiveError, with the traceback of the user's code where that has raised.
    """
    point = _first(spec)
    what = point_text.named(search_space.decimals(point.weights), point.params)
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            summary = _epoch(spec, request, point, device, Path(folder))
    except NonFiniteLoss as verdict:
        yield Row(PART, WARNING, f"an epoch of {what} diverged: {verdict}")
        return
    metric = spec.objective.metric
    told = f"{metric} {summary.metrics[metric]:.4g} after an epoch of {what}"
    samples = f", of {counted(summary.images or 0, 'sample')}" if metric in summary.samples else ""
    yield Row(PART, OK, f"{told}{samples}, in {time.monotonic() - began:.1f} s")
    if not samples:
        said = f"{metric} is one number: with one for each sample a ranking has intervals"
        yield Row(PART, WARNING, said)
    # Those by default are depth's: where it yields others, none is shown beside its metric.
    stated = "guards" in spec.objective.model_fields_set
    for guard in spec.objective.guards if stated else ():
        if guard not in summary.metrics:
            yield Row(PART, WARNING, f"the guard {guard} is not among what it yields")


def _epoch(spec: StudySpec, request: Request, point: Point, device: str, folder: Path) -> Summary:
    if named := child_python.environment(request.path).get(child_python.FOLDERS):
        os.environ[child_python.FOLDERS] = named
    path = spec.objective.run
    context = Context(
        spec=spec,
        study=request.name,
        seed=spec.train.seed,
        epochs=1,
        patience=None,
        device=device,
        folder=folder / "checkpoints",
        home=request.home,
        data=request.data,
        tiny=True,
    )
    weights = {term: float(weight) for term, weight in point.weights.items()}
    objective = objective_contract.load(path)
    try:
        run = objective(weights, point.params, context)
        with contextlib.closing(run):
            found = next(run, None)
    except (NonFiniteLoss, WeightsearchError):
        raise
    except (Exception, SystemExit) as error:
        raise objective_contract.failed(path, "train an epoch", error) from None
    if found is None:
        raise ObjectiveError(f"objective '{path}' must yield at least one epoch, but yields none.")
    summary = objective_contract.summarise(found)
    objective_contract.check_metric(spec, summary)
    return summary


def _first(spec: StudySpec) -> Point:
    """The first of the plan; where a sampler asks, equal weights with the first choices."""
    for point in planning.plan(spec).points:
        if point is not None:
            return point
    weights = search_space.written(spec.loss.terms, dict.fromkeys(spec.loss.terms, 1.0))
    directions = search_space.are_directions(spec.loss, spec.train)
    chosen = {name: options[0] for name, options in search_space.levels(spec).items()}
    return Point(search_space.canonical(weights, directions), chosen)
