"""What a study's looks were decided by, and what they decided: read once, and asked many things."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from weightsearch.stats.scene_names import scenes
from weightsearch.store.ledger.results import Result
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.schema import points, studies
from weightsearch.store.tables.states import OPEN, Outcome, PointState, Rung
from weightsearch.study import planning, search_space
from weightsearch.study.looks import deciding, pilot, schedule
from weightsearch.study.looks.audit import Audited, audited
from weightsearch.study.looks.decision import Decision, Row, Why
from weightsearch.study.looks.pilot import Group
from weightsearch.study.objective_contract import NOT_COMPARABLE
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec
from weightsearch.study.tables.share_spec import ShareSpec


@dataclass(frozen=True)
class Looked:
    """Of a study that is never looked at, nothing."""

    spec: StudySpec
    decisions: Sequence[Decision] = ()
    rows: Sequence[Row] = ()
    """Those of the search that are done."""
    points: Mapping[str, tuple[int, Point]] = field(default_factory=dict)
    """By key: its place and itself."""
    failed: Collection[str] = ()
    """Keys of which a row was given up."""
    is_open: bool = False
    """Whether something is still to be done."""
    groups: Sequence[Group] = ()
    """Of a study with [share]: what may have one trunk."""
    failed_runs: Collection[pilot.Cell] = ()
    """The runs that were given up."""

    def is_due(self) -> bool:
        """Whether a look is to be taken now."""
        if not self.spec.has_looks() or self.is_open:
            return False
        if self.spec.share.kind != "none":
            return pilot.due(*self._shared(), self.rows, self.decisions, self.failed_runs)
        return schedule.due(
            self.spec.pruner,
            self.spec.answer.repeats,
            len(self.spec.stages()),
            len(self.decisions),
            self.rows,
            self.decisions,
            keys=self.points.keys(),
            failed=self.failed,
        )

    def decided(self, without: Collection[str] = ()) -> Decision:
        """What the next look decides; of a pilot without some configurations. Raises ValueError
        where it cannot be taken."""
        if self.spec.share.kind != "none":
            asked = (*self._shared(), self._smaller())
            return pilot.decide(*asked, self.rows, self.decisions, without)
        return deciding.decide(
            self.spec.pruner,
            self.spec.answer.repeats,
            len(self.spec.stages()),
            self.spec.answer.delta(),
            self._smaller(),
            len(self.decisions),
            self.rows,
            self.decisions,
            failed=self.failed,
        )

    def wrong(self) -> list[int]:
        """The looks whose decision is another when it is computed anew."""
        return [d.look for d in self.decisions if not self._is_right(d)]

    def dropped(self) -> list[int]:
        """The places of the configurations that ended at a look, or go on for an audit alone."""
        return sorted(self.points[drop.key][0] for d in self.decisions for drop in d.dropped)

    def audits(self) -> list[Audited]:
        """The dropped configurations that were trained on, each against the leader."""
        return audited(self.rows, self.decisions, self._smaller())

    def told(self, decision: Decision) -> str:
        """What one of its looks decided."""
        if self.spec.share.kind != "none":
            return pilot.told(self.spec.share, decision)
        return told(decision)

    def _shared(self) -> tuple[ShareSpec, int, Sequence[Group]]:
        return self.spec.share, self.spec.answer.repeats, self.groups

    def _smaller(self) -> bool:
        return self.spec.objective.direction == "minimize"

    def _is_right(self, decision: Decision) -> bool:
        before = self.decisions[: decision.look]
        failed = {drop.key for drop in decision.dropped if drop.why == Why.FAILED}
        # What failed then, an audit too, may be done by now: somebody has had it tried again.
        gone = {drop.key for earlier in before for drop in earlier.dropped}
        late = failed | (gone - {asked.key for asked in decision.next if asked.audit})
        cells = schedule.seen(before)
        rows = [r for r in self.rows if r.key not in late or (r.repeat, r.stage) not in cells]
        then = dataclasses.replace(self, decisions=before, rows=rows, failed=failed)
        without = decision.pilot.failed if decision.pilot else ()
        try:
            return _is_same(decision.to_json(), then.decided(without).to_json())
        except ValueError:
            return False


def taken(connection: Connection, study: Study) -> list[Decision]:
    """Those that were."""
    stored = connection.execute(select(studies.c.looks).filter_by(id=study.id)).scalar_one()
    return [Decision.from_json(decision) for decision in stored]


def read(connection: Connection, study: Study) -> Looked:
    if not study.spec.has_looks():
        return Looked(study.spec)
    metric = study.spec.objective.metric
    found = connection.execute(
        select(points)
        .where(points.c.study_id == study.id, points.c.rung == Rung.SEARCH)
        .order_by(points.c.number)
    ).all()
    rows: list[Row] = []
    known: dict[str, tuple[int, Point]] = {}
    groups: Sequence[Group] = ()
    if study.spec.share.kind != "none":  # its looks plan what has no row yet
        plan = planning.plan(study.spec)
        known, groups = planning.places(study.spec, plan), planning.groups(study.spec, plan)
    failed: set[str] = set()
    failed_runs: set[pilot.Cell] = set()
    for row in found:
        if row.weights is None:
            continue
        point = Point(search_space.decode(row.weights), row.params)
        known.setdefault(point.key(), (row.place, point))
        if row.state == PointState.FAILED:
            failed.add(point.key())
            failed_runs.add((point.key(), row.repeat, row.stage))
        if row.state == PointState.DONE:
            result = Result.from_json(row.result)
            rows.append(_row(point.key(), row.repeat, row.stage, row.fold, result, metric))
    return Looked(
        spec=study.spec,
        decisions=taken(connection, study),
        rows=rows,
        points=known,
        failed=failed,
        is_open=any(row.state in OPEN for row in found),
        groups=groups,
        failed_runs=failed_runs,
    )


def _row(key: str, repeat: int, stage: int, fold: int | None, result: Result, metric: str) -> Row:
    counts = result.outcome == Outcome.DONE and NOT_COMPARABLE not in result.validation.about
    samples = result.samples.get(metric)
    return Row(
        key=key,
        repeat=repeat,
        stage=stage,
        value=result.metrics.get(metric) if counts else None,
        samples=samples,
        groups=scenes(fold, result.groups, len(samples)) if samples else (),
    )


def told(decision: Decision) -> str:
    """`12 go on, 2 more are audited, 10 dropped (8 behind at a rung, 2 failed)`."""
    if decision.stopped:
        return f"nothing more is trained: {decision.stopped}"
    going = {n.key for n in decision.next if not n.audit}
    parts = [f"{len(going)} {'goes' if len(going) == 1 else 'go'} on"]
    if checked := {n.key for n in decision.next if n.audit}:
        parts.append(f"{len(checked)} dropped ones are trained on to check the drops")
    if decision.dropped:
        kinds = [drop.why.value for drop in decision.dropped]
        each = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        parts.append(f"{len(kinds)} dropped ({each})")
    return ", ".join(parts)


def _is_same(a: Any, b: Any) -> bool:
    """But for the last digits of numbers, which another machine may have otherwise."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_is_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_is_same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
    return bool(a == b)
