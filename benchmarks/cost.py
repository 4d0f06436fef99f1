"""What does it cost to find the best direction, and how often is it found?

    python benchmarks/cost.py record STUDY --storage URL --out benchmarks/recorded/STUDY.json
    python benchmarks/cost.py replay benchmarks/recorded/STUDY.json
    python benchmarks/cost.py replay --simulated

A study that trained a lattice of directions with several repeats is recorded once; searchers then
replay it, each seeing what it pays for in epochs. In each replay the repeats are shuffled: some
choose, the others judge what was chosen; where the truth is known, it judges, and all choose.
Regret is how much worse the promoted direction is than the best one. By judging repeats their own
noise is in it: the best of 28 looks better than it is. Shrunk is the difference to expect where
such a regret is seen, by how far the repeats agree on the order. By a surface is the regret by what
neighbouring directions say together, of the judging repeats alone: it takes a smooth response for
granted, as some searchers do, and is left out where the surface has no skill. By all repeats is the
regret by their means, in which the noise is least, but the choosing ones are in it: whoever chooses
by much of it looks the better for that. Against the lattice is how much worse the promoted one is
than what the whole lattice with every choosing repeat would promote, by the judging repeats, which
chose neither: that has noise, and no winner's luck. "All that is known"
promotes the best by the truth, or by every repeat, the judging ones too: no searcher can be
expected to do better. Better, wrongly: of the promoted one against the runner-up, equal weights and
the best single term, with the study's own comparison over the repeats that both were trained with
(Holm), where the judge has it not better. Cost is a share of the whole lattice with five repeats.

Two controls: with the directions' labels shuffled in each repeat nothing can be found, and any
"better" is wrong; with 3 % planted on one direction, in place of what directions differ by, it must
be found within 1 % (0.5 away in Hellinger's distance 1.8 % of it are left). Tables that are made
up, another one for each replay, say so: their figures are of the noise that was put in.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

from replay import table as tables
from replay.searchers import CONTROLLED, MARGIN, SEARCHERS, Replay, Searcher, lattice, predicted
from replay.table import Table

from weightsearch.stats import comparison
from weightsearch.stats.comparison_result import Verdict
from weightsearch.stats.reliability import reliability
from weightsearch.store.connection.database import open_database

PLANTED = 0.03
BETTER = (Verdict.BETTER, Verdict.BETTER_WITHIN)

Made = Callable[[int], Table]
"""The table of a replay."""
Change = Callable[[Table, np.random.Generator], Table]


@dataclass(frozen=True)
class Outcome:
    """What one replay came to."""

    regret: float
    """In the metric's unit."""
    share: float
    """Of the best's metric."""
    shrunk: float
    """The same, times how far the judging repeats' order is to be relied on."""
    smooth: float | None
    """Of the best's metric, by a surface through the judging repeats; None where it is not
    believed, or not needed."""
    known: float
    """Of the best's metric, by the means of all repeats, those that chose too; or by the truth."""
    behind: float
    """What the lattice with all choosing repeats promotes, as a share of its metric; negative where
    the promoted one is better."""
    cost: float
    """Of the lattice with five repeats."""
    better: bool
    """Whether the promoted one was called better than any rival."""
    wrongly: bool
    """Than one that it is not better than."""


def replayed(searcher: Searcher, table: Table, seed: int, judging: int) -> Outcome:
    judging = 0 if table.truth is not None else judging
    order = np.random.default_rng([seed, 1]).permutation(table.shape[1]).tolist()
    replay = Replay(table, order[judging:], seed)
    promoted = searcher(replay)
    judged, surface = table.truth, None
    if judged is None:
        judged = table.epochs[:, order[:judging]].min(axis=2).mean(axis=1)
        surface = judging_surface(table, tuple(sorted(order[:judging])))
    whole = lattice(Replay(table, order[judging:], seed))
    regret = float(judged[promoted] - judged.min())
    claims = [judged[promoted] < judged[k] for k in called_better(replay, promoted)]
    return Outcome(
        regret=regret,
        share=regret / float(judged.min()),
        shrunk=regret / float(judged.min()) * relied_on(table, judging),
        smooth=None if surface is None else share_of(surface, promoted),
        behind=float(judged[promoted] / judged[whole]) - 1,
        known=share_of(table.truth if table.truth is not None else table.levels(), promoted),
        cost=replay.cost / replay.lattice,
        better=bool(claims),
        wrongly=not all(claims),
    )


SURFACES: dict[tuple[int, tuple[int, ...]], tuple[Table, NDArray[np.float64] | None]] = {}
"""Many replays are judged by the same repeats. The table is held, as its id is part of the key."""


def share_of(values: NDArray[np.float64], promoted: int) -> float:
    return float(values[promoted] / values.min()) - 1


def judging_surface(table: Table, repeats: tuple[int, ...]) -> NDArray[np.float64] | None:
    """What a surface through these repeats says of each direction; None where it has no skill."""
    key = id(table), repeats
    if key not in SURFACES:
        judge = Replay(table, repeats, 0)
        lattice(judge)
        SURFACES[key] = table, predicted(judge, range(table.shape[0]))
    return SURFACES[key][1]


def relied_on(table: Table, judging: int) -> float:
    """Which share of the variance of the judging repeats' means lies between directions: the
    difference to expect of two whose means differ by 1 (Kelley 1947; Spearman and Brown)."""
    if table.truth is not None:
        return 1.0
    found = reliability(table.epochs.min(axis=2).tolist())
    of_one = found.of_one if found else 0.0
    return judging * of_one / (1 + (judging - 1) * of_one)


def called_better(replay: Replay, promoted: int) -> list[int]:
    """Of the rivals of the headline (the runner-up, equal weights, the best single term), those
    that the promoted one is called better than. It was chosen from all that were trained beside it,
    so Holm's correction is over all of these: over the rivals alone it is not enough."""
    tests = {}
    for k in {k for k, _ in replay.paid} - {promoted}:
        both = [r for r in replay.whole_runs(k) if r in replay.whole_runs(promoted)]
        pairs = [[replay.row(i, r, 0, replay.epochs) for r in both] for i in (promoted, k)]
        ours, theirs = ([row.samples for row in rows if row.samples is not None] for rows in pairs)
        if both and len(ours) == len(theirs) == len(both):
            groups = [row.groups for row in pairs[0]]
            tests[str(k)] = comparison.paired_folds(ours, theirs, groups)
    found = comparison.holm(tests, dict.fromkeys(tests, True))
    asked = {str(k) for k in rivals(replay, promoted)}
    return [int(k) for k, test in found.items() if k in asked and test.verdict in BETTER]


def rivals(replay: Replay, promoted: int) -> set[int]:
    means = {k: replay.mean(k) for k, _ in replay.paid if k != promoted and replay.whole_runs(k)}
    weights = {k: list(replay.table.points[k].weights.values()) for k in means}
    runner_up = sorted(means, key=lambda k: means[k])[:1]
    single = sorted((k for k in means if max(weights[k]) == 1), key=lambda k: means[k])[:1]
    return {*runner_up, *single, *(k for k in means if len(set(weights[k])) == 1)}


def measure(made: Made, replays: int, judging: int, names: list[str], change: Change) -> None:
    """Prints a row per searcher."""
    print(
        "| searcher | cost, % of the lattice x 5 | regret mean / 90 % / max, % | regret, m |"
        f" within {MARGIN}, % | the same, shrunk, % | the same, by a surface, % |"
        " the same, by all repeats, % | against the lattice, mean / 90 %, % | the same, within"
        f" {MARGIN}, % | called better, % | better, wrongly, % | ms |"
    )
    print("|---" * 13 + "|")
    for name in names:
        began = time.perf_counter()
        found = [
            replayed(
                SEARCHERS[name], change(made(seed), np.random.default_rng([seed, 2])), seed, judging
            )
            for seed in range(replays)
        ]
        shares = 100 * np.array([o.share for o in found])
        behind = 100 * np.array([o.behind for o in found])
        smooth = 100 * np.array([o.smooth for o in found if o.smooth is not None])
        cells = (
            f"{100 * np.mean([o.cost for o in found]):.1f}",
            f"{shares.mean():.2f} / {np.quantile(shares, 0.9):.2f} / {shares.max():.2f}",
            f"{np.mean([o.regret for o in found]):.4f}",
            f"{100 * np.mean(shares <= MARGIN.amount):.1f}",
            f"{100 * np.mean([100 * o.shrunk <= MARGIN.amount for o in found]):.1f}",
            f"{100 * np.mean(smooth <= MARGIN.amount):.1f}" if len(smooth) else "",
            f"{100 * np.mean([100 * o.known <= MARGIN.amount for o in found]):.1f}",
            f"{behind.mean():+.2f} / {np.quantile(behind, 0.9):+.2f}",
            f"{100 * np.mean(behind <= MARGIN.amount):.1f}",
            f"{100 * np.mean([o.better for o in found]):.1f}",
            f"{100 * np.mean([o.wrongly for o in found]):.1f}",
            f"{1000 * (time.perf_counter() - began) / replays:.0f}",
        )
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


AS_RECORDED = "As recorded"
CONTROLS: dict[str, Change] = {
    AS_RECORDED: lambda table, _: table,
    "Control: labels shuffled (every `better` is wrong)": lambda table, rng: table.shuffled(rng),
    "Control: 3 % planted (found: within the margin)": lambda table, rng: table.planted(
        rng, PLANTED
    ),
}


def replay(asked: argparse.Namespace) -> None:
    if asked.table is None and not asked.simulated:
        sys.exit("replay needs a recorded table, or --simulated.")
    recorded = None if asked.simulated else tables.read(asked.table)

    def made(seed: int) -> Table:
        return recorded or tables.simulated(
            seed, asked.repeats, directions_sd=asked.directions_sd, seeds_sd=asked.seeds_sd
        )

    table = made(0)
    many, repeats, epochs = table.shape
    judging = asked.judging or repeats // 2
    if table.truth is None and not 0 < judging < repeats:
        sys.exit(f"--judging must be from 1 to {repeats - 1}, but got {judging}.")
    said = "SIMULATED, nothing was trained" if table.about["simulated"] else "recorded"
    judge = "the truth judges"
    if table.truth is None:
        judge = f"{repeats - judging} of them choose, {judging} judge (in the controls all choose)"
    print(
        f"{said}: {many} directions x {repeats} repeats x {epochs} epochs; {judge};"
        f" n = {asked.replays} replays a row"
    )
    for title, change in CONTROLS.items():
        print(f"\n{title}\n", flush=True)
        names = [n for n in asked.searchers if title == AS_RECORDED or n in CONTROLLED]
        measure(made, asked.replays, judging, names, change)


def record(asked: argparse.Namespace) -> None:
    opened = open_database(asked.storage, asked.home)
    try:
        found = tables.of_ledger(opened.engine, asked.study)
    except ValueError as error:
        sys.exit(str(error))
    finally:
        opened.engine.dispose()
    tables.write(found, asked.out)
    print(f"{asked.out}: {found.shape}, {asked.out.stat().st_size / 1000:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="One replay of a table made up.")
    does = parser.add_subparsers(dest="does")
    recording = does.add_parser("record", help="A finished study of a ledger, as a table.")
    recording.add_argument("study")
    recording.add_argument("--storage", default=os.environ.get("WEIGHTSEARCH_STORAGE"))
    recording.add_argument("--home", type=Path, default=Path.home() / ".weightsearch")
    recording.add_argument("--out", type=Path, required=True)
    replaying = does.add_parser("replay", help="Searchers on a table.")
    replaying.add_argument("table", type=Path, nargs="?")
    replaying.add_argument("--simulated", action="store_true")
    replaying.add_argument("--repeats", type=int, default=5, help="Of a table that is made up.")
    replaying.add_argument("--directions-sd", type=float, default=0.025, help="The same, metres.")
    replaying.add_argument("--seeds-sd", type=float, default=0.017, help="The same, metres.")
    replaying.add_argument("--judging", type=int, help="Repeats that judge; half of them.")
    replaying.add_argument("--replays", type=int, default=200)
    replaying.add_argument("--searchers", nargs="+", default=list(SEARCHERS), choices=SEARCHERS)
    asked = parser.parse_args()
    if asked.quick:
        some = ["lattice, one seed", "TPE, median pruner", "mixture, racing, rungs"]
        asked = parser.parse_args(["replay", "--simulated", "--replays", "1", "--searchers", *some])
    if asked.does is None:
        parser.error("say record, replay or --quick.")
    (record if asked.does == "record" else replay)(asked)


if __name__ == "__main__":
    main()
