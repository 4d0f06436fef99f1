"""The promotion: finalists trained in full with fresh seeds, compared, and the winner marked.

The choice is made on the validation frames: a paired test over the same frames and the same seeds.
The test split is measured once per finalist and seed, reported beside it, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from weightsearch.errors import StudyError
from weightsearch.launch.expected_cost import full_run_seconds, hours
from weightsearch.report.evidence import mixture_answer
from weightsearch.report.evidence.ranking import comparable, ranked
from weightsearch.runtime.safe_text import counted
from weightsearch.store.ledger import full_runs, queries, study_control
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.states import OPEN, Rung
from weightsearch.study.search_space import Point
from weightsearch.study.spec import PromoteSpec


@dataclass(frozen=True)
class Ahead:
    """What a promotion is going to do."""

    settings: PromoteSpec
    finalists: int
    runs: int
    """That are still to be made."""
    done: int
    """Of an earlier promotion, or an interrupted one."""
    epoch_s: float | None
    """What an epoch took in the search; None where that is not known."""

    def seconds(self, devices: Sequence[str]) -> float | None:
        """At most, on these devices."""
        if self.epoch_s is None:
            return None
        return full_run_seconds(self.runs, self.settings.epochs, self.epoch_s, devices)

    def told(self, devices: Sequence[str]) -> str:
        """`9 full runs of up to 25 epochs (3 finalists, seeds 1, 2, 3): about 2.3 h`."""
        seeds = ", ".join(map(str, self.settings.seeds))
        finalists = counted(self.finalists, "finalist")
        there = f", {self.done} of them done" if self.done else ""
        took = self.seconds(devices)
        return (
            f"{counted(self.runs + self.done, 'full run')} of up to"
            f" {counted(self.settings.epochs, 'epoch')}"
            f" ({finalists}, seeds {seeds}){there}"
            + (f": about {hours(took)}" if took is not None and self.runs else "")
        )


def ahead(engine: Engine, study: Study, asked: PromoteSpec) -> Ahead:
    """What `plan` and the runs after it would do; nothing is planned. Raises StudyError."""
    finalists = _finalists(engine, study, asked)
    change = full_runs.change(engine, study, asked, finalists)
    return Ahead(
        settings=asked,
        finalists=len(finalists),
        runs=len(change.new) + change.open,
        done=change.taken_over - change.open,
        epoch_s=full_runs.epoch_seconds(engine, study),
    )


def plan(engine: Engine, study: Study, asked: PromoteSpec | None = None) -> list[Point]:
    """Plans the full runs of the best points, once, or anew for other settings; the finalists.

    Without `asked` the settings are the study's. Raises StudyError where there are none, or nothing
    to promote.
    """
    settings = asked or study.spec.promote
    if settings is None:
        raise StudyError(
            f"study '{study.name}' has no [promote] table; run `weightsearch promote {study.name}"
            " --top N`."
        )
    full_runs.plan(engine, study, settings, _finalists(engine, study, settings))
    return queries.planned(engine, study, Rung.PROMOTION)


def _finalists(engine: Engine, study: Study, settings: PromoteSpec) -> list[Point]:
    """Those that are planned, or the best of the search. Raises StudyError."""
    there = queries.planned(engine, study, Rung.PROMOTION)
    if there and settings == study.spec.promote and not full_runs.has_grown(engine, study):
        return there
    counts = queries.counts(engine, study)
    left = sum(counts[state] for state in OPEN)
    if left and study_control.standing(engine, study.id).left:  # unless the budget is used up
        raise StudyError(
            f"study '{study.name}' must be searched to its end before the best is promoted, but"
            f" {left} of {counts['total']} points are left; run `weightsearch launch` again."
        )
    done = queries.done(engine, study)
    best = [one.point for one in ranked(study.spec, done)]
    if not best:
        raise StudyError(
            f"study '{study.name}' must have a finished point to promote, but has none;"
            f" run `weightsearch status {study.name}`."
        )
    return mixture_answer.finalists(study.spec, comparable(done), best)[: settings.top]
