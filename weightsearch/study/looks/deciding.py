"""The decision of a look: a function of committed rows and of the decisions before it, alone.

**Rungs.** Of runs that ended the same stage the best `keep` by value go on, and whoever is not
shown to be worse than the best of them by the scenes (one-sided, 5 % each: an early epoch is a
guess at the last one, so a level that holds for all of them together would promise too much).
Without values per image only the best `keep` go on (Jamieson and Talwalkar, AISTATS 2016).

**Racing.** A configuration is dropped when it is worse than the leader by more than the margin
(Maron and Moore, NIPS 1993), one-sided at 5 % / (looks x rivals). By Bonferroni all the looks of a
study drop one that is not worse than its leader by more than the margin in at most 5 % of cases,
whatever the dependence between configurations (they share scenes and seeds) and between looks
(they share rows), and however uneven the batches are. The study stops when the leader is not worse
than any that is left by more than the margin, at the same level: it is equivalent, or better.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from weightsearch.stats.margin import Margin
from weightsearch.study.looks import evidence
from weightsearch.study.looks.decision import Decision, Drop, Next, Row, Why
from weightsearch.study.looks.pruner_spec import PrunerSpec
from weightsearch.study.looks.schedule import batches, seen

ALPHA = 0.05

Cell = tuple[int, int]
"""(repeat, stage)."""
Table = Mapping[tuple[str, int, int], Row]
Runs = Mapping[str, Sequence[Row]]
"""Of each configuration, in the same order of repeats."""
Judged = tuple[tuple[Drop, ...], float, str | None]
"""What is dropped, at which level, and why nothing more is trained."""


def decide(
    pruner: PrunerSpec,
    repeats: int,
    stages: int,
    margin: Margin,
    smaller: bool,
    look: int,
    rows: Sequence[Row],
    past: Sequence[Decision],
    *,
    failed: Collection[str] = (),
) -> Decision:
    """What look `look` decides; rows and decisions of later looks do not count.

    Of a configuration in `failed` no rows are needed: where one is missing, it is dropped. Raises
    ValueError where the look cannot be taken (`schedule.due`).
    """
    plan = batches(pruner, repeats, stages)
    before = sorted((d for d in past if d.look < look), key=lambda d: d.look)
    if len(before) != look or look >= len(plan) - 1 or any(d.stopped for d in before):
        raise ValueError(f"look {look} must follow on {look} looks that left something to decide.")
    table = {(row.key, row.repeat, row.stage): row for row in rows}
    cells = sorted(seen(before))
    gone = _without_value(_candidates(table, before, failed), table, cells, failed)
    left = sorted(_candidates(table, before, failed) - {drop.key for drop in gone})
    if not left:
        return Decision(look, None, (), gone, "no configuration has a value")
    stage = min(look, stages - 1)
    runs = {key: [table[key, *cell] for cell in cells if cell[1] == stage] for key in left}
    leader = min(left, key=lambda key: (_sign(smaller) * evidence.mean(runs[key]), key))
    if stage < stages - 1:
        judged, level, stopped = _behind(pruner, smaller, leader, runs)
    else:
        judged, level, stopped = _raced(pruner, margin, smaller, leader, runs)
    gone = tuple(sorted((*gone, *judged), key=lambda drop: drop.key))
    if stopped:
        return Decision(look, leader, (), gone, stopped, level)
    going = dict.fromkeys(set(left) - {drop.key for drop in gone}, False)
    dropped = [*(drop for d in before for drop in d.dropped), *gone]
    going |= dict.fromkeys(_audits(pruner, dropped, table, cells), True)
    following = sorted({cell for batch in plan[: look + 2] for cell in batch} - set(cells))
    asked = tuple(Next(key, *cell, going[key]) for cell in following for key in sorted(going))
    return Decision(look, leader, asked, gone, None, level)


def is_audited(key: str, share: float) -> bool:
    """Whether a configuration is trained on where it is dropped; a share of all keys is."""
    drawn = int.from_bytes(hashlib.sha256(f"audit {key}".encode()).digest()[:8])
    return drawn < share * 2**64


def _candidates(table: Table, before: Sequence[Decision], failed: Collection[str]) -> set[str]:
    if before:
        return {n.key for n in before[-1].next if not n.audit}
    return {key for key, *cell in table if cell == [0, 0]} | set(failed)


def _without_value(
    keys: Collection[str], table: Table, cells: Sequence[Cell], failed: Collection[str]
) -> tuple[Drop, ...]:
    """Those that failed or diverged."""
    found = []
    for key in sorted(keys):
        rows = [table.get((key, *cell)) for cell in cells]
        if None in rows and key not in failed:
            raise ValueError(f"the look is not due: a row of '{key}' is missing.")
        if None in rows:
            found.append(Drop(key, Why.FAILED))
        elif not all(row.is_valued for row in rows if row):
            found.append(Drop(key, Why.DIVERGED))
    return tuple(found)


def _behind(pruner: PrunerSpec, smaller: bool, leader: str, runs: Runs) -> Judged:
    """At a rung."""
    sign, found = _sign(smaller), []
    order = sorted(runs, key=lambda key: (sign * evidence.mean(runs[key]), key))
    for key in order[math.ceil(pruner.keep * len(order) - 1e-9) :]:
        estimate = evidence.estimated(runs[key], runs[leader], None)
        if estimate is None:
            difference = evidence.mean(runs[key]) - evidence.mean(runs[leader])
            found.append(Drop(key, Why.BEHIND, leader, difference))
        elif sign * estimate.mean > (half := estimate.half_width(2 * ALPHA)):
            at = estimate.mean
            found.append(Drop(key, Why.BEHIND, leader, at, at - half, at + half))
    return tuple(found), ALPHA, None


def _raced(pruner: PrunerSpec, margin: Margin, smaller: bool, leader: str, runs: Runs) -> Judged:
    """Over the repeats."""
    rivals = [key for key in runs if key != leader]
    if pruner.kind == "none":
        return (), 0.0, None
    if not rivals:
        return (), 0.0, "one configuration is left"
    sign, delta = _sign(smaller), margin.of(evidence.mean(runs[leader])) or 0.0
    level = ALPHA / (pruner.looks - len(pruner.rungs)) / len(rivals)
    values = [[evidence.value(row) for row in runs[key]] for key in sorted(runs)]
    spread = evidence.Spread.of(sign * np.array(values))
    found, is_open = [], False
    for key in rivals:
        estimate = evidence.estimated(runs[key], runs[leader], spread)
        assert estimate is not None  # there is a spread of two or more
        half, at = estimate.half_width(2 * level), estimate.mean
        if sign * at - half > delta:
            found.append(Drop(key, Why.WORSE, leader, at, at - half, at + half))
        is_open |= sign * at - half <= -delta
    stopped = None if is_open else "no rival is better than the leader by more than the margin"
    return tuple(found), level, stopped


def _audits(
    pruner: PrunerSpec, dropped: Sequence[Drop], table: Table, cells: Sequence[Cell]
) -> set[str]:
    """Those of the dropped that are trained on: not those that have since failed or diverged."""
    drawn = {d.key for d in dropped if d.why.is_judged and is_audited(d.key, pruner.audit)}
    rows = {key: [table.get((key, *cell)) for cell in cells] for key in drawn}
    return {key for key, found in rows.items() if all(row and row.is_valued for row in found)}


def _sign(smaller: bool) -> int:
    """What a metric is multiplied by, so that lower is better."""
    return 1 if smaller else -1
