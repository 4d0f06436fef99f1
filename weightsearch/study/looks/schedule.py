"""When a study looks: its batches of rows, with a look after each but the last.

The first batch is the first stage of the first repeat of every configuration. With rungs each
further stage of that repeat is a batch; the other repeats follow, whole runs each, in as many
batches of nearly one size as there are looks left, smaller ones first.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

from weightsearch.study.looks.decision import Decision, Row
from weightsearch.study.looks.pruner_spec import PrunerSpec

Batch = tuple[tuple[int, int], ...]
"""(repeat, stage) of the rows that a configuration adds."""


def batches(pruner: PrunerSpec, repeats: int, stages: int) -> tuple[Batch, ...]:
    """What is trained between looks. A configuration in all of them has every repeat.

    Raises ValueError where `stages` are not those of the pruner.
    """
    if stages != len(pruner.rungs) + 1:
        raise ValueError(f"{len(pruner.rungs)} rungs must make one stage more, but got {stages}.")
    last = stages - 1
    first: list[Batch] = [((0, stage),) for stage in range(stages)]
    looks_left = 1 if pruner.kind == "none" else pruner.looks - last
    rest = [(repeat, last) for repeat in range(1, repeats)]
    if not looks_left:  # all are spent on rungs: the last stage and the repeats are one batch
        return (*first[:-1], (*first[-1], *rest))
    number = min(looks_left, len(rest))
    bounds = [len(rest) * k // number for k in range(number + 1)] if number else []
    return (*first, *(tuple(rest[a:b]) for a, b in pairwise(bounds)))


def seen(past: Sequence[Decision]) -> set[tuple[int, int]]:
    """(repeat, stage) of all rows that those have which are not dropped."""
    return {(0, 0)} | {(n.repeat, n.stage) for d in past for n in d.next if not n.audit}


def asked(keys: Collection[str], past: Sequence[Decision]) -> set[tuple[str, int, int]]:
    """(key, repeat, stage) of all rows that were asked for so far; `keys` are the configurations of
    the first batch."""
    later = {(n.key, n.repeat, n.stage) for decision in past for n in decision.next}
    return {(key, 0, 0) for key in keys} | later


def due(
    pruner: PrunerSpec,
    repeats: int,
    stages: int,
    look: int,
    rows: Sequence[Row],
    past: Sequence[Decision],
    *,
    keys: Collection[str],
    failed: Collection[str] = (),
) -> bool:
    """Whether a look can be taken: those before it are, none has stopped the study, a batch is left
    to decide on, and every row that was asked for is there, but those of configurations in
    `failed`. `keys` are the configurations of the first batch."""
    before = [decision for decision in past if decision.look < look]
    if look >= len(batches(pruner, repeats, stages)) - 1 or len(before) != look:
        return False
    if any(decision.stopped for decision in before):
        return False
    there = {(row.key, row.repeat, row.stage) for row in rows}
    return all(row in there or row[0] in failed for row in asked(keys, before))
