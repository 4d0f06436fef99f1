"""The pilot of a study that may share the start of its runs (docs/sharing.md): what is trained both
ways, and whether the rest is trained in the shared form. All of it is a function of what is
planned, of committed rows and of the decisions before, as every look is.

Agreement is Kendall's tau-b over the configurations of each group, and over all of them together,
because a ranking is of all of them: a frozen encoder may order directions as a trained one does,
and yet be another encoder's equal. So a study has one form.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from weightsearch.stats.rank_agreement import kendall_tau
from weightsearch.study.looks.decision import Agreement, Decision, Next, Pilot, Row
from weightsearch.study.tables.share_spec import FEWEST, Form, ShareSpec

Cell = tuple[str, int, int]
"""(key, repeat, form)."""


@dataclass(frozen=True)
class Group:
    """Configurations that differ in their weights alone, and so can have one trunk."""

    name: str
    """Its choices; empty where nothing is chosen."""
    keys: tuple[str, ...]
    """In the plan's order."""
    trunk: str
    """The key of equal weights, which need not be among them."""

    def pilots(self, many: int) -> list[str]:
        """A sample drawn by a hash of the key, in the plan's order: neighbours in a grid are alike,
        and the first of one are all at its edge."""
        drawn = {*sorted(self.keys, key=_draw)[:many]}
        return [key for key in self.keys if key in drawn]


def first(share: ShareSpec, groups: Sequence[Group]) -> list[Cell]:
    """What is trained before the first look: trunks first, for runs that wait for them."""
    trunks = [(group.trunk, 0, Form.TRUNK) for group in groups if share.kind == "trunk"]
    forms = (Form.SCRATCH,) if trunks else (Form.SCRATCH, Form.SHARED)
    return [*trunks, *((key, 0, form) for form in forms for key in _pilots(share, groups))]


def judges(share: ShareSpec) -> int:
    """The number of the look at which the pilot is judged; forks wait for their trunk first."""
    return 1 if share.kind == "trunk" else 0


def outcome(past: Iterable[Decision]) -> Pilot | None:
    """What the pilot said; None where it was not judged yet."""
    return next((decision.pilot for decision in past if decision.pilot is not None), None)


def due(
    share: ShareSpec,
    repeats: int,
    groups: Sequence[Group],
    rows: Sequence[Row],
    past: Sequence[Decision],
    failed: Collection[Cell] = (),
) -> bool:
    """Whether the look after those of the `past` can be taken: it has something to plan, and every
    row that was asked for is there, but those that `failed`."""
    there = {(row.key, row.repeat, row.stage) for row in rows} | set(failed)
    later = {(n.key, n.repeat, n.stage) for decision in past for n in decision.next}
    return _is_left(share, repeats, past) and there >= {*first(share, groups), *later}


def decide(
    share: ShareSpec,
    repeats: int,
    groups: Sequence[Group],
    smaller: bool,
    rows: Sequence[Row],
    past: Sequence[Decision],
    without: Collection[str] = (),
) -> Decision:
    """What the look after those of the `past` decides, once it is `due`. Configurations of the
    pilot that lack a run, because it failed, do not count, nor do those `without`.

    Raises ValueError where there is nothing to decide.
    """
    look, pilots = len(past), _pilots(share, groups)
    if not _is_left(share, repeats, past):
        raise ValueError(f"look {look} must follow on looks that left something to plan.")
    keys, later = [key for group in groups for key in group.keys], range(1, repeats)
    if look < judges(share):
        return _asking(look, [(key, 0, Form.SHARED) for key in pilots])
    if look > judges(share):
        return _asking(look, [(key, r, Form.SHARED) for r in later for key in keys])
    found = _judged(share, groups, smaller, rows, without)
    form = Form.SHARED if found.shared else Form.SCRATCH
    cells: list[Cell] = [(key, 0, form) for key in keys if key not in set(pilots)]
    if found.shared and share.kind == "trunk":
        cells += [(group.trunk, r, Form.TRUNK) for r in later for group in groups]
    else:
        cells += [(key, r, form) for r in later for key in keys]
    return _asking(look, cells, found)


def _is_left(share: ShareSpec, repeats: int, past: Sequence[Decision]) -> bool:
    """Whether another look has something to plan: the pilot's forks, the rest, and the forks of
    the other repeats' trunks."""
    if len(past) <= judges(share):
        return True
    pilot, are_forks = outcome(past), share.kind == "trunk" and repeats > 1
    return are_forks and pilot is not None and pilot.shared and len(past) == judges(share) + 1


def told(share: ShareSpec, decision: Decision) -> str:
    """`Kendall's tau of shared and scratch runs 0.93 (resnet18, n = 8): at least 0.8, so ...`."""
    if decision.pilot is None:
        runs = f"{len(decision.next)} run{'s' * (len(decision.next) != 1)}"
        return f"{runs} fork from trunks that are trained"
    taus = ", ".join(_said(one) for one in decision.pilot.agreements)
    if not decision.pilot.shared:
        why = (
            f"not {share.tau:g} of {FEWEST} or more everywhere, so the rest is trained from scratch"
        )
    elif share.kind == "trunk":
        why = f"at least {share.tau:g}, so the rest forks from trunks"
    else:
        why = f"at least {share.tau:g}, so the rest is trained with a frozen encoder"
    return f"Kendall's tau of shared and scratch runs {taus}: {why}"


def _said(one: Agreement) -> str:
    tau = "none" if one.tau is None else f"{one.tau:.2f}"
    return f"{tau} ({one.group + ', ' if one.group else ''}n = {one.n})"


def _judged(
    share: ShareSpec,
    groups: Sequence[Group],
    smaller: bool,
    rows: Sequence[Row],
    without: Collection[str],
) -> Pilot:
    table = {(row.key, row.stage): row for row in rows if row.repeat == 0}
    both = {
        key
        for key in _pilots(share, groups)
        if key not in without and {(key, Form.SCRATCH), (key, Form.SHARED)} <= table.keys()
    }
    asked = [(g.name, [key for key in g.pilots(share.pilot) if key in both]) for g in groups]
    if len(groups) > 1:
        asked.append(("together", [key for _, keys in asked for key in keys]))
    found = tuple(_agreement(name, keys, table, smaller) for name, keys in asked)
    agree = all(a.n >= FEWEST and a.tau is not None and a.tau >= share.tau for a in found)
    return Pilot(agree, found, tuple(sorted(set(_pilots(share, groups)) - both)))


def _agreement(
    name: str, keys: Sequence[str], table: Mapping[tuple[str, int], Row], smaller: bool
) -> Agreement:
    worst = math.inf if smaller else -math.inf  # what diverged, as whatever diverged

    def values(form: Form) -> list[float]:
        found = [table[key, form] for key in keys]
        return [row.value if row.is_valued and row.value is not None else worst for row in found]

    return Agreement(name, len(keys), kendall_tau(values(Form.SCRATCH), values(Form.SHARED)))


def _asking(look: int, cells: Sequence[Cell], pilot: Pilot | None = None) -> Decision:
    asked = tuple(Next(key, repeat, int(form)) for key, repeat, form in cells)
    return Decision(look, None, asked, pilot=pilot)


def _pilots(share: ShareSpec, groups: Sequence[Group]) -> list[str]:
    return [key for group in groups for key in group.pilots(share.pilot)]


def _draw(key: str) -> tuple[bytes, str]:
    return hashlib.sha256(f"pilot {key}".encode()).digest(), key
