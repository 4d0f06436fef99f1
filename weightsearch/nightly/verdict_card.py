"""The headline of a night, in the same parts as a study's: its page and its texts begin with it."""

from __future__ import annotations

import re

from weightsearch.report.evidence.card import Card
from weightsearch.report.evidence.units import amount, hours
from weightsearch.report.evidence.verdict import Tone
from weightsearch.store.ledger.stored_night import Mover, NightVerdict, NightWord
from weightsearch.study.point_text import named

WORDS = {
    NightWord.OK: ("No regression", Tone.GOOD),
    NightWord.REGRESSION: ("Regression", Tone.BAD),
    NightWord.NOT_JUDGED: ("Not judged", Tone.OPEN),
}


def of_night(verdict: NightVerdict) -> Card:
    word, tone = WORDS[verdict.verdict]
    facts = {}
    if best := verdict.measured.best:
        value = amount(verdict.metric, best.value, verdict.of_depth)
        facts["best tonight"] = f"{named(best.weights, best.params)}: {value}"
    if baseline := verdict.baseline:
        facts["against"] = (
            f"night {baseline.night}, accepted by {baseline.accepted_by} on"
            f" {baseline.accepted_at[:10]}: {baseline.why}"
        )
    if verdict.rows:
        facts["how sure"] = f"all comparisons together at {100 * verdict.level:g} %"
    if verdict.device_seconds is not None:
        facts["cost"] = f"{hours(verdict.device_seconds)} of device time"
    said = verdict.answer
    if said.startswith(f"{word}: "):  # the verdict stands before it
        rest = said[len(word) + 2 :]
        said = rest[:1].upper() + rest[1:]
    return Card(word, tone, said, facts, _next(verdict))


def _next(verdict: NightVerdict) -> str:
    accept = f"`weightsearch nightly accept {verdict.sweep} --night {verdict.night} --why TEXT`"
    if verdict.verdict == NightWord.REGRESSION:
        changed = changes(verdict)
        look = f"`git log {changed}` has what changed. " if changed else ""
        if verdict.moved == Mover.SEARCH:
            look = "See whether the search space is what was meant. "
        return f"{look}Where it is meant, {accept} makes it the baseline."
    if verdict.verdict == NightWord.OK:
        return "Nothing: the baseline stays."
    if verdict.baseline is None:
        return f"Where its values are good, {accept} makes them the baseline."
    return "See the reasons above; the same command goes on with this night."


def changes(verdict: NightVerdict) -> str:
    """`abc..def`: from the baseline's commit to the night's; empty where they are one."""
    if verdict.baseline is None:
        return ""
    before, now = _commit(verdict.baseline.night), _commit(verdict.night)
    return f"{before}..{now}" if before != now and before and now else ""


def _commit(night: str) -> str:
    """Of `2026-11-25-5cfad25abc-1a2b3c`: the commit alone."""
    return re.sub(r"[^\w.+-]", "", "-".join(night.split("-")[3:4]))
