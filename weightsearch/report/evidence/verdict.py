"""What a headline comes to: the verdict in a word, how it is to be taken, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import count, islice

from weightsearch.report.evidence.headline import CONSTANT, Headline, Rival
from weightsearch.report.evidence.units import group, sample
from weightsearch.stats.comparison_result import Comparison, Verdict
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.store.tables.states import OPEN, PointState
from weightsearch.study.spec import DEPTH_OBJECTIVE, StudySpec

MOST_SEEDS = 12
"""Of more than these one would rather say that it does not matter."""


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
    if promoted is not None and counts.get(PointState.DONE, 0) > promoted.lineage.search_points:
        return (
            "The search has grown since the best was promoted:"
            f" `weightsearch promote {study}` judges it anew."
        )
    if _word(told.rivals, CONSTANT) == Verdict.UNDECIDED:
        return (
            "Whether networks learn more than one depth is open: train for more epochs, take more"
            f" repeats, or validate on more {group(told.of_depth)}s."
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
        test = rival.comparison
        if test and test.verdict == Verdict.UNDECIDED and CONSTANT not in rival.names:
            # Alone the interval would have decided: of all that was asked, not.
            more = test.settled_by(sample(told.of_depth)) or "one more seed may decide"
            command = _more_seeds(study, rival, test, promoted)
            step = f"`{command}` runs them" if command else "until then take either"
            return f"Against {rival.name} {more}; {step}."
    if spec.objective.run != DEPTH_OBJECTIVE:
        kept = promoted.checkpoint
        return f"What the objective kept of the promoted run lies in {kept}." if kept else ""
    return "`weightsearch predict CHECKPOINT PICTURE... --out DIR` uses the promoted network."


def _more_seeds(study: str, rival: Rival, test: Comparison, promoted: PromotionVerdict) -> str:
    """The command that runs as many as would decide; empty where seeds do not, or too many."""
    is_open = bool(test.settled_by())
    wanted = test.seeds_needed if is_open else test.seeds + 1
    if wanted is None or wanted > MOST_SEEDS:
        return ""
    if not rival.is_full:
        return f"weightsearch launch {study} --extend repeats={wanted}"
    there = list(promoted.lineage.seeds)
    fresh = (seed for seed in count(1) if seed not in there)
    seeds = [*there, *islice(fresh, max(0, wanted - len(there)))]
    return f"weightsearch promote {study} --promote-seeds {','.join(map(str, seeds))}"
