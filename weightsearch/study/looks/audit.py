"""How often a configuration that was dropped was really better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weightsearch.stats.comparison_result import Comparison, Verdict
from weightsearch.study.looks import evidence
from weightsearch.study.looks.decision import Decision, Row


@dataclass(frozen=True)
class Audited:
    """A dropped configuration against the study's leader, by the rows that came after the drop:
    those before it were chosen for being bad, the leader's for being good."""

    key: str
    look: int
    """At which it was dropped."""
    against: str
    compared: Comparison
    """Of the dropped one; of these two alone."""
    is_better: bool
    """By its mean, however little."""

    @property
    def is_shown_better(self) -> bool:
        return self.compared.verdict in (Verdict.BETTER, Verdict.BETTER_WITHIN)


def audited(
    rows: Sequence[Row], decisions: Sequence[Decision], smaller: bool = True
) -> list[Audited]:
    """Of each audited configuration whose rows are there, in the order of their drops."""
    table = {(row.key, row.repeat, row.stage): row for row in rows if row.is_valued}
    last = max((n.stage for d in decisions for n in d.next), default=0)
    leader = best_of_left(rows, decisions, smaller)
    asked = {n.key for d in decisions for n in d.next if n.audit}
    found = []
    for k, drop in [(k, drop) for k, d in enumerate(decisions) for drop in d.dropped]:
        cells = sorted({(n.repeat, n.stage) for d in decisions[k:] for n in d.next})
        pairs = [
            (table[drop.key, *cell], table[leader, *cell])
            for cell in cells
            if leader and cell[1] == last
            if {(drop.key, *cell), (leader, *cell)} <= set(table)
        ]
        if leader is None or drop.key not in asked or not pairs:
            continue
        ours, theirs = ([pair[i] for pair in pairs] for i in (0, 1))
        test = evidence.compared(ours, theirs, smaller)
        better = test.difference < 0 if smaller else test.difference > 0
        found.append(Audited(drop.key, decisions[k].look, leader, test, better))
    return found


def best_of_left(
    rows: Sequence[Row], decisions: Sequence[Decision], smaller: bool = True
) -> str | None:
    """The best, by the mean of all its repeats, of those that no look dropped; None where none has
    every row that was asked for."""
    if not decisions or decisions[-1].leader is None or decisions[-1].stopped:
        return decisions[-1].leader if decisions else None
    last = max(n.stage for d in decisions for n in d.next)
    going = {n.key for n in decisions[-1].next if not n.audit}
    cells = {(n.repeat, n.stage) for d in decisions for n in d.next if n.stage == last}
    cells |= {(0, 0)} if last == 0 else set()
    runs: Mapping[str, list[Row]] = {
        key: [r for r in rows if r.key == key and (r.repeat, r.stage) in cells and r.is_valued]
        for key in going
    }
    whole = {key: evidence.mean(found) for key, found in runs.items() if len(found) == len(cells)}
    sign = 1 if smaller else -1
    return min(whole, key=lambda key: (sign * whole[key], key), default=None)
