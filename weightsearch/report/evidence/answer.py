"""A study's answer: its ranking, the constant to beat, how far repeats agree, and the headline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from weightsearch.report.evidence import headline as headlines
from weightsearch.report.evidence import mixture_answer
from weightsearch.report.evidence.constant import Constant, constant
from weightsearch.report.evidence.headline import Headline
from weightsearch.report.evidence.mixture_answer import MixtureAnswer
from weightsearch.report.evidence.ranking import (
    RankedPoint,
    Yardstick,
    comparable,
    ranked,
    ranking,
    yardstick,
)
from weightsearch.report.evidence.sharing import Sharing, sharing
from weightsearch.report.evidence.verdict import next_step
from weightsearch.stats.reliability import Reliability, reliability
from weightsearch.store.ledger import looked, queries
from weightsearch.store.ledger.queries import Done
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.states import Rung
from weightsearch.study.spec import StudySpec


@dataclass(frozen=True)
class Ranking:
    """A study's answer: its points, the best first, and what was promoted."""

    study: str
    yardstick: Yardstick
    margin: str
    """The difference that would matter, as the study states it."""
    rows: Sequence[RankedPoint]
    guards: Sequence[str]
    constant: Constant | None
    """None where the results know of none."""
    reliability: Reliability | None
    """None without repeats."""
    headline: Headline | None
    """None while nothing is ranked."""
    promoted: PromotionVerdict | None
    mixture: MixtureAnswer | None = None
    """Of a mixture study."""
    dropped: Sequence[int] = ()
    """Numbers of the points that looks have dropped: they stand in the ranking by fewer repeats
    than the others, or not at all."""
    sharing: Sharing | None = None
    """Of a study with [share]."""
    next_step: str = ""
    """What to do next; commands stand in backquotes."""

    def to_json(self) -> dict[str, Any]:
        return {
            "study": self.study,
            **self.yardstick.to_json(),
            "margin": self.margin,
            "ranking": [row.to_json() for row in self.rows],
            "guards": list(self.guards),
            "constant": self.constant.to_json() if self.constant else None,
            "reliability": self.reliability.to_json() if self.reliability else None,
            "headline": self.headline.to_json() if self.headline else None,
            "next_step": self.next_step,
            "promoted": self.promoted.to_json() if self.promoted else None,
            "dropped": list(self.dropped),
            **({"mixture": self.mixture.to_json()} if self.mixture else {}),
            **({"sharing": self.sharing.to_json()} if self.sharing else {}),
        }


def found(engine: Engine, study: Study) -> Ranking:
    """What the ledger holds of the study."""
    spec = study.spec
    done = queries.done(engine, study)
    full = queries.done(engine, study, Rung.PROMOTION)
    headline = told(engine, study, done, full)
    counts = queries.counts(engine, study)
    return Ranking(
        study=study.name,
        yardstick=yardstick(spec),
        margin=str(spec.answer.delta()),
        rows=ranking(spec, done),
        guards=spec.objective.guards,
        constant=constant(ranked(spec, done)),
        reliability=_reliability(spec, done, full),
        headline=headline,
        promoted=study.promoted,
        mixture=mixture_answer.answer(spec, comparable(done)),
        dropped=_dropped(engine, study),
        sharing=sharing(engine, study),
        next_step=next_step(study.name, spec, counts, headline, study.promoted),
    )


def told(
    engine: Engine,
    study: Study,
    done: Sequence[Done] | None = None,
    full: Sequence[Done] | None = None,
) -> Headline | None:
    """The headline alone, of the results where they were read already; None while nothing is
    ranked."""
    return headlines.headline(
        study.spec,
        queries.done(engine, study) if done is None else done,
        queries.done(engine, study, Rung.PROMOTION) if full is None else full,
        study.promoted,
        queries.device_seconds(engine, study),
    )


def _dropped(engine: Engine, study: Study) -> list[int]:
    with engine.connect() as connection:
        return looked.read(connection, study).dropped()


def _reliability(spec: StudySpec, done: Sequence[Done], full: Sequence[Done]) -> Reliability | None:
    # A mixture study repeats its vertices, which are farther apart than what it ranks.
    searched = None if spec.sampler.kind == "mixture" else repeats_agree(spec, done)
    return searched or repeats_agree(spec, full)


def repeats_agree(spec: StudySpec, done: Sequence[Done]) -> Reliability | None:
    """How far the seeds of these runs agree on the order of their configurations: of those that
    have every seed that any of them has. None where there are not two of both."""
    by_point: dict[str, dict[int, float]] = {}
    for run in comparable(done):
        value = run.result.metrics[spec.objective.metric]
        by_point.setdefault(run.point.key(), {})[run.seed] = value
    seeds = sorted({seed for runs in by_point.values() for seed in runs})
    whole = [runs for runs in by_point.values() if len(runs) == len(seeds)]
    return reliability([[runs[seed] for seed in seeds] for runs in whole])
