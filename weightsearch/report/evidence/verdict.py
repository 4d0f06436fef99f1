"""What a headline comes to: the verdict in a word, how it is to be taken, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from weightsearch.report.evidence.headline import CONSTANT, Headline, Rival
from weightsearch.report.evidence.units import sample
from weightsearch.stats.comparison_result import Verdict
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.store.tables.states import OPEN
from weightsearch.study.spec import DEPTH_OBJECTIVE, StudySpec


class Tone(StrEnum):
    """How a verdict is to be taken."""

    GOOD = "good"
    OPEN = "open"
    """Neither good nor bad: undecided, the same, or not known yet."""
    BAD = "bad"
    """A regression, or nothing learned."""


def verdict_of(told: Headline) -> tuple[str, Tone]:
    """In a few words: by the constant first, then by the nearest of the other rivals."""
    beside = _word(told.rivals, CONSTANT)
    if beside not in (None, Verdict.BETTER, Verdict.BETTER_WITHIN):
        shown = "Not shown to beat" if beside == Verdict.UNDECIDED else "No better than"
        return f"{shown} a constant", Tone.BAD
    words = _words([rival for rival in told.rivals if CONSTANT not in rival.names])
    if not words:
        return "Not compared", Tone.OPEN
    if Verdict.WORSE in words or Verdict.UNDECIDED in words:
        return "Undecided", Tone.OPEN
    if all(word == Verdict.BETTER for word in words):
        return "A clear winner", Tone.GOOD
    return "No difference worth having", Tone.GOOD


def _words(rivals: Sequence[Rival]) -> list[Verdict]:
    return [rival.comparison.verdict for rival in rivals if rival.comparison]


def _word(rivals: Sequence[Rival], name: str) -> Verdict | None:
    return next(iter(_words([rival for rival in rivals if name in rival.names])), None)


def next_step(
    study: str,
    spec: StudySpec,
    counts: Mapping[str, int],
    told: Headline | None,
    promoted: PromotionVerdict | None,
) -> str:
    """What to do after this; commands stand in backquotes. Empty where nothing is ranked."""
    if told is None:
        return ""
    if left := sum(counts.get(state, 0) for state in OPEN):
        points = "1 point is" if left == 1 else f"{left} points are"
        return f"{points} open; `weightsearch status {study}` says how far it is."
    if _word(told.rivals, CONSTANT) == Verdict.UNDECIDED:
        return (
            "Whether networks learn more than one depth is open: train for more epochs, take more"
            " repeats, or validate on more scenes."
        )
    if verdict_of(told)[1] == Tone.BAD:
        return (
            "Weights matter little until networks learn: train for more epochs, on more data, or"
            " with another learning rate."
        )
    if promoted is None:
        wanted = spec.promote is not None
        return f"`weightsearch promote {study}` trains the best in full." if wanted else ""
    for rival in told.rivals:
        more = rival.comparison.settled_by(sample(told.of_depth)) if rival.comparison else ""
        if more and CONSTANT not in rival.names:
            return (
                f"Against {rival.name} {more}; `weightsearch promote {study}"
                " --promote-seeds` takes more seeds."
            )
    if spec.objective.run != DEPTH_OBJECTIVE:
        kept = promoted.checkpoint
        return f"What the objective kept of the promoted run lies in {kept}." if kept else ""
    return "`weightsearch predict CHECKPOINT PICTURE... --out DIR` uses the promoted network."
