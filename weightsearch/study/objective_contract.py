"""Where the two halves meet: the service knows how to call an objective, and what it yields.

An objective is a generator function `run(weights, params, context)`. It trains one configuration
and yields, after each epoch, a mapping from names to values. A value is a number, or a sequence of
numbers with one per validation sample: of a sequence the service records the mean as the metric
and keeps the rest for intervals and paired comparisons. `groups`, where given, names the scene or
block of each sample: samples of a group are correlated. `about`, where given, is any JSON and kept
as it is, beside the metrics of the best epoch or of the test; with `not_comparable` in it, which
says why, the point is done but not ranked. Where `context.final` is true (a
promotion) the generator may *return* such a mapping too, measured on a test split.

A learned weighting is one of an objective's own too: where its module declares `WEIGHTINGS`, the
names that it knows, a study may have them in `loss.weightings`, and their points come with the name
as `params["weighting"]`, and `weights` to begin with.

So is a shared start ([share], docs/sharing.md): where its module declares `SHARES`, of "trunk" and
"frozen" those that it knows, a run may come with `context.fork`, or with `train.freeze = "all"` in
the context's spec, whatever the study's own says.

Where the module has `run_together(points, contexts)`, a worker may train several points at once
(`--lanes`): see `Together`.

Early stopping is the objective's own: it ends by returning. A loss that is no longer a number is
raised as `NonFiniteLoss`; a stop asked for through `context.grace_s` as `Interrupted`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
import math
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

from weightsearch.errors import (
    ConfigError,
    NonFiniteLoss,
    ObjectiveError,
    WeightsearchError,
    did_you_mean,
)
from weightsearch.runtime import child_python, own_traceback
from weightsearch.study.spec import StudySpec
from weightsearch.study.spec_fields import Value

LAST = "last"
"""Within a context's folder: what a later attempt goes on from. It is removed once the result is
committed: of a point of the search, and, unless `keep.full` is "all", of a full run that has left
anything beside it."""


BEST = "best"
"""The same: the network that a full run keeps. With `keep.full` "best", the default, only that of a
finalist's best run stays once the finalists are compared. Other names in the folder always do."""


def passes(folder: Path, final: bool) -> bool:
    """Whether `LAST` in this folder of a run that is done is of no more use: nobody resumes, but
    where it is all that a full run has left, it is the run's network. Raises OSError."""
    return not final or any(file.name != LAST for file in folder.iterdir())


NOT_COMPARABLE = "not_comparable"
"""Within an epoch's `about`: why its metrics do not compare with those of other points."""

CONSTANT = "constant"
"""Within an epoch's `about`: the best prediction that does not look at its input, on the same
samples. `says` names it, `value` is its deciding metric, `samples` that of each sample: every
ranking shows it, and names what is no better."""

Epoch = Mapping[str, float | Sequence[float] | Sequence[str] | Mapping[str, Any]]
"""What an epoch yields: metrics by name, each a number or a list with one of each sample; `groups`,
the scene of each sample; `about`, what else is to be kept."""
Run = Generator[Epoch, None, Epoch | None]


@dataclass(frozen=True)
class Fork:
    """A run that has other weights in its first epochs: those of a trunk, which other runs have in
    common with it, so that one of them is enough."""

    weights: Mapping[str, float]
    """The trunk's, of the epochs 1 to `epochs`; the run's own come after them."""
    epochs: int
    folder: Path
    """Of the trunk's run, which had the same parameters, seed and fold, and ended with `until` =
    `epochs`. Where its checkpoint `LAST` is there, the run goes on from it, and yields first what
    it yielded; else it trains those epochs itself, and comes to the same."""
    moments: Literal["reset", "kept"] = "reset"
    """Of the optimizer, where the weights change."""


@dataclass(frozen=True)
class Context:
    """All that an objective may want to know beside the weights and the parameters."""

    spec: StudySpec
    """The study's settings."""
    study: str
    """The study's name; of a single run, the name of its folder."""
    seed: int
    """Of initialisation and data order: the same for all points of a repeat."""
    epochs: int
    """Of the whole run, whatever the part of it that is asked for now: a learning rate's schedule
    goes by it."""
    patience: int | None
    """End after so many epochs without a better validation metric; None: never."""
    device: str
    """As torch spells it: `cpu`, `cuda:0`."""
    folder: Path
    """For checkpoints: the same for a later attempt at the same point, nobody else's."""
    home: Path
    """WEIGHTSEARCH_HOME: where packs lie."""
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
    fold: int | None = None
    """Which part of the validation frames this run is scored on, where `data.val` divides them;
    None is the first."""
    until: int | None = None
    """The run ends after this epoch, and a later one may go on from the checkpoint `last`; None
    where it is the whole run."""
    fork: Fork | None = None
    """None of a run that has its own weights from the start."""
    shrink: int = 0
    """How often this point ran out of memory: each time, the objective takes half of what it took
    of it before (a smaller micro-batch, fewer lanes), with the same result in mind. Where the
    result is not the same, the epoch says so (`NOT_COMPARABLE`)."""
    tiny: bool = False
    """`check` asks whether an epoch can be trained at all: a few batches say it as well."""
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
    full_epoch_s: float | None = None
    """The same of a full run, where its epochs differ from those of the search in the mean."""

    @classmethod
    def of(cls, said: object) -> Estimate:
        """Raises ObjectiveError for what is none."""
        numbers = dict(said) if isinstance(said, Mapping) else {}
        how = str(numbers.pop("how", ""))
        with contextlib.suppress(TypeError, ValueError):  # another name, none at all, no number
            found = cls(**{name: float(number) for name, number in numbers.items()}, how=how)
            told = (found.epoch_s, found.point_bytes, found.full_bytes, found.full_epoch_s or 0.0)
            if all(0 <= n < math.inf for n in told):
                return found
        raise ObjectiveError(
            "`estimate` must return a mapping with `epoch_s`, and it may have `full_epoch_s`,"
            " `point_bytes`, `full_bytes` (all numbers of at least 0) and `how` (a text), but"
            f" returned {said!r}."
        )


MOVED = {"weightsearch.trivial": "weightsearch.study.trivial_objective"}
"""Where a module lies that older studies know by another name: the name is in their digests."""

Objective = Callable[[Mapping[str, float], Mapping[str, Value], Context], Run]
"""A generator function: the weights by term, the other parameters by name, a Context; it yields an
Epoch after each."""

Point = tuple[Mapping[str, float], Mapping[str, Value]]
"""Weights and parameters, as `run` is given them."""


@dataclass(frozen=True)
class Together:
    """How a module trains several points at once, with less than they take one after the other."""

    run: Callable[[Sequence[Point], Sequence[Context]], Sequence[Run]]
    """`run_together`: a run of each point, in order, which yields, raises and returns what `run`
    alone would, and comes to the same values. They are asked for an epoch in turn, whoever is
    behind first; one that is closed, or has raised, leaves the others as they are."""
    apart: tuple[str, ...] = ()
    """`APART`: names of the parameters in which such points may differ, beside their weights; in
    all others, and in their seed, fold and `until`, they agree."""
    fastest: Callable[[Mapping[str, float], Mapping[str, Value], Context], int] | None = None
    """`fastest_lanes(weights, params, context)`: how many points like this one are trained fastest
    together on the context's device, 1 where none are; measured, as nobody knows it."""


def together(path: str, lanes: int | None = None) -> Together | None:
    """What the module of `package.module:function` has of it; None without `run_together`.

    Raises ObjectiveError where it has none and several lanes are asked for.
    """
    module = module_of(path)
    if not hasattr(module, "run_together"):
        if lanes not in (None, 1):
            raise ObjectiveError(
                f"objective '{path}' must have `run_together` in its module to train several points"
                f" at once, but has none, and --lanes {lanes} was asked for; leave --lanes out."
            )
        return None
    apart, fastest = getattr(module, "APART", ()), getattr(module, "fastest_lanes", None)
    return Together(module.run_together, tuple(apart), fastest)


def load(path: str) -> Objective:
    """The generator function that `package.module:function` names.

    A module beside the study file or in the current folder is found too; what it imports is looked
    for there last, so that no file there stands in for an installed module. Raises ObjectiveError.
    """
    sys.path += [place for place in child_python.objective_folders() if place not in sys.path]
    module_name, _, function_name = path.partition(":")
    if not function_name:
        raise ObjectiveError(
            f"objective '{path}' must be a module and a function in it; write '{module_name}:run'."
        )
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
            f" {_meant(function_name, module)}"
        )
    if not inspect.isgeneratorfunction(function):
        raise ObjectiveError(f"objective '{path}' must be a generator function that yields epochs.")
    return cast(Objective, function)


def _meant(name: str, module: ModuleType) -> str:
    """What else the path may name: functions that the module defines, not those it imports."""
    known = [
        own
        for own, what in inspect.getmembers(module, inspect.isfunction)
        if own[0] != "_" and what.__module__ == module.__name__
    ]
    return did_you_mean(name, known) if known else f"it defines no function; write '{name}' there."


def check_weightings(spec: StudySpec) -> None:
    """Raises ConfigError for a learned weighting that the objective's module does not declare: it
    would train the weights that it is given, under the weighting's name."""
    run = spec.objective.run
    known = getattr(module_of(run), "WEIGHTINGS", ()) if spec.loss.weightings else ()
    none = "name in WEIGHTINGS of its module what it knows, or leave loss.weightings out."
    for name in spec.loss.weightings:
        if name not in known:
            said = did_you_mean(name, known) if known else none
            raise ConfigError(f"objective '{run}' knows no weighting '{name}'; {said}")


def check_shares(spec: StudySpec) -> None:
    """Raises ConfigError for a kind of [share] that the objective's module does not declare: it
    would train from scratch what is said to be shared."""
    kind, run = spec.share.kind, spec.objective.run
    known = getattr(module_of(run), "SHARES", ()) if kind != "none" else ("none",)
    if kind not in known:
        raise ConfigError(
            f"objective '{run}' must name '{kind}' in SHARES of its module for runs to share their"
            f" start, but has {list(known) or 'none'}; leave [share] out."
        )


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


def check_metric(spec: StudySpec, summary: Summary, when: str = "") -> None:
    """Raises ObjectiveError where the metric is missing, NonFiniteLoss where it is no number."""
    metric = spec.objective.metric
    if metric not in summary.metrics:
        raise ObjectiveError(
            f"objective '{spec.objective.run}' must yield the metric '{metric}', but yields"
            f" {sorted(summary.metrics)}; name one of them in [objective] metric."
        )
    if not math.isfinite(summary.metrics[metric]):
        raise NonFiniteLoss(f"{metric} is {summary.metrics[metric]}{when}")


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
    return Summary(metrics, samples, groups, lengths.pop() if samples else None, plain(about))


def plain(about: Mapping[str, Any]) -> dict[str, Any]:
    """As Python's own numbers and lists; raises ObjectiveError for what is no JSON, as NaN is."""

    def own(value: Any) -> Any:
        if hasattr(value, "tolist"):  # numbers and arrays of numpy, torch, jax, ...
            return value.tolist()
        raise TypeError(f"{type(value).__name__} is no JSON")

    try:
        found: dict[str, Any] = json.loads(json.dumps(about, default=own, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ObjectiveError(
            f"what an objective says in 'about' must be JSON, but {error}."
        ) from None
    return found
