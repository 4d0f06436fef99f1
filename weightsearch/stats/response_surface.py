"""A smooth surface through measured points, and whether it is to be believed.

A Gaussian process with a Matern 5/2 kernel and noise (Rasmussen and Williams, Gaussian Processes
for Machine Learning, 2006), by scikit-learn; its three parameters are those of greatest likelihood.
Two questions decide whether it is believed: does it predict a configuration that it was not shown
better than the mean does (skill), and does it miss the measured values by no more than repeats of
one configuration differ by (lack of fit)?

What is worse than most may enter with a shortened tail: some directions are a third behind (edge
alone, which sees no offset) where those worth having differ by 2 %, and a process that follows both
is off among the best by as much as it is asked to tell apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sklearn.gaussian_process import GaussianProcessRegressor

FEWEST = 5
"""Configurations, for three parameters and a mean."""
SKILL = 0.1
"""What a surface must show to be believed. Of noise alone 95 % of surfaces show less than 0.06 (60
studies of three terms with 14 and with 24 points, 25 of five terms with 40; the most was 0.38)."""
LEVEL = 0.01
"""Of the test of lack of fit."""


@dataclass(frozen=True)
class Rows:
    """What was measured, one row each."""

    inputs: np.ndarray
    """(rows, features): where."""
    values: np.ndarray
    """(rows,): how much; lower is better."""
    groups: np.ndarray
    """(rows,): which mean is taken off, an integer; groups share the surface."""
    configurations: np.ndarray
    """(rows,): which rows are repeats of one configuration, an integer."""
    seeds: np.ndarray
    """(rows,): what repeats differ in, an integer; the first row's is the reference."""


@dataclass(frozen=True)
class LackOfFit:
    """The F test of what the surface leaves over against what repeats differ by."""

    f: float
    p: float
    freedom: tuple[float, float]
    """Degrees of freedom of the lack of fit and of the repeats."""


@dataclass(frozen=True)
class Tail:
    """Values above `middle` as the process sees them: m + s ln(1 + (y - m) / s).

    One side of the bilog transform (Eriksson and Poloczek 2021, arXiv 2002.08526): the identity up
    to the middle, where the best are, with slope 1 there, and logarithmic beyond.
    """

    middle: float
    scale: float
    """0: nothing is shortened."""

    @classmethod
    def of(cls, values: np.ndarray) -> Tail:
        """From the median on, by a quarter of what the best is away from it: on two recorded tables
        a half told the best apart less well (benchmarks/cost.py)."""
        middle = float(np.median(values))
        return cls(middle, (middle - float(values.min())) / 4)

    def shortened(self, values: np.ndarray) -> np.ndarray:
        return self._mapped(values, np.log1p)

    def restored(self, values: np.ndarray) -> np.ndarray:
        """The inverse of `shortened`."""
        return self._mapped(values, np.expm1)

    def slope(self, values: np.ndarray) -> np.ndarray:
        """Of `shortened`."""
        if not self.scale:
            return np.ones_like(values)
        found: np.ndarray = 1 / (1 + np.maximum(values - self.middle, 0) / self.scale)
        return found

    def _mapped(self, values: np.ndarray, beyond: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        if not self.scale:
            return values
        units = np.maximum(values - self.middle, 0) / self.scale
        found: np.ndarray = np.minimum(values, self.middle) + self.scale * beyond(units)
        return found


NO_TAIL = Tail(0.0, 0.0)


@dataclass(frozen=True)
class Surface:
    """A fitted surface."""

    skill: float
    """1 - (squared errors of leave-one-configuration-out predictions) / (those of the mean): 1 is
    perfect, 0 no better than the mean. The parameters are those of all rows."""
    lack_of_fit: LackOfFit | None
    """None where too little was repeated, or too few results are left over."""
    likelihood: float
    """The logarithm of what was measured, by the process and its tail."""
    inputs: np.ndarray
    """(configurations, features): where it was measured."""
    groups: np.ndarray
    _process: GaussianProcessRegressor
    _means: dict[int, float]
    _tail: Tail
    """Of what is left when its group's mean is taken off."""
    _middle: float
    _scale: float

    def is_believed(self) -> bool:
        """Whether it predicts, and leaves over no more than noise as far as that was tested."""
        fits = self.lack_of_fit is None or self.lack_of_fit.p >= LEVEL
        return self.skill >= SKILL and fits

    def predict(self, inputs: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the noiseless values there are as likely above as below, and their standard
        deviations (both (rows,)): the mean, but where the tail is shortened, and the deviation by
        the slope there.

        A group that was never measured has the mean of all the others.
        """
        mean, deviation, offsets = self._shortened(inputs, groups)
        restored = self._tail.restored(mean)
        return restored + offsets, deviation / self._tail.slope(restored)

    def at_best(self, inputs: np.ndarray, groups: np.ndarray, deviations: float) -> np.ndarray:
        """(rows,): so many standard deviations below what is predicted. In the tail these are of
        the shortened values, so that what is far behind does not come near for being uncertain."""
        mean, deviation, offsets = self._shortened(inputs, groups)
        found: np.ndarray = self._tail.restored(mean - deviations * deviation) + offsets
        return found

    def expected_improvement(self, inputs: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """(rows,): over the lowest prediction among what was measured (Jones, Schonlau and Welch
        1998; the prediction, because measurements are noisy), of the shortened values: where an
        improvement lies they are the values themselves."""
        from scipy.special import ndtr

        best = float(self.predict(self.inputs, self.groups)[0].min())
        mean, deviation, offsets = self._shortened(inputs, groups)
        better = self._tail.shortened(best - offsets) - mean
        z = better / deviation
        found: np.ndarray = better * ndtr(z) + deviation * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        return found

    def _shortened(
        self, inputs: np.ndarray, groups: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The means and standard deviations of what the process sees, and the groups' means."""
        mean, deviation = self._process.predict(inputs, return_std=True)
        noise = self._process.kernel_.k2.noise_level
        other = float(np.mean(list(self._means.values())))
        offsets = np.array([self._means.get(int(group), other) for group in groups])
        spread = np.sqrt(np.maximum(deviation**2 - noise, 1e-12))
        return mean * self._scale + self._middle, spread * self._scale, offsets

    def believing(self, inputs: np.ndarray, groups: np.ndarray) -> Surface:
        """The surface if points that still run came out as it predicts: less is unknown there."""
        if not len(inputs):
            return self
        expected, _ = self.predict(inputs, groups)
        offsets = np.array([self._means.get(int(group), 0.0) for group in groups])
        unknown = np.array([int(group) not in self._means for group in groups])
        shortened = self._tail.shortened(expected - offsets)
        centred = np.where(unknown, 0.0, (shortened - self._middle) / self._scale)
        process = _process(self._process.kernel_, fixed=True).fit(
            np.vstack([self._process.X_train_, inputs]),
            np.concatenate([self._process.y_train_, centred]),
        )
        return replace(self, _process=process)


def fit(rows: Rows) -> Surface | None:
    """The surface through these rows; None where there are too few, or all are equal.

    It goes through the mean of each configuration, so that it does not know how well repeats agree:
    otherwise it would bend through whatever is more than noise, and nothing could be lack of fit.
    Half the variance of repeats is the least that counts as noise. Of a shortened tail and a whole
    one the surface that is believed is taken; of two, that by which what was measured is likelier.
    """
    if len(np.unique(rows.configurations)) < FEWEST:
        return None
    rows = _without_seeds(rows)
    blocks = [np.flatnonzero(rows.configurations == c) for c in np.unique(rows.configurations)]
    first = np.array([block[0] for block in blocks])
    groups = rows.groups[first]
    values = np.array([rows.values[block].mean() for block in blocks])
    means = {int(group): float(values[groups == group].mean()) for group in np.unique(groups)}
    left = values - np.array([means[int(group)] for group in groups])
    if left.std() <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return None
    return max(
        (_through(rows, first, left, means, tail) for tail in (NO_TAIL, Tail.of(left))),
        key=lambda found: (found.is_believed(), found.likelihood),
    )


def _through(
    rows: Rows, first: np.ndarray, left: np.ndarray, means: dict[int, float], tail: Tail
) -> Surface:
    """The surface through `left`, what configurations have beyond their groups' means; `first` has
    the number of the first row of each."""
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    shortened, slopes = tail.shortened(left), tail.slope(left)
    middle, scale = float(shortened.mean()), float(shortened.std())
    centred = shortened - middle
    repeats = _Repeats.of(
        [
            slope * rows.values[rows.configurations == rows.configurations[k]]
            for slope, k in zip(slopes, first, strict=True)
        ]
    )
    # Vertices are 1.4 apart in sqrt(w): what changes within a third of that is no smooth surface.
    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(0.7, (0.5, 5.0), nu=2.5)
    least = min(1.0, max(1e-4, repeats.variance() / 2 / scale**2))
    process = _process(kernel + WhiteKernel(max(0.1, least), (least, 2.0)))
    inputs = rows.inputs[first]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parameters at the ends of their ranges
        process.fit(inputs, centred / scale)
    inverse = np.linalg.inv(process.kernel_(inputs))
    smoother = np.eye(len(first)) - process.kernel_.k2.noise_level * inverse
    return Surface(
        skill=_skill(inverse, centred),
        lack_of_fit=_lack_of_fit(smoother, centred, len(means), repeats),
        # Of what was measured, so that both ways compare: hence the transform's own slope.
        likelihood=process.log_marginal_likelihood_value_ + float(np.log(slopes / scale).sum()),
        inputs=inputs,
        groups=rows.groups[first],
        _process=process,
        _means=means,
        _tail=tail,
        _middle=middle,
        _scale=scale,
    )


def _process(kernel: Any, fixed: bool = False) -> GaussianProcessRegressor:
    from sklearn.gaussian_process import GaussianProcessRegressor

    return GaussianProcessRegressor(kernel, optimizer=None if fixed else "fmin_l_bfgs_b")


def _without_seeds(rows: Rows) -> Rows:
    """The same with each seed's mean difference from the first row's seed taken off, where
    configurations were measured with both."""
    values = rows.values.astype(float).copy()
    first = rows.seeds[0]
    reference = {
        c: v
        for c, v, s in zip(rows.configurations, rows.values, rows.seeds, strict=True)
        if s == first
    }
    for seed in set(rows.seeds.tolist()) - {first}:
        own = rows.seeds == seed
        pairs = [
            v - reference[c]
            for c, v in zip(rows.configurations[own], rows.values[own], strict=True)
            if c in reference
        ]
        values[own] -= np.mean(pairs) if pairs else 0.0
    return Rows(rows.inputs, values, rows.groups, rows.configurations, rows.seeds)


def _skill(inverse: np.ndarray, centred: np.ndarray) -> float:
    """Leave-one-out in closed form (Rasmussen and Williams 2006, 5.12)."""
    errors = (inverse @ centred) / np.diag(inverse)
    return 1 - float(errors @ errors / (centred @ centred))


@dataclass(frozen=True)
class _Repeats:
    """What repeats of one configuration differ by, once their seeds' differences are taken off."""

    counts: np.ndarray
    """(configurations,): how often each was measured."""
    squares: float
    freedom: int

    @staticmethod
    def of(measured: Sequence[np.ndarray]) -> _Repeats:
        counts = np.array([len(values) for values in measured])
        squares = sum(float(((values - values.mean()) ** 2).sum()) for values in measured)
        # One less for each seed but the first, whose mean difference was taken off.
        return _Repeats(counts, squares, int((counts - 1).sum()) - (int(counts.max()) - 1))

    def variance(self) -> float:
        return self.squares / self.freedom if self.freedom > 0 else 0.0


def _lack_of_fit(
    smoother: np.ndarray, centred: np.ndarray, means: int, repeats: _Repeats
) -> LackOfFit | None:
    """The classical test (Draper and Smith, Applied Regression Analysis, 2.1), with the degrees of
    freedom of a linear smoother (Hastie and Tibshirani, Generalized Additive Models, 3.5)."""
    from scipy.special import fdtrc

    left = centred - smoother @ centred
    freedom = len(centred) - means - float(np.trace(2 * smoother - smoother @ smoother.T))
    if repeats.variance() <= 0 or freedom < 0.5:
        return None
    f = float(repeats.counts @ left**2) / freedom / repeats.variance()
    p = float(fdtrc(freedom, repeats.freedom, f))
    return LackOfFit(f, p, (freedom, float(repeats.freedom)))
