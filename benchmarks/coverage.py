"""Do 95 % intervals of a comparison cover in 95 % of cases, and how often is a verdict wrong?

    python benchmarks/coverage.py [--repetitions 1000] [--races 500]

A known difference of per-image errors; frames of one scene are alike (unequal scenes of 4 to 15
frames), seeds shift whole runs, and each scene answers to each seed a little in its own way.
Printed are the shares of cases in which the interval covers, beside a bootstrap (scenes and seeds
with replacement, 400 times); in which "better" or "worse" is said where there is no difference; and
in which "equivalent" is said where the difference is the margin. Then the same where each repeat
has a fold of its own scenes; then of a ranking, whose first is chosen by the same images: of
configurations that do not differ, how often one that was named beforehand is called worse than the
first. At last of whole races of twelve configurations with four looks, which drop some on the way:
of those that do not differ, how often one that was named beforehand is dropped, or called worse
than the first of those that are left; and how often one that differs by the margin is called
equivalent. Exit code 1 where coverage is below 93 %, or a verdict is wrong in more than 5 % of all
cases of its kind.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from numpy.typing import NDArray

from weightsearch.stats import comparison
from weightsearch.stats.comparison_result import Comparison, Verdict
from weightsearch.stats.margin import Margin
from weightsearch.study.looks import audit, deciding, evidence, schedule
from weightsearch.study.looks.decision import Decision, Row
from weightsearch.study.looks.pruner_spec import PrunerSpec

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


def of_folds(rng: np.random.Generator, repetitions: int) -> NDArray[np.float64]:
    """Prints a row per number of folds, of scenes in each, and spread of seeds; (rows, shares)."""
    print("\n| folds | scenes in each | spread of seeds | covers | equivalent, wrongly |")
    print("|---|---|---|---|---|")
    found = []
    for folds in SEEDS:
        for scenes in (5, 11):
            index = np.repeat(np.arange(scenes), rng.integers(4, 16, scenes))
            names = [[f"scene {fold} {i}" for i in index] for fold in range(folds)]
            zero = [np.zeros(len(index))] * folds
            for of_seeds in (0.0, 0.01, 0.03, 0.1, 0.3):
                counts = np.zeros(2)
                for _ in range(repetitions):
                    noise = [simulated(rng, index, 1, (of_seeds, 0.1, 0))[0] for _ in names]
                    none = comparison.paired_folds(noise, zero, names)
                    moved = [row + MARGIN for row in noise]
                    at = comparison.paired_folds(moved, zero, names, margin=MARGIN)
                    counts += (none.verdict == Verdict.UNDECIDED, at.is_equivalent)
                found.append(counts / repetitions)
                cells = " | ".join(f"{share:.1%}" for share in found[-1])
                print(f"| {folds} | {scenes} | {of_seeds:g} | {cells} |", flush=True)
    return np.array(found)


CONFIGURATIONS = 12
RACE_MARGIN = 0.05
NOMINAL = 0.055
"""5 %, which Student's t of folds has exactly, and the noise of the simulation."""
RACES = [(2, 5), (2, 60), (3, 20), (5, 11), (10, 5), (10, 60)]


def raced(
    rng: np.random.Generator, repeats: int, scenes: int, folds: bool, of_first: float
) -> tuple[list[Row], list[Decision]]:
    """A race of configurations that do not differ, but for the first, which is so much worse."""
    groups = [
        [f"scene {r if folds else 0} {k // 4}" for k in range(4 * scenes)] for r in range(repeats)
    ]
    index = np.repeat(np.arange(scenes), 4)
    hard = rng.normal(1, 0.3, (repeats if folds else 1, scenes))[:, index]
    values = hard + np.stack(
        [
            np.concatenate([simulated(rng, index, 1, (0.03, 0.05, 0.03)) for _ in groups])
            if folds
            else simulated(rng, index, repeats, (0.03, 0.05, 0.03))
            for _ in range(CONFIGURATIONS)
        ]
    )
    values[0] += of_first
    rows = [
        Row(f"{k:02}", r, 0, float(values[k, r].mean()), values[k, r], groups[r])
        for k in range(CONFIGURATIONS)
        for r in range(repeats)
    ]
    pruner, past = PrunerSpec(kind="racing", audit=0), list[Decision]()
    keys = [f"{k:02}" for k in range(CONFIGURATIONS)]
    while schedule.due(pruner, repeats, 1, len(past), rows, past, keys=keys):
        margin = Margin(RACE_MARGIN, "")
        past.append(deciding.decide(pruner, repeats, 1, margin, True, len(past), rows, past))
    paid = schedule.asked(keys, past)
    return [row for row in rows if (row.key, row.repeat, row.stage) in paid], past


def against_first(rows: list[Row], past: list[Decision]) -> tuple[str, dict[str, Comparison]]:
    """The first of those that are left, and the others against it, over the repeats they share."""
    runs: dict[str, list[Row]] = {}
    for row in rows:
        runs.setdefault(row.key, []).append(row)
    first = audit.best_of_left(rows, past)
    assert first is not None
    tests = {}
    for key in runs:
        many = min(len(runs[key]), len(runs[first]))
        if key != first:
            pair = evidence.differences(runs[key][:many], runs[first][:many])
            assert pair is not None
            groups = [row.groups for row in runs[key][:many]]
            zero = [np.zeros(len(d)) for d in pair]
            tests[key] = comparison.paired_folds(pair, zero, groups, margin=RACE_MARGIN)
    return first, comparison.holm(tests, dict.fromkeys(tests, True))


def of_races(rng: np.random.Generator, repetitions: int) -> NDArray[np.float64]:
    """Prints a row per number of repeats and scenes; (rows, shares)."""
    print(
        "\n| repeats | scenes | dropped, wrongly | called worse, wrongly | equivalent, wrongly"
        " | rows trained |"
    )
    print("|---|---|---|---|---|---|")
    found = []
    for folds in (False, True):
        for repeats, scenes in RACES:
            counts = np.zeros(4)
            for _ in range(repetitions):
                rows, past = raced(rng, repeats, scenes, folds, 0.0)
                first, tests = against_first(rows, past)
                gone = {drop.key for decision in past for drop in decision.dropped}
                at, tests_at = against_first(*raced(rng, repeats, scenes, folds, RACE_MARGIN))
                worse = (Verdict.WORSE, Verdict.WORSE_WITHIN)
                counts += (
                    "00" in gone,
                    first != "00" and tests["00"].verdict in worse,
                    at != "00" and tests_at["00"].is_equivalent,
                    len(rows) / repeats / CONFIGURATIONS,
                )
            found.append(counts / repetitions)
            where = f"{scenes}{' in each fold' if folds else ''}"
            cells = " | ".join(f"{share:.1%}" for share in found[-1])
            print(f"| {repeats} | {where} | {cells} |", flush=True)
    return np.array(found)


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--repetitions", type=int, default=1000)
    options.add_argument("--races", type=int, default=500)
    asked = options.parse_args()
    rng = np.random.default_rng(0)
    pairs = of_pairs(rng, asked.repetitions)
    folds = of_folds(rng, asked.repetitions)
    ranked = of_rankings(rng, asked.repetitions)
    raced_ = of_races(rng, asked.races)
    said, equivalent = pairs[:, 2], pairs[:, 3]
    covers = np.concatenate([pairs[:, 0], folds[:, 0]])
    print(
        f"\ncoverage {covers.min():.1%} to {covers.max():.1%},"
        f" {np.mean((covers >= 0.93) & (covers <= 0.97)):.0%} of the rows within 93 to 97 %; better"
        f" or worse wrongly in {said.mean():.1%} (at most {said.max():.1%}), equivalent in"
        f" {equivalent.mean():.1%} (at most {equivalent.max():.1%}), worse than the first in"
        f" {max(ranked):.1%} at most; of races dropped in {raced_[:, 0].max():.1%}, called worse in"
        f" {raced_[:, 1].max():.1%}, equivalent in {raced_[:, 2].max():.1%} at most"
    )
    shares = (said.mean(), equivalent.mean(), folds[:, 1].mean(), *raced_[:, :3].mean(axis=0))
    return int(covers.min() < 0.93 or max(*shares, *ranked) > NOMINAL)


if __name__ == "__main__":
    sys.exit(main())
