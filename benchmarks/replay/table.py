"""A recorded table: what every direction of a lattice gave, in each repeat and after each epoch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, select

from weightsearch.store.ledger import queries, studies
from weightsearch.store.ledger.results import Result
from weightsearch.store.tables.schema import attempts
from weightsearch.store.tables.schema import points as rows
from weightsearch.store.tables.states import Outcome
from weightsearch.study import search_space
from weightsearch.study.looks.decision import Row
from weightsearch.study.search_space import Point

DIGITS = 5


@dataclass(frozen=True)
class Table:
    """Of one metric; smaller is better."""

    about: Mapping[str, Any]
    """Where it is from; `simulated` is true of one that was made up."""
    points: Sequence[Point]
    groups: Sequence[Sequence[str]]
    """Of each repeat: the scenes of its validation images."""
    counts: Sequence[Sequence[int]]
    """Of each repeat: how many images those have."""
    epochs: NDArray[np.float64]
    """(configurations, repeats, epochs): the metric's mean over images after each epoch."""
    means: Sequence[NDArray[np.float64]]
    """Of each repeat (configurations, epochs, scenes): the metric's mean in each scene; NaN where
    it was not kept, which the ledger does of the best epoch alone."""
    truth: NDArray[np.float64] | None = None
    """(configurations,): what the metric really is, where that is known: where it was made up."""

    @property
    def directions(self) -> list[Point]:
        """The points without what else was chosen, which is the same for all."""
        return [Point(point.weights, {}) for point in self.points]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Configurations, repeats, epochs."""
        many, repeats, epochs = self.epochs.shape
        return many, repeats, epochs

    def levels(self) -> NDArray[np.float64]:
        """(configurations,): the mean of all repeats, each of its best epoch."""
        found: NDArray[np.float64] = self.epochs.min(axis=2).mean(axis=1)
        return found

    def best_epoch(self, k: int, repeat: int, epochs: int) -> int:
        """Of the first so many, from 0."""
        return int(self.epochs[k, repeat, :epochs].argmin())

    def value(self, k: int, repeat: int, epochs: int | None = None) -> float:
        """Of the best one of the first epochs; of all by default."""
        return float(self.epochs[k, repeat, :epochs].min())

    def row(self, k: int, repeat: int, stage: int, epochs: int, as_repeat: int) -> Row:
        """As a ledger would have it. Images of a scene are given its mean, from which every
        interval comes out as from their own values."""
        means = self.means[repeat][k, self.best_epoch(k, repeat, epochs)]
        value, counts = self.value(k, repeat, epochs), self.counts[repeat]
        if not np.isfinite(means).all():
            return Row(f"{k:03}", as_repeat, stage, value)
        names = np.repeat(self.groups[repeat], counts).tolist()
        return Row(f"{k:03}", as_repeat, stage, value, np.repeat(means, counts).tolist(), names)

    def to_json(self) -> dict[str, Any]:
        def rounded(values: NDArray[np.float64]) -> Any:
            found = np.round(values, DIGITS).astype(object)
            found[np.isnan(values)] = None
            return found.tolist()

        return {
            **self.about,
            "points": [{**search_space.encode(p.weights)} for p in self.points],
            "params": [dict(p.params) for p in self.points],
            "groups": [list(names) for names in self.groups],
            "counts": [list(map(int, numbers)) for numbers in self.counts],
            "epochs": rounded(self.epochs),
            "means": [rounded(of_repeat) for of_repeat in self.means],
        }

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> Table:
        arrays = ("points", "params", "groups", "counts", "epochs", "means")
        return Table(
            about={k: v for k, v in stored.items() if k not in arrays},
            points=[
                Point(search_space.decode(weights), params)
                for weights, params in zip(stored["points"], stored["params"], strict=True)
            ],
            groups=stored["groups"],
            counts=stored["counts"],
            epochs=np.array(stored["epochs"], float),
            means=[np.array(of_repeat, float) for of_repeat in stored["means"]],
        )

    def changed(self, factors: NDArray[np.float64]) -> Table:
        """Every value times the factor of its (configuration, repeat)."""
        means = [m * factors[:, r, None, None] for r, m in enumerate(self.means)]
        return replace(self, epochs=self.epochs * factors[:, :, None], means=means)

    def shuffled(self, rng: np.random.Generator) -> Table:
        """The labels of the directions mixed anew in each repeat: nothing can be found."""
        orders = [rng.permutation(self.shape[0]) for _ in range(self.shape[1])]
        epochs = np.stack([self.epochs[order, r] for r, order in enumerate(orders)], axis=1)
        means = [m[order] for m, order in zip(self.means, orders, strict=True)]
        same = np.full(self.shape[0], self.levels().mean())
        return replace(self, epochs=epochs, means=means, truth=same)

    def planted(self, rng: np.random.Generator, effect: float, width: float = 0.5) -> Table:
        """What directions differ by taken off, and one planted in its place: that share better at a
        direction drawn at random, less around it (as exp of the squared Hellinger distance)."""
        level = self.levels()
        at = self.roots()[int(rng.integers(len(level)))]
        squared = ((self.roots() - at) ** 2).sum(axis=1)
        wanted = level.mean() * (1 - effect * np.exp(-squared / (2 * width**2)))
        factors = np.repeat((wanted / level)[:, None], self.shape[1], axis=1)
        return replace(self.changed(factors), truth=wanted)

    def roots(self) -> NDArray[np.float64]:
        """(configurations, terms): sqrt(w)."""
        return np.sqrt([[float(w) for w in point.weights.values()] for point in self.points])


def read(path: Path) -> Table:
    return Table.from_json(json.loads(path.read_text()))


def write(table: Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table.to_json(), separators=(",", ":")) + "\n")


def lattice(terms: Sequence[str], steps: int) -> list[Point]:
    return [
        Point(dict(zip(terms, (Fraction(p, steps) for p in parts), strict=True)), {})
        for parts in search_space.compositions(steps, len(terms))
    ]


def simulated(
    seed: int = 0,
    repeats: int = 5,
    epochs: int = 4,
    directions_sd: float = 0.025,
    seeds_sd: float = 0.017,
    early: float = 0.5,
) -> Table:
    """Made up, with the noise of `nyu-small`: metres of RMSE around 1.15, 53 scenes in five folds,
    28 directions on a bowl in sqrt(w) whose lowest point lies anywhere.

    `early` of the spread of directions belongs to another bowl, which fades with the epochs.
    """
    rng = np.random.default_rng(seed)
    points = lattice(("mae", "edge", "ssim"), 6)
    blank = np.zeros((len(points), repeats, epochs))
    folds = [[f"scene {s}" for s in range(53) if s % 5 == fold] for fold in range(5)]
    hard = {name: rng.normal(0, 0.3) for fold in folds for name in fold}
    frames = {name: int(rng.integers(4, 16)) for name in hard}
    table = Table({"simulated": True, "metric": "rmse", "seed": seed}, points, [], [], blank, [])

    def bowl() -> NDArray[np.float64]:
        lowest = np.sqrt(rng.dirichlet(np.ones(3)))
        found = ((table.roots() - lowest) ** 2).sum(axis=1)
        standard: NDArray[np.float64] = (found - found.mean()) / found.std()
        return standard

    final, first = directions_sd * bowl(), directions_sd * bowl()
    names = [folds[r % 5] for r in range(repeats)]
    counts = [[frames[name] for name in of_fold] for of_fold in names]
    fades = early * np.exp(-np.arange(epochs))
    falls = 1 + 0.5 * np.exp(-np.arange(epochs))
    level = 1.15 * falls + final[:, None] + first[:, None] * fades  # (configurations, epochs)
    means = []
    for of_fold in names:
        runs = rng.normal(0, seeds_sd, (len(points), 1)) + rng.normal(0, 0.003, level.shape)
        scenes = np.array([hard[name] for name in of_fold])
        own = rng.normal(0, 0.04, (len(points), 1, len(of_fold)))
        means.append((level + runs)[:, :, None] + scenes + own)
    whole = [np.average(m, axis=2, weights=n) for m, n in zip(means, counts, strict=True)]
    return replace(
        table,
        groups=names,
        counts=counts,
        epochs=np.stack(whole, axis=1),
        means=means,
        truth=level[:, -1],
    )


def of_ledger(engine: Engine, name: str) -> Table:
    """Of a study in a ledger: its directions that have every repeat.

    The ledger keeps means after each epoch (`ws_attempts.epochs`) and values per image of the best
    epoch alone (`ws_points.result`), so only that one has means of scenes. Raises ValueError where
    there are not two of both, or more is searched than directions.
    """
    study = studies.find(engine, name)
    done = [d for d in queries.done(engine, study) if not d.diverged() and not d.point.weighting]
    metric, repeats = study.spec.objective.metric, sorted({(d.repeat, d.seed) for d in done})
    runs = {(d.point.key(), (d.repeat, d.seed)): d for d in done}
    tried = {d.point.key(): d.point for d in done}
    whole = [key for key in tried if all((key, repeat) in runs for repeat in repeats)]
    told = dict(_epochs(engine, study.id))
    if len(whole) < 2 or len(repeats) < 2 or study.spec.objective.direction != "minimize":
        raise ValueError(
            "a table needs two directions that have every one of two repeats, of a metric that is"
            f" minimised, but of {len(tried)} in '{name}' {len(whole)} have all {len(repeats)}."
        )
    if len({json.dumps(tried[key].choices(), sort_keys=True) for key in whole}) > 1:
        raise ValueError(f"a table is of directions alone, but '{name}' also has other choices.")
    epochs = min(len(told[runs[key, repeat].point_id]) for key in whole for repeat in repeats)
    of_repeats = [_scenes([runs[k, r].result for k in whole], metric, epochs) for r in repeats]
    by_epoch = [
        [[e[metric] for e in told[runs[key, repeat].point_id][:epochs]] for repeat in repeats]
        for key in whole
    ]
    about = {"simulated": False, "study": name, "digest": study.spec.digest(), "metric": metric}
    groups, counts, means = zip(*of_repeats, strict=True)
    points = [tried[key] for key in whole]
    return Table(about, points, groups, counts, np.array(by_epoch), means)


def _scenes(
    results: Sequence[Result], metric: str, epochs: int
) -> tuple[list[str], list[int], NDArray[np.float64]]:
    """The scenes of one repeat, their numbers of images, and the means in them (configurations,
    epochs, scenes) of each one's best epoch."""
    names = list(results[0].groups)
    order = list(dict.fromkeys(names))
    index = np.array([order.index(name) for name in names])
    sizes = np.bincount(index)
    means = np.full((len(results), epochs, len(order)), np.nan)
    for i, result in enumerate(results):
        if list(result.groups) != names or metric not in result.samples:
            raise ValueError("all directions must have values of the same images in a repeat.")
        if result.epoch is not None and result.epoch <= epochs:
            means[i, result.epoch - 1] = np.bincount(index, result.samples[metric]) / sizes
    return order, sizes.tolist(), means


def _epochs(engine: Engine, study_id: int) -> Iterator[tuple[int, list[dict[str, float]]]]:
    """(point, metrics after each epoch) of the attempts that ended with a result."""
    with engine.connect() as connection:
        for row in connection.execute(
            select(attempts.c.point_id, attempts.c.epochs)
            .join(rows, rows.c.id == attempts.c.point_id)
            .where(rows.c.study_id == study_id, attempts.c.outcome == Outcome.DONE)
        ):
            yield row.point_id, row.epochs
