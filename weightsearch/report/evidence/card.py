"""What every page, note and text about a study begins with: the headline as parts.

The verdict in a word, the sentence, the best, against whom, the cost, and what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from weightsearch.report.evidence.headline import Headline
from weightsearch.report.evidence.records import Records
from weightsearch.report.evidence.units import amount, hours
from weightsearch.report.evidence.verdict import Tone, next_step, verdict_of
from weightsearch.stats import comparison
from weightsearch.store.ledger.stored_promotion import Promoted
from weightsearch.store.tables.states import Outcome, PointState
from weightsearch.study.point_text import labelled


@dataclass(frozen=True)
class Card:
    """The answer to show first."""

    verdict: str
    """In a few words: `Undecided`."""
    tone: Tone
    sentence: str
    facts: Mapping[str, str] = field(default_factory=dict)
    """`best`, `against`, `cost` and the like, in the order in which they are shown."""
    next_step: str = ""
    """What to do next; commands stand in backquotes."""
    brief: str = ""
    """The sentence where its numbers stand in a figure below; empty where there is no other."""

    def lines(self) -> list[str]:
        """As plain text, a line for each part."""
        told = [f"{self.verdict}: {self.sentence}"]
        told += [f"{name}: {fact}" for name, fact in self.facts.items()]
        return told + ([f"next: {self.next_step}"] if self.next_step else [])


def of_study(records: Records) -> Card:
    """Of what is recorded so far."""
    told = records.headline
    if told is None:
        return Card("No result yet", Tone.OPEN, _nothing(records), _cost(records), _begin(records))
    verdict, tone = verdict_of(told)
    facts = {
        "best": f"{labelled(told.says, told.point)}: {_value(told)}",
        **_tested(records),
        **_settled(records),
        **({"pilot": "; ".join(records.sharing.sentences())} if records.sharing else {}),
        **_cost(records),
    }
    step = next_step(records.study, records.spec, records.counts, told, records.promoted)
    return Card(verdict, tone, told.sentence, facts, step, told.brief)


def _value(told: Headline) -> str:
    many = f"mean of {told.runs()}" if told.seeds > 1 else told.runs()
    return f"{amount(told.metric, told.value, told.of_depth)} ({many})"


def _tested(records: Records) -> dict[str, str]:
    """The promoted one on the test split, which decided nothing."""
    promoted = records.promoted
    if promoted is None:
        return {}
    test = promoted.chosen().test or {}
    if promoted.metric not in test:
        return {}
    said = amount(promoted.metric, test[promoted.metric], records.of_depth)
    if bounds := promoted.chosen().test_interval:
        said += f" ({100 * comparison.LEVEL:g} % interval {bounds[0]:.4g} to {bounds[1]:.4g})"
    protocol = f", protocol {promoted.protocol}" if promoted.protocol else ""
    return {"on the test split": f"{said}{protocol}"}


SETTLED = {
    Promoted.WINNER: "better than every other finalist",
    Promoted.EQUIVALENT: "the simplest of the finalists that come to the same",
    Promoted.UNDECIDED: "the simplest of those that may be as good as the best finalist",
    Promoted.NO_DIFFERENCE: "the simplest of the finalists that nothing tells apart",
    Promoted.ONLY_FINALIST: "the only finalist",
}


def _settled(records: Records) -> dict[str, str]:
    """Why the promoted one was, of how many."""
    promoted = records.promoted
    if promoted is None:
        return {}
    said = SETTLED[promoted.verdict]
    harmed = sorted({name for made in promoted.comparisons for name in made.harmed})
    but = f"; {', '.join(harmed)} harmed" if harmed else ""
    return {"promoted as": f"{said} ({len(promoted.finalists)} trained in full{but})"}


def _cost(records: Records) -> dict[str, str]:
    total, done = records.counts.get("total", 0), records.counts.get(PointState.DONE, 0)
    lost = sum(a.outcome in (Outcome.LOST, Outcome.FAILED) for a in records.attempts)
    more = f", {lost} of them lost or failed" if lost else ""
    return {
        "cost": f"{hours(records.device_seconds)} of device time, {len(records.attempts)}"
        f" attempts{more}; {done} of {total} points done"
    }


def _nothing(records: Records) -> str:
    failed = records.counts.get(PointState.FAILED, 0)
    if failed:
        return f"{failed} of {records.counts.get('total', 0)} points failed, none has a result."
    if done := records.counts.get(PointState.DONE, 0):
        return (
            f"{done} of {records.counts.get('total', 0)} points done, none has a value to rank by."
        )
    return "no point has a result."


def _begin(records: Records) -> str:
    if records.counts.get(PointState.FAILED, 0):
        return f"`weightsearch failures {records.study}` says why."
    return f"`weightsearch status {records.study}` says how far it is."
