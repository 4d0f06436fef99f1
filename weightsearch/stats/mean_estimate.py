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
V_s what is left is V_s^2 / (V_s + 1.5 V_gs): between V_s, which covers in up to 99.8 % of simulated
cases, and V_s - V_gs, which covers in 87 % of the worst ones. See `benchmarks/coverage.py`; a
percentile bootstrap over two or three seeds and a dozen scenes called a difference that was not
there in 10 to 50 % of cases instead of 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

SHRINK = 1.5
"""With two seeds 1 covers in 94.5 to 99.0 %, 1.5 in 94.2 to 98.9 % and 3 in 93.1 to 98.7 % of cases
(n = 10,000 of each spread and number of scenes; of 3, 4000)."""
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

    def half_width(
        self, alpha: float, seeds: int | None = None, groups: int | None = None
    ) -> float:
        """Of the interval at 1 - alpha; of that many seeds and groups, if their spreads stay as
        they are."""
        seeds, groups = seeds or self.seeds, groups or self.groups
        more = groups / self.groups
        both = self.both / more
        from_groups = max(0.0, self.between_groups / more + both / seeds - both / self.seeds)
        free = self.equal_groups * more - 1
        squared = _quantile(free, alpha) ** 2 * from_groups
        of_one = max(0.0, self.between_seeds - self.both + both)
        if seeds > 1 and of_one:
            from_seeds = of_one**2 / (of_one + SHRINK * both) / seeds
            squared += _quantile(seeds - 1, alpha) ** 2 * from_seeds
        return math.sqrt(squared)

    def p(self, distance: float | None = None) -> float:
        """Two-sided: of a mean that lies so far (by default `mean`) from the truth, or farther."""
        far = abs(self.mean if distance is None else distance)
        if far == 0:
            return 1.0
        if self.seeds == 1 or not self.between_seeds:
            error = math.sqrt(self.between_groups)
            return 2 * float(stdtr(self.equal_groups - 1, -far / error)) if error else 0.0
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
    """Of (seeds, images); None where there are not two groups. Without groups every image counts
    as its own."""
    names = list(groups) or [str(i) for i in range(values.shape[1])]
    members = {name: k for k, name in enumerate(dict.fromkeys(names))}
    if len(members) < 2:
        return None
    index = np.array([members[name] for name in names])
    seeds, sizes = len(values), np.bincount(index)
    equal = len(names) ** 2 / float((sizes**2).sum())
    # Groups differ in size: the mean is a ratio of sums, and this its linearised variance.
    scale = equal / (equal - 1) / len(names) ** 2
    centred = values - values.mean(axis=1, keepdims=True)
    sums = np.stack([np.bincount(index, weights=row) for row in centred])  # (seeds, groups)
    mean = sums.mean(axis=0)
    return Estimate(
        mean=float(values.mean()),
        between_groups=float((mean**2).sum()) * scale,
        groups=len(members),
        equal_groups=equal,
        between_seeds=float(values.mean(axis=1).var(ddof=1)) if seeds > 1 else 0.0,
        both=float(((sums - mean) ** 2).sum()) / (seeds - 1) * scale if seeds > 1 else 0.0,
        seeds=seeds,
    )
