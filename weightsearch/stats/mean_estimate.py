"""A mean over scenes and seeds, and how sure it is.

Images of one scene resemble each other, so scenes (groups) are the sample, not images; where a
configuration was trained with several seeds, seeds are a sample too. Values of a scene under a seed
are the sum of the scene's effect, the seed's, and one of both (Searle, Casella and McCulloch,
Variance Components, 1992, two-way crossed). The half width of the mean's interval is

    sqrt(t_g^2 V_g + t_s^2 V_s)

with Student's quantile of its own degrees of freedom for each variance, as in Cochran's
approximation (Biometrics 20, 1964), which weights t rather than its square. One quantile for the
sum of both (Satterthwaite) fails with two seeds, whose spread has one degree of freedom.

The spread of the seeds' means holds that of scenes under each seed too, which V_g has already. Of
V_s what is left is V_s^2 / (V_s + c V_gs), between V_s, which covers in up to 99.8 % of simulated
cases, and V_s - V_gs, which covers in 87 % of the worst ones. c is 0.5 + 20 / G: with few of G
scenes Student's quantile of V_g is wide enough to hold most of V_gs, with many it is not. See
`benchmarks/coverage.py`; a percentile bootstrap over two or three seeds and a dozen scenes called a
difference that was not there in 10 to 50 % of cases instead of 5 %.

Where each repeat has a fold of its own, the repeats' means are independent and hold all that
varies: the half width is t_s sqrt(V_s), Student's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

SHRINK, SHRINK_BY_GROUPS = 0.5, 20.0
"""c = SHRINK + SHRINK_BY_GROUPS / groups. With 2 to 10 seeds and 5 to 60 equal scenes the 80 kinds
of case of `benchmarks/coverage.py` cover in 94.3 to 97.9 %, 71 of them within 93 to 97 %; 64 more,
in which scenes vary under each seed alone, in 93.2 to 98.9 %. c = 1.5 covers in 93.9 to 98.3 %, 62
of them within; 1 + 30 / groups has 75, but covers in 92.2 % of the worst of the 64 (n = 20,000)."""
MOST_SEEDS = 100
MOST_GROUPS = 10_000


@dataclass(frozen=True)
class Estimate:
    """A mean over images and seeds, and what its variance is made of."""

    mean: float
    between_groups: float
    """The variance of the mean that groups make; it holds that of `both`."""
    groups: int
    equal_groups: float
    """So many groups of one size would say as much (Kish's effective number)."""
    between_seeds: float
    """Of the mean of one seed; it holds `both`; 0 where there is one only."""
    both: float
    """What of the variance of the mean of one seed is due to groups under each seed."""
    seeds: int
    folds: int = 1
    """So many sets of groups; a repeat has one of them."""
    seed_freedom: float | None = None
    """Degrees of freedom of `between_seeds`, where it is not of these seeds alone (`pooled`)."""

    def pooled(self, between_seeds: float, freedom: float) -> Estimate:
        """The same, with the variance of one seed's mean from elsewhere: of all configurations."""
        return replace(self, between_seeds=between_seeds, seed_freedom=freedom)

    def half_width(
        self, alpha: float, seeds: int | None = None, groups: int | None = None
    ) -> float:
        """Of the interval at 1 - alpha; of that many seeds and groups, if their spreads stay as
        they are."""
        seeds, groups = seeds or self.seeds, groups or self.groups
        more = groups / self.groups
        both = self.both / more
        from_groups = max(0.0, self.between_groups / more + both / seeds - both / self.seeds)
        free = self.equal_groups * more - self.folds
        squared = _quantile(free, alpha) ** 2 * from_groups
        of_one = max(0.0, self.between_seeds - self.both + both)
        if of_one:
            of_seeds = _quantile(self.seed_freedom or seeds - 1, alpha) ** 2 * of_one / seeds
            if self.folds == self.seeds > 1:
                return math.sqrt(of_seeds)
            shrink = SHRINK + SHRINK_BY_GROUPS / (self.equal_groups * more)
            squared += of_seeds * of_one / (of_one + shrink * both)
        return math.sqrt(squared)

    def p(self, distance: float | None = None) -> float:
        """Two-sided: of a mean that lies so far (by default `mean`) from the truth, or farther."""
        far = abs(self.mean if distance is None else distance)
        if far == 0:
            return 1.0
        if not self.between_seeds:
            error, free = math.sqrt(self.between_groups), self.equal_groups - self.folds
            return 2 * float(stdtr(free, -far / error)) if error else 0.0
        low, high = -36.0, 0.0  # of log p; the half width falls as p grows
        for _ in range(50):
            middle = (low + high) / 2
            if self.half_width(math.exp(middle)) > far:
                low = middle
            else:
                high = middle
        return math.exp(high)

    def p_equivalent(self, margin: float) -> float:
        """The larger p of two one-sided tests, that the true mean is above -margin and below it
        (Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15, 1987)."""
        inside = margin - abs(self.mean)
        half = self.p(inside) / 2
        return half if inside >= 0 else 1 - half

    def seeds_needed(self, alpha: float, margin: float | None) -> int | None:
        """See Comparison."""
        if self.seeds < 2:
            return None
        return self._needed(
            self.seeds, MOST_SEEDS, lambda n: self._is_settled(alpha, margin, seeds=n)
        )

    def groups_needed(self, alpha: float, margin: float | None) -> int | None:
        """See Comparison."""
        return self._needed(
            self.groups, MOST_GROUPS, lambda n: self._is_settled(alpha, margin, groups=n)
        )

    def _is_settled(
        self,
        alpha: float,
        margin: float | None,
        seeds: int | None = None,
        groups: int | None = None,
    ) -> bool:
        """Whether the mean is not 0, or within the margin."""
        if abs(self.mean) > self.half_width(alpha, seeds, groups):
            return True
        inner = self.half_width(2 * alpha, seeds, groups)
        return margin is not None and abs(self.mean) + inner < margin

    @staticmethod
    def _needed(have: int, most: int, settled: Callable[[int], bool]) -> int | None:
        """The first number above `have` that settles it; intervals narrow with every one more."""
        if settled(have) or not settled(most):
            return None
        low, high = have, most
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if settled(middle) else (middle, high)
        return high


def _quantile(freedom: float, alpha: float) -> float:
    """Student's, two-sided; from the lower tail, where a small alpha is still exact."""
    return -float(stdtrit(freedom, alpha / 2))


def estimate(values: NDArray[np.float64], groups: Sequence[str]) -> Estimate | None:
    """Of (seeds, images) of the same images; see `estimate_repeats`."""
    return estimate_repeats(list(values), [groups] * len(values))


def estimate_repeats(
    values: Sequence[NDArray[np.float64]], groups: Sequence[Sequence[str]]
) -> Estimate | None:
    """Of the values per image of each repeat and the groups of those images, which may be others in
    each repeat (folds). The mean is that of the repeats' means.

    None where a repeat does not have two groups, unless each has groups of its own: then its mean
    is a sample. Without groups every image counts as its own.
    """
    of_repeats = [
        list(names) or [str(i) for i in range(len(row))]
        for row, names in zip(values, groups, strict=True)
    ]
    members = {name: k for k, name in enumerate(dict.fromkeys(chain.from_iterable(of_repeats)))}
    means = np.array([row.mean() for row in values])
    sums = np.zeros((len(values), len(members)))  # what each group adds to the mean of a repeat
    folds: dict[frozenset[str], float] = {}
    for k, (row, names) in enumerate(zip(values, of_repeats, strict=True)):
        index = np.array([members[name] for name in names])
        equal = len(names) ** 2 / float((np.bincount(index) ** 2).sum())
        if equal <= 1:
            return _of_repeats(means, of_repeats)
        # Groups differ in size: the mean is a ratio of sums, and this its linearised variance.
        scale = math.sqrt(equal / (equal - 1)) / len(names)
        sums[k] = scale * np.bincount(index, weights=row - means[k], minlength=len(members))
        folds[frozenset(names)] = equal
    mean, seeds = sums.mean(axis=0), len(values)
    return Estimate(
        mean=float(means.mean()),
        between_groups=float((mean**2).sum()),
        groups=len(members),
        equal_groups=sum(folds.values()),
        between_seeds=float(means.var(ddof=1)) if seeds > 1 else 0.0,
        both=float(((sums - mean) ** 2).sum()) / (seeds - 1) if seeds > 1 else 0.0,
        seeds=seeds,
        folds=len(folds),
    )


def _of_repeats(means: NDArray[np.float64], groups: Sequence[Sequence[str]]) -> Estimate | None:
    """By the repeats' means alone, where no two of them share a group."""
    seeds, names = len(means), list(chain.from_iterable(set(own) for own in groups))
    if seeds < 2 or len(set(names)) < len(names):
        return None
    return Estimate(
        mean=float(means.mean()),
        between_groups=0.0,
        groups=len(names),
        equal_groups=seeds + 1.0,
        between_seeds=float(means.var(ddof=1)),
        both=0.0,
        seeds=seeds,
        folds=seeds,
    )
