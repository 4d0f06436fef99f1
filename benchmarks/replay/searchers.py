"""Searchers on a recorded table: each sees what it pays for, in epochs, and names one direction."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import optuna
from numpy.typing import NDArray

from replay.table import Table
from weightsearch.launch import promotion_verdict
from weightsearch.report.evidence import mixture_answer
from weightsearch.stats import comparison
from weightsearch.stats.margin import Margin
from weightsearch.study import loading, planning
from weightsearch.study.looks import audit, deciding, schedule
from weightsearch.study.looks.decision import Decision, Row
from weightsearch.study.looks.pruner_spec import PrunerSpec
from weightsearch.study.samplers import mixture, stick_breaking
from weightsearch.study.samplers.contract import Seen
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec

MARGIN = Margin(1.0, "%")
BUDGET = 1 / 10
"""Of the lattice with five repeats: what random, TPE and Hyperband may spend."""


@dataclass
class Replay:
    """One replay: which recorded repeats choose, in which order, and what was paid so far."""

    table: Table
    repeats: Sequence[int]
    seed: int
    paid: dict[tuple[int, int], int] = field(default_factory=dict)
    """Epochs of each (configuration, repeat)."""

    @property
    def epochs(self) -> int:
        return self.table.shape[2]

    @property
    def cost(self) -> int:
        return sum(self.paid.values())

    @property
    def lattice(self) -> int:
        """The cost of the whole lattice with five repeats."""
        return 5 * self.table.shape[0] * self.epochs

    def run(self, k: int, repeat: int = 0, epochs: int | None = None) -> float:
        """Trains up to that epoch, or to the end, and says how good it was."""
        asked = epochs or self.epochs
        self.paid[k, repeat] = max(asked, self.paid.get((k, repeat), 0))
        return self.table.value(k, self.repeats[repeat], asked)

    def row(self, k: int, repeat: int, stage: int, epochs: int) -> Row:
        self.run(k, repeat, epochs)
        return self.table.row(k, self.repeats[repeat], stage, epochs, repeat)

    def whole_runs(self, k: int) -> list[int]:
        """The repeats that were trained to the end."""
        return [
            r for (key, r), paid in sorted(self.paid.items()) if (key, paid) == (k, self.epochs)
        ]

    def mean(self, k: int) -> float:
        """Of the whole runs."""
        return float(np.mean([self.table.value(k, self.repeats[r]) for r in self.whole_runs(k)]))

    def best_measured(self) -> int:
        """By the mean of whole runs, of those with the most."""
        runs = {k: self.whole_runs(k) for k, _ in self.paid}
        most = max(map(len, runs.values()))
        means = {k: self.mean(k) for k, found in runs.items() if len(found) == most}
        return min(means, key=lambda k: (means[k], k))

    def nearest(self, point: Point, tried: Sequence[int] = ()) -> int:
        """The recorded direction nearest to a point (Hellinger), of those not tried."""
        roots = np.sqrt([float(w) for w in point.weights.values()])
        far = ((self.table.roots() - roots) ** 2).sum(axis=1)
        far[list(tried)] = np.inf
        return int(far.argmin())


Searcher = Callable[[Replay], int]


def lattice(replay: Replay, repeats: int | None = None) -> int:
    for k in range(replay.table.shape[0]):
        for repeat in range(repeats or len(replay.repeats)):
            replay.run(k, repeat)
    return replay.best_measured()


def random(replay: Replay) -> int:
    many = int(BUDGET * replay.lattice / replay.epochs)
    for k in np.random.default_rng(replay.seed).permutation(replay.table.shape[0])[:many]:
        replay.run(int(k))
    return replay.best_measured()


def tpe(replay: Replay, make: Callable[[int], optuna.pruners.BasePruner]) -> int:
    """Optuna's own, as it is used: one seed, the metric reported after each epoch."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    terms = list(replay.table.points[0].weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(
            study_name="replay",  # Hyperband's brackets depend on it
            sampler=optuna.samplers.TPESampler(seed=replay.seed),
            pruner=make(replay.epochs),
        )
        for _ in range(3 * replay.table.shape[0]):
            if replay.cost + replay.epochs > BUDGET * replay.lattice:
                break
            trial = study.ask()
            shares = [trial.suggest_float(term, 0, 1) for term in terms[:-1]]
            k = replay.nearest(Point(stick_breaking.direction(terms, shares, 1 / 8), {}))
            trial.set_user_attr("k", k)
            for epoch in range(1, replay.epochs + 1):
                value = replay.run(k, 0, epoch)
                trial.report(value, epoch)
                if epoch < replay.epochs and trial.should_prune():
                    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                    break
            else:
                study.tell(trial, value)
    found: int = study.best_trial.user_attrs["k"]
    return found


def median(epochs: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.MedianPruner()


def hyperband(epochs: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)


def spec_of(replay: Replay, trials: int) -> StudySpec:
    return loading.parse(
        {
            "goal": "replay",
            "objective": {"run": "weightsearch.study.trivial_objective:run"},
            "loss": {
                "terms": list(replay.table.points[0].weights),
                "weights": {"grid": "simplex", "steps": 1},
            },
            "sampler": {"kind": "mixture", "trials": trials},
        },
        "replay",
    )


def sampled(replay: Replay, trials: int, epochs: int) -> list[int]:
    """Tries the mixture sampler's places, each at the nearest recorded direction that is not tried;
    the repeats of its design are of the second repeat."""
    spec = spec_of(replay, trials)
    planned = planning.plan(spec)
    seen: list[Seen] = []
    tried: list[int] = []
    for number, point in enumerate(planned.points):
        repeat = int(planned.seeds is not None and planned.seeds[number] != spec.train.seed)
        asked = point or _asked(spec, number, seen)
        if asked is None or (len(tried) == replay.table.shape[0] and not repeat):
            break
        k = replay.nearest(asked, () if repeat else tried)
        tried += [] if repeat else [k]
        seen.append(Seen(replay.table.directions[k], replay.run(k, repeat, epochs), repeat))
    return tried


ASKED: dict[tuple[object, ...], Point | None] = {}
"""Replays that begin with the same two repeats see the same; a question takes 0.1 s."""


def _asked(spec: StudySpec, number: int, seen: Sequence[Seen]) -> Point | None:
    key = (spec.sampler.trials, number, *((s.point.key(), s.value, s.seed) for s in seen))
    if key not in ASKED:
        ASKED[key] = planning.ask(spec, number, seen)
    return ASKED[key]


def mixed(replay: Replay, trials: int) -> int:
    sampled(replay, trials, replay.epochs)
    return by_surface(replay)


def by_surface(replay: Replay) -> int:
    """The direction, of those that were tried, that a surface through all whole runs predicts to be
    the best; the best measured where it is not believed."""
    tried = sorted({k for k, _ in replay.paid})
    means = predicted(replay, tried)
    return replay.best_measured() if means is None else tried[int(means.argmin())]


def measured(replay: Replay, tried: Sequence[int]) -> list[Seen]:
    """The whole runs of these directions."""
    return [
        Seen(replay.table.directions[k], replay.run(k, repeat), repeat)
        for k in tried
        for repeat in replay.whole_runs(k)
    ]


def predicted(replay: Replay, tried: Sequence[int]) -> NDArray[np.float64] | None:
    """What a surface through the whole runs of these directions says of each of them; None where it
    is not believed."""
    spec = spec_of(replay, 1)
    surface = mixture.fitted(spec, measured(replay, tried))
    if surface is None or not surface.is_believed():
        return None
    points = mixture.Inputs.of(spec, [replay.table.directions[k] for k in tried])
    means, _ = surface.predict(points.features, points.groups)
    return np.asarray(means, float)


def raced(
    replay: Replay,
    pruner: PrunerSpec,
    trials: int | None = None,
    repeats: int = 5,
) -> int:
    """The study's own looks, over the whole lattice or the places of the mixture sampler, with so
    many repeats, or as many as there are; then the leader."""
    stages = pruner.stages(replay.epochs)
    keys = list(range(replay.table.shape[0]))
    if trials is not None:
        keys = sampled(replay, trials, stages[0])
    names, past = [f"{k:03}" for k in keys], list[Decision]()
    setting = (pruner, min(repeats, len(replay.repeats)), len(stages))
    rows: dict[tuple[str, int, int], Row] = {}
    while True:
        for key, repeat, stage in schedule.asked(names, past) - rows.keys():
            rows[key, repeat, stage] = replay.row(int(key), repeat, stage, stages[stage])
        known = list(rows.values())
        if not schedule.due(*setting, len(past), known, past, keys=names):
            break
        past.append(deciding.decide(*setting, MARGIN, True, len(past), known, past))
    left = audit.best_of_left(known, past)
    return int(left) if left else replay.best_measured()


def finalists(replay: Replay, trials: int, top: int) -> int:
    """As a launch promotes, but for the length of its full runs: its finalists of the mixture
    sampler's places are trained with two more repeats."""
    tried = sorted(sampled(replay, trials, replay.epochs), key=lambda k: replay.run(k))
    numbers = {replay.table.directions[k].key(): k for k in tried}
    ranked = [replay.table.directions[k] for k in tried]
    order = mixture_answer.by_surface(spec_of(replay, 1), measured(replay, tried), ranked)
    return promoted(replay, [numbers[point.key()] for point in order[:top]])


def promoted(replay: Replay, keys: Sequence[int]) -> int:
    """Of the best mean of three repeats and what is probably the same, the one of the fewest terms;
    of those, the better one."""
    repeats = range(min(3, len(replay.repeats)))
    rows = {k: [replay.row(k, r, 0, replay.epochs) for r in repeats] for k in keys}
    best, *others = sorted(keys, key=replay.mean)
    level = 1 - (1 - comparison.LEVEL) / max(1, len(others))
    same, margin = [best], MARGIN.of(replay.mean(best))
    for k in others:
        here, there = ([row.samples for row in rows[i] if row.samples] for i in (best, k))
        groups = [row.groups for row in rows[k]]
        found = comparison.paired_folds(here, there, groups, level=level, margin=margin)
        if promotion_verdict.may_be_same(found):
            same.append(k)
    return min(same, key=lambda k: sum(w > 0 for w in replay.table.points[k].weights.values()))


def rungs(*epochs: int, keep: float = 1 / 3) -> PrunerSpec:
    return PrunerSpec(kind="rungs", rungs=epochs, keep=keep)


def all_known(replay: Replay) -> int:
    if replay.table.truth is not None:
        return int(replay.table.truth.argmin())
    return int(replay.table.levels().argmin())


SEARCHERS: dict[str, Searcher] = {
    "(all that is known)": all_known,
    "lattice, one seed": partial(lattice, repeats=1),
    "lattice, all repeats": lattice,
    "random": random,
    "TPE, median pruner": partial(tpe, make=median),
    "TPE, Hyperband": partial(tpe, make=hyperband),
    "mixture, 14 places": partial(mixed, trials=14),
    "mixture, 20 places": partial(mixed, trials=20),
    "racing": partial(raced, pruner=PrunerSpec(kind="racing")),
    "mixture, racing": partial(raced, pruner=PrunerSpec(kind="racing"), trials=14),
    "mixture, racing, rungs": partial(raced, pruner=rungs(1), trials=14),
    "the same, keep 1/5": partial(raced, pruner=rungs(1, keep=1 / 5), trials=14),
    "mixture, 14, three finalists": partial(finalists, trials=14, top=3),
    "mixture, 14, four finalists": partial(finalists, trials=14, top=4),
    "mixture, 14, six finalists": partial(finalists, trials=14, top=6),
    "mixture, 20, three finalists": partial(finalists, trials=20, top=3),
}
"""Of the places of the mixture sampler its design of three terms has 10, and 4 are repeats."""
CONTROLLED = [name for name in SEARCHERS if "TPE" not in name and "(" not in name]
"""What the study's own verdicts are of; Optuna has none."""
