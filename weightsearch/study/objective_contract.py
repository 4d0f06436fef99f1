"""Where the two halves meet: the service knows how to call an objective, and what it yields.

An objective is a generator function `run(weights, params, context)`. It trains one configuration
and yields, after each epoch, a mapping from names to values. A value is a number, or a sequence of
numbers with one per validation sample: of a sequence the service records the mean as the metric
and keeps the rest for intervals and paired comparisons. `groups`, where given, names the scene or
block of each sample: samples of a group are correlated. `about`, where given, is any JSON and kept
as it is, beside the metrics of the best epoch or of the test; with `not_comparable` in it, which
says why, the point is done but not ranked. Where `context.final` is true (a
promotion) the generator may *return* such a mapping too, measured on a test split.

Early stopping is the objective's own: it ends by returning. A loss that is no longer a number is
raised as `NonFiniteLoss`; a stop asked for through `context.grace_s` as `Interrupted`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from weightsearch.errors import ObjectiveError, WeightsearchError, did_you_mean
from weightsearch.runtime import child_python, own_traceback
from weightsearch.study.spec import StudySpec
from weightsearch.study.spec_fields import Value

LAST = "last"
"""Within a context's folder: what a later attempt goes on from. Of a point of the search it is
removed once the result is committed."""

NOT_COMPARABLE = "not_comparable"
"""Within an epoch's `about`: why its metrics do not compare with those of other points."""

CONSTANT = "constant"
"""Within an epoch's `about`: the best prediction that does not look at its input, on the same
samples. `says` names it, `value` is its deciding metric, `samples` that of each sample: every
ranking shows it, and names what is no better."""

Epoch = Mapping[str, float | Sequence[float] | Sequence[str] | Mapping[str, Any]]
Run = Generator[Epoch, None, Epoch | None]


@dataclass(frozen=True)
class Context:
    """All that an objective may want to know beside the weights and the parameters."""

    spec: StudySpec
    study: str
    """The study's name; of a single run, the name of its folder."""
    seed: int
    epochs: int
    patience: int | None
    device: str
    """As torch spells it: `cpu`, `cuda:0`."""
    folder: Path
    """For checkpoints: the same for a later attempt at the same point, nobody else's."""
    home: Path
    data: Path | None = None
    """Where the data set lies on this machine (`--data`)."""
    data_digest: str | None = None
    """Which data the study is about; an objective that finds other data must refuse it."""
    final: bool = False
    """A promotion: keep the best checkpoint, and return the metrics of the test split."""
    grace_s: Callable[[], float | None] = lambda: None
    """None, or once a stop was asked for the seconds left until it takes effect; a training step
    that would outlast them saves what it needs and raises `Interrupted`."""
    lost: Callable[[], bool] = lambda: False
    """Whether the point is another worker's by now: from then on nothing may be written in
    `folder`; raise `Interrupted`."""
    shrink: int = 0
    """How often this point ran out of memory: each time, the objective takes half of what it took
    of it before (a smaller micro-batch, fewer lanes), with the same result in mind. Where the
    result is not the same, the epoch says so (`NOT_COMPARABLE`)."""
    cache: dict[str, Any] = field(default_factory=dict)
    """Lives as long as the worker: what is expensive is built once for all its points."""


@dataclass(frozen=True)
class Estimate:
    """What a point is expected to take: what a module's `estimate(spec, device, packed)` says."""

    epoch_s: float
    """Seconds of one epoch of one point, with its validation: the mean over what is searched."""
    point_bytes: float = 0.0
    """What a point of the search leaves in its folder once it is done."""
    full_bytes: float = 0.0
    """What a run of a promotion leaves there."""
    how: str = ""
    """What was measured, in a few words."""

    @classmethod
    def of(cls, said: object) -> Estimate:
        """Raises ObjectiveError for what is none."""
        numbers = dict(said) if isinstance(said, Mapping) else {}
        how = str(numbers.pop("how", ""))
        with contextlib.suppress(TypeError, ValueError):  # another name, none at all, no number
            found = cls(**{name: float(number) for name, number in numbers.items()}, how=how)
            if all(0 <= n < math.inf for n in (found.epoch_s, found.point_bytes, found.full_bytes)):
                return found
        raise ObjectiveError(
            "`estimate` must return a mapping with `epoch_s`, and it may have `point_bytes`,"
            " `full_bytes` (all numbers of at least 0) and `how` (a text), but returned"
            f" {said!r}."
        )


MOVED = {"weightsearch.trivial": "weightsearch.study.trivial_objective"}
"""Where a module lies that older studies know by another name: the name is in their digests."""

Objective = Callable[[Mapping[str, float], Mapping[str, Value], Context], Run]


def load(path: str) -> Objective:
    """The generator function that `package.module:function` names.

    A module beside the study file or in the current folder is found too; what it imports is looked
    for there last, so that no file there stands in for an installed module. Raises ObjectiveError.
    """
    sys.path += [place for place in child_python.objective_folders() if place not in sys.path]
    module_name, _, function_name = path.partition(":")
    try:
        module = module_of(path)
    except ModuleNotFoundError as error:
        if f"{MOVED.get(module_name, module_name)}.".startswith(f"{error.name}."):
            raise ObjectiveError(
                f"objective '{path}' must be importable, but {error}; start from its folder, or"
                " install it."
            ) from None
        raise failed(path, "be importable", error) from None
    except WeightsearchError:
        raise
    except (Exception, SystemExit) as error:
        raise failed(path, "be importable", error) from None
    function = getattr(module, function_name, None)
    if function is None:
        raise ObjectiveError(
            f"objective '{path}': module '{module_name}' has no '{function_name}';"
            f" {did_you_mean(function_name, [n for n in vars(module) if n[0] != '_'])}"
        )
    if not inspect.isgeneratorfunction(function):
        raise ObjectiveError(f"objective '{path}' must be a generator function that yields epochs.")
    return cast(Objective, function)


def failed(path: str, must: str, error: BaseException) -> ObjectiveError:
    """The error of an objective whose own code has raised: one line, and its own traceback."""
    said = own_traceback.line(error)
    return ObjectiveError(f"objective '{path}' must {must}, but {said}.", own_traceback.of(error))


def module_of(path: str) -> ModuleType:
    """The module of `package.module:function`; raises ModuleNotFoundError."""
    name = path.partition(":")[0]
    name = MOVED.get(name, name)
    _load_own(name.partition(".")[0])
    return importlib.import_module(name)


def _load_own(name: str) -> None:
    """Loads a study's own module of this name, where there is one: it is what the study names,
    though an installed module be called the same."""
    if name in sys.modules:
        return
    found = PathFinder.find_spec(name, child_python.objective_folders())
    if found is None or found.loader is None or not found.has_location:
        return
    module = sys.modules[name] = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


@dataclass(frozen=True)
class Summary:
    """What is recorded of one epoch or evaluation."""

    metrics: dict[str, float]
    samples: dict[str, list[float]]
    """Per metric one value per sample, for intervals and paired tests."""
    groups: list[str]
    images: int | None
    about: Mapping[str, Any] = field(default_factory=dict)


def summarise(epoch: Epoch) -> Summary:
    """Averages what has one value per sample: the one place where that is done.

    Raises ObjectiveError where a value is neither a number nor a sequence of numbers, or where
    sequences differ in length.
    """
    metrics: dict[str, float] = {}
    samples: dict[str, list[float]] = {}
    groups = [str(g) for g in epoch.get("groups", ())]  # type: ignore[union-attr]
    for name, value in epoch.items():
        if name in ("groups", "about"):
            continue
        try:
            # Scalars of numpy, torch, jax, ... too, which say so; the service imports none of them.
            if isinstance(value, int | float) or getattr(value, "ndim", None) == 0:
                metrics[name] = float(cast(float, value))
            else:
                samples[name] = [float(v) for v in value]
                metrics[name] = math.fsum(samples[name]) / len(samples[name])
        except (TypeError, ValueError, ZeroDivisionError):
            raise ObjectiveError(
                f"an objective must yield numbers or non-empty sequences of numbers, but '{name}'"
                f" is {value!r}."
            ) from None
    lengths = {len(v) for v in samples.values()} | ({len(groups)} if groups else set())
    if len(lengths) > 1:
        raise ObjectiveError(
            f"what an objective yields per sample must have one length, but got {sorted(lengths)}."
        )
    about = epoch.get("about", {})
    if not isinstance(about, Mapping):
        raise ObjectiveError(f"what an objective says in 'about' must be a mapping, not {about!r}.")
    return Summary(metrics, samples, groups, lengths.pop() if samples else None, about)
