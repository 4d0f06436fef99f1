"""The promotion: finalists trained in full with fresh seeds, compared, and the winner marked.

The choice is made on the validation frames: a paired test over the same frames and the same seeds.
The test split is measured once per finalist and seed, reported beside it, and decides nothing.
"""

from __future__ import annotations

from sqlalchemy import Engine

from weightsearch.errors import StudyError
from weightsearch.report.evidence import mixture_answer
from weightsearch.report.evidence.ranking import comparable, ranked
from weightsearch.store.ledger import queries, studies, study_control
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.states import OPEN, Rung
from weightsearch.study.search_space import Point


def plan(engine: Engine, study: Study) -> list[Point]:
    """Plans the full runs of the best points, once; the finalists.

    Raises StudyError where the study asks for no promotion, or has nothing to promote.
    """
    if study.spec.promote is None:
        raise StudyError(f"study '{study.name}' has no [promote] table; add one under a new name.")
    if queries.counts(engine, study, Rung.PROMOTION)["total"] == 0:
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
        chosen = mixture_answer.finalists(study.spec, comparable(done), best)
        studies.add_promotion(engine, study, chosen[: study.spec.promote.top])
    return queries.planned(engine, study, Rung.PROMOTION)
