"""Do 95 % intervals of a comparison cover in 95 % of cases, and how often is a verdict wrong?

    python benchmarks/coverage.py [--repetitions 1000]

A known difference of per-image errors; frames of one scene are alike (unequal scenes of 4 to 15
frames), seeds shift whole runs, and each scene answers to each seed a little in its own way.
Printed are the shares of cases in which the interval covers, beside a bootstrap (scenes and seeds
with replacement, 400 times); in which "better" or "worse" is said where there is no difference; and
in which "equivalent" is said where the difference is the margin. Then the same of a ranking, whose
first is chosen by the same images: of configurations that do not differ, how often one that was
named beforehand is called worse than the first. Exit code 1 where coverage is below 93 %, or a
verdict is wrong in more than 5 % of all cases of its kind.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from numpy.typing import NDArray

from weightsearch.stats import comparison
from weightsearch.stats.comparison_result import Verdict

TRUE = 0.05
MARGIN = 2.0
"""Wide beside every spread, so that "equivalent" is as easily said as it can be."""
SPREADS = {  # of seeds, of scenes, of scenes under each seed; frames always 0.1
    "seeds alike": (0.0, 0.1, 0.0),
    "seeds a little apart": (0.03, 0.1, 0.05),
    "seeds as far apart as scenes": (0.1, 0.1, 0.05),
    "seeds far apart": (0.3, 0.1, 0.05),
    "each scene its own way": (0.03, 0.03, 0.1),
}
SEEDS, SCENES = (2, 3, 5, 10), (5, 11, 20, 60)


def simulated(
    rng: np.random.Generator, index: NDArray[np.intp], seeds: int, spread: tuple[float, ...]
) -> NDArray[np.float64]:
    """Differences (seeds, images) whose true mean is 0."""
    of_seeds, of_scenes, of_both = spread
    groups = index[-1] + 1
    return (
        rng.normal(0, of_scenes, groups)[index]
        + rng.normal(0, of_seeds, (seeds, 1))
        + rng.normal(0, of_both, (seeds, groups))[:, index]
        + rng.normal(0, 0.1, (seeds, len(index)))
    )


def bootstrap(
    rng: np.random.Generator, values: NDArray[np.float64], index: NDArray[np.intp], times: int = 400
) -> tuple[float, float]:
    seeds, groups = len(values), index[-1] + 1
    sizes = np.bincount(index)
    sums = np.stack([np.bincount(index, weights=row) for row in values])
    scenes = rng.integers(0, groups, (times, groups))
    weights = rng.multinomial(seeds, [1 / seeds] * seeds, times) / seeds
    per_seed = sums[:, scenes].sum(-1) / sizes[scenes].sum(-1)
    low, high = np.percentile((weights.T * per_seed).sum(0), (2.5, 97.5))
    return float(low), float(high)


def of_pairs(rng: np.random.Generator, repetitions: int) -> NDArray[np.float64]:
    """Prints a row per number of seeds and scenes and spread; (rows, shares)."""
    print(
        "| seeds | scenes | spread | covers | bootstrap covers | better or worse, wrongly"
        " | equivalent, wrongly |"
    )
    print("|---|---|---|---|---|---|---|")
    found = []
    for seeds in SEEDS:
        for scenes in SCENES:
            index = np.repeat(np.arange(scenes), rng.integers(4, 16, scenes))
            names = [f"scene {i}" for i in index]
            zero = np.zeros((seeds, len(index))).tolist()
            for name, spread in SPREADS.items():
                counts = np.zeros(4)
                for _ in range(repetitions):
                    noise = simulated(rng, index, seeds, spread)
                    none = comparison.paired(noise.tolist(), zero, names)
                    at = comparison.paired((noise + MARGIN).tolist(), zero, names, margin=MARGIN)
                    assert none.interval is not None
                    low, high = bootstrap(rng, noise + TRUE, index)
                    counts += (
                        none.interval[0] <= 0 <= none.interval[1],
                        low <= TRUE <= high,
                        none.verdict != Verdict.UNDECIDED,
                        at.is_equivalent,
                    )
                found.append(counts / repetitions)
                cells = " | ".join(f"{share:.1%}" for share in found[-1])
                print(f"| {seeds} | {scenes} | {name} | {cells} |", flush=True)
    return np.array(found)


def of_rankings(rng: np.random.Generator, repetitions: int) -> list[float]:
    """Prints, of configurations that do not differ, how often one that was named beforehand is
    called worse than the one that came first; the shares."""
    print("\n| configurations | scenes | called worse than the first, wrongly |")
    print("|---|---|---|")
    found = []
    for many in (3, 12, 24):
        for scenes in (11, 40):
            index = np.repeat(np.arange(scenes), rng.integers(4, 16, scenes))
            names = [f"scene {i}" for i in index]
            wrong = 0
            for _ in range(repetitions):
                values = np.concatenate(
                    [simulated(rng, index, 1, (0.0, 0.1, 0.0)) for _ in range(many)]
                )
                first = int(values.mean(axis=1).argmin())
                tests = {
                    str(k): comparison.paired([row.tolist()], [values[first].tolist()], names)
                    for k, row in enumerate(values)
                    if k != first
                }
                held = comparison.holm(tests, dict.fromkeys(tests, True))
                wrong += first != 0 and held["0"].verdict == Verdict.WORSE
            found.append(wrong / repetitions)
            print(f"| {many} | {scenes} | {found[-1]:.1%} |", flush=True)
    return found


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--repetitions", type=int, default=1000)
    asked = options.parse_args()
    rng = np.random.default_rng(0)
    pairs = of_pairs(rng, asked.repetitions)
    ranked = of_rankings(rng, asked.repetitions)
    covers, _, said, equivalent = pairs.T
    print(
        f"\ncoverage {covers.min():.1%} to {covers.max():.1%},"
        f" {np.mean((covers >= 0.93) & (covers <= 0.97)):.0%} of the rows within 93 to 97 %; better"
        f" or worse wrongly in {said.mean():.1%} (at most {said.max():.1%}), equivalent in"
        f" {equivalent.mean():.1%} (at most {equivalent.max():.1%}), worse than the first in"
        f" {max(ranked):.1%} at most"
    )
    return int(covers.min() < 0.93 or max(said.mean(), equivalent.mean(), *ranked) > 0.05)


if __name__ == "__main__":
    sys.exit(main())
