"""A study's page: the answer in two sentences, the evidence, how to repeat it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from weightsearch.report.evidence.answer import repeats_agree
from weightsearch.report.evidence.constant import constant
from weightsearch.report.evidence.headline import headline
from weightsearch.report.evidence.ranking import (
    RankedPoint,
    beside_the_constant,
    not_comparable,
    ranked,
)
from weightsearch.report.evidence.records import Records, amount, encoder, hours, label
from weightsearch.report.figures.registry import FIGURES, ternary
from weightsearch.report.figures.style import is_nothing
from weightsearch.report.pages.html import Picture, Section, lines, page
from weightsearch.stats import comparison
from weightsearch.stats.comparison_result import Comparison, Verdict
from weightsearch.store.ledger.stored_promotion import Promoted, PromotionVerdict
from weightsearch.store.tables.states import Outcome, PointState
from weightsearch.study.point_text import choices, described, loss
from weightsearch.study.search_space import weighting_of
from weightsearch.study.spec_fields import Value

MOST_ROWS = 50
"""Of a table that people read; the figures and `best --json` have all."""
EVIDENCE = {
    "interaction": "Does the best direction depend on the encoder?",
    "ablation": "What each term contributes",
    "importance": "What matters",
    "parallel": "All points",
    "noise": "How much is noise",
    "cost": "Accuracy and cost",
    "by_depth": "Where the error lies",
}
COURSE = {
    "best_so_far": "The course of the search",
    "learning_curves": "Learning curves",
    "loss_shares": "Shares of the loss",
    "weightings": "Learned weightings",
    "timeline": "Workers",
}
NO_PICTURES = "No checkpoint of this study lies on this machine, so there are no pictures."


def report(records: Records, pictures: Sequence[Picture] = (), about_pictures: str = "") -> str:
    """The page of a study; `about_pictures` says by which rule the pictures were chosen, or why
    there are none."""
    drawn = {name: make(records) for name, make in FIGURES.items()}
    empty = [
        [str(made.layout.title.text), str(made.layout.meta)]
        for made in drawn.values()
        if is_nothing(made)
    ]

    def some(headings: Mapping[str, str]) -> list[Section]:
        there = {name: h for name, h in headings.items() if not is_nothing(drawn[name])}
        return [Section(heading, figure=drawn[name]) for name, heading in there.items()]

    found = [*_headline(records), *_promotion(records)]
    if records.rows:
        text = _ranking_text(records)
        found.append(Section("Ranking", text, drawn["ranking"], ranking_table(records)))
    found += [*_maps(records), *some(EVIDENCE)]
    found.append(Section("Pictures", about_pictures or NO_PICTURES, pictures=pictures))
    found += some(COURSE)
    troubles = troubles_table(records)
    if troubles:
        found.append(Section("Attempts without a result", _troubles_text(records), table=troubles))
    if empty:
        found.append(Section("Not shown", table=(["figure", "why"], empty)))
    found.append(Section("Settings", records.spec.goal, table=_settings(records)))
    return page(f"Study {records.study}", answer(records), found, repeat(records))


def answer(records: Records) -> str:
    """Two sentences: what won, by how much and how sure; what it cost."""
    return f"{_won(records)} {_costs(records)}"


def _won(records: Records) -> str:
    rows, promoted = records.rows, records.promoted
    if promoted:
        return _promoted(records, promoted)
    if not rows:
        failed = records.counts.get(PointState.FAILED, 0)
        why = f": {failed} points failed" if failed else " yet"
        return f"Nothing has won{why}."
    best = rows[0]
    value = f"{amount(records.metric, best.value)}{_interval(best.interval)}"
    said = f"{_who(records, best.weights, best.params)} leads with {value}"
    if len(rows) == 1:
        return f"{said}; it is the only result."
    second = rows[1]
    gap = abs(second.value - best.value)
    if all(row.against_best is None for row in rows[1:]):
        sure = "nothing was measured by which points could be told apart"
    elif level := _level(rows[1:]):
        sure = level
    else:
        sure = "it is better than every other point on these images"
    return (
        f"{said}, {gap:.3g} ahead of {_who(records, second.weights, second.params)}; {sure}"
        f" ({records.measured()}, one seed, not promoted)."
    )


def _level(others: Sequence[RankedPoint]) -> str:
    """`of the other 9 points 2 come to the same within the margin and 1 is undecided`: those that
    are not shown to be worse; empty where there are none."""
    words = [row.against_best for row in others if row.is_level()]
    undecided = sum(word == Verdict.UNDECIDED for word in words)
    same = len(words) - undecided
    counted = {
        f"come{'s' * (same == 1)} to the same within the margin": same,
        f"{'is' if undecided == 1 else 'are'} undecided": undecided,
    }
    if len(others) == 1:
        return "".join(f"the other point {said}" for said, number in counted.items() if number)
    parts = " and ".join(f"{number} {said}" for said, number in counted.items() if number)
    return parts and f"of the other {len(others)} points {parts}"


def _promoted(records: Records, promoted: PromotionVerdict) -> str:
    metric, mine, tests = promoted.metric, promoted.chosen(), promoted.comparisons
    said = (
        f"{_who(records, promoted.weights, promoted.params)} was promoted:"
        f" {amount(metric, mine.validation[metric])} on the validation frames, mean of"
        f" {mine.seeds} fresh seeds"
    )
    if mine.test and metric in mine.test:
        said += f", and {mine.test[metric]:.4g}{_interval(mine.test_interval)} on the test frames"
    if promoted.verdict == Promoted.WINNER and tests:
        nearest = min((t.deciding for t in tests), key=lambda test: abs(test.difference))
        far, near = map(abs, nearest.interval or ())
        return (
            f"{said}; it beats every other finalist, the nearest by {abs(nearest.difference):.3g}"
            f" ({100 * nearest.level:.3g} % interval {near:.3g} to {far:.3g})."
        )
    if promoted.verdict != Promoted.ONLY_FINALIST:
        level = [t for t in tests if t.deciding.verdict != Verdict.BETTER]
        harmed = sorted({name for t in level for name in t.harmed})
        but = f" (better, but at the expense of {', '.join(map(label, harmed))})" if harmed else ""
        others = f"{len(level)} of the other {len(tests)} finalists"
        if len(level) == len(tests):
            others = "the other finalist" if len(tests) == 1 else "any of the other finalists"
        same = promoted.verdict == Promoted.EQUIVALENT
        shown = "comes to the same as" if same else "is not shown to be better than"
        return (
            f"{said}; the best by {label(metric)} {shown} {others}{but}, and of these it is the"
            " simplest."
        )
    return f"{said}; it was the only finalist."


def _costs(records: Records) -> str:
    total, done = records.counts.get("total", 0), records.counts.get(PointState.DONE, 0)
    lost = sum(a.outcome in (Outcome.LOST, Outcome.FAILED) for a in records.attempts)
    spent = hours(records.device_seconds)
    more = f", {lost} of them lost or failed" if lost else ""
    return (
        f"It took {len(records.attempts)} attempts{more} and {spent} of device time; {done} of"
        f" {total} planned points are done."
    )


def _who(records: Records, weights: Mapping[str, float], params: Mapping[str, Value]) -> str:
    """The weights and what else was searched: `resnet18 with 0.6 mae + 0.4 ssim`."""
    searched = choices({name: params[name] for name in records.searched if name in params})
    terms = loss(weights, params)
    return f"{searched} with {terms}" if searched else terms


def _interval(bounds: Sequence[float] | None) -> str:
    if not bounds:
        return ""
    return f" ({100 * comparison.LEVEL:g} % interval {bounds[0]:.4g} to {bounds[1]:.4g})"


def _maps(records: Records) -> list[Section]:
    if len(records.terms) != 3:
        return [Section("Map of the weights", "", ternary(records, "", records.metric))]
    return [
        Section(
            f"Map of the weights: {name}" if name else "Map of the weights",
            "Each corner is one term alone; dark is low. Ringed points are level with the"
            " best one: equivalent, or undecided.",
            figures=[ternary(records, name, metric) for metric in records.metrics],
        )
        for name in records.encoders
        if not name or any(encoder(d.point) == name for d in records.done)
    ]


def _ranking_text(records: Records) -> str:
    left = len(records.rows) - MOST_ROWS
    more = f" The first {MOST_ROWS} of {len(records.rows)} are in the table." if left > 0 else ""
    reasons = sorted({why for d in records.done if (why := not_comparable(d)) is not None})
    apart = _beside_the_constant(records) + "".join(
        f" Done, but not ranked beside others: {why}." for why in reasons
    )
    return (
        f"{_capital(records.measured())}; one seed each, so a verdict here is about these images"
        f" and not about what another seed would give.{more}{apart}"
    )


def _beside_the_constant(records: Records) -> str:
    told = constant(ranked(records.spec, records.done))
    if told is None:
        return ""
    value = amount(records.metric, told.value)
    return f" {_capital(told.says)} has {value}; {beside_the_constant(records.rows)}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def ranking_table(records: Records) -> tuple[list[str], list[list[str]]]:
    shown = [m for m in records.metrics if any(row.metrics[m] is not None for row in records.rows)]
    terms, params = records.spec.loss.terms, records.searched
    heads = ["#", "point", "id", *terms, *params, *map(label, shown)]
    beside = any(row.against_constant for row in records.rows)
    heads += ["95 % interval", "against # 1", *(["against the constant"] if beside else [])]
    rows = [
        [
            str(row.rank),
            str(row.number),
            row.point,
            *(_weight(row, term) for term in terms),
            *(str(row.params.get(name, "")) for name in params),
            *("" if (value := row.metrics[m]) is None else f"{value:.4f}" for m in shown),
            "{:.4f} to {:.4f}".format(*row.interval) if row.interval else "",
            row.against_best or "",
            *([row.against_constant or ""] if beside else []),
        ]
        for row in records.rows[:MOST_ROWS]
    ]
    return heads, rows


def _weight(row: RankedPoint, term: str) -> str:
    """A fixed one; a learned weighting's are in the figure of the weights over the epochs."""
    return f"{row.weights.get(term, 0):.3f}" if weighting_of(row.params) is None else ""


def _headline(records: Records) -> list[Section]:
    told = headline(
        records.spec, records.done, records.full, records.promoted, records.device_seconds
    )
    if told is None:
        return []
    rows = [
        [
            rival.name,
            rival.says,
            f"{rival.value:.4f}",
            _test(rival.comparison) if rival.comparison else "no values per image",
        ]
        for rival in told.rivals
    ]
    heads = ["against", "which is", label(records.metric), "difference, interval and verdict"]
    agree = repeats_agree(records.spec, records.full)
    text = told.sentence + (f" Full runs: {agree}." if agree else "")
    return [Section("The headline", text, table=(heads, rows) if rows else None)]


def _promotion(records: Records) -> list[Section]:
    promoted = records.promoted
    if not promoted:
        return []
    metric = promoted.metric
    tested = [m for m in records.metrics if all(m in (f.test or {}) for f in promoted.finalists)]
    heads = ["finalist", f"validation {label(metric)}", *(f"test {label(m)}" for m in tested)]
    heads += ["seeds", "parameters", "against"]
    tests = {test.against: test.deciding for test in promoted.comparisons}
    rows = [
        [
            _who(records, finalist.weights, finalist.params)
            + (" (promoted)" if finalist.point == promoted.point else ""),
            f"{finalist.validation[metric]:.4f}",
            *(f"{(finalist.test or {})[m]:.4f}" for m in tested),
            str(finalist.seeds),
            f"{finalist.parameters:,.0f}" if finalist.parameters else "",
            _test(tests[finalist.point]) if finalist.point in tests else "the best",
        ]
        for finalist in promoted.finalists
    ]
    text = (
        f"Verdict: {promoted.verdict}, decided at {promoted.decided_at}. The choice is made"
        " by a paired test on the validation frames, with fresh seeds; the test split decides"
        f" nothing. Margin: {records.spec.answer.delta()}. Protocol of the test:"
        f" {promoted.protocol or 'none'}."
    )
    return [Section("The promotion", text, table=(heads, rows))]


def _test(test: Comparison) -> str:
    span = " ({:+.4f} to {:+.4f})".format(*test.interval) if test.interval else ""
    more = f" ({test.settled_by()})" if test.settled_by() else ""
    return f"{test.difference:+.4f}{span}: {test.verdict}{more}"


def _troubles_text(records: Records) -> str:
    count = sum(a.outcome not in (None, Outcome.DONE) for a in records.attempts)
    more = f"; the first {MOST_ROWS} of them" if count > MOST_ROWS else ""
    return f"{count} attempts{more}. A point that was lost is tried again in its place."


def troubles_table(records: Records) -> tuple[list[str], list[list[str]]] | None:
    """Attempts that ended without a result."""
    found = [a for a in records.attempts if a.outcome not in (None, Outcome.DONE)]
    rows = [
        [
            str(a.number),
            str(a.attempt),
            a.worker,
            a.outcome or "",
            a.reason or "",
            described(a.point),
        ]
        for a in found[:MOST_ROWS]
    ]
    heads = ["point", "attempt", "worker", "outcome", "reason", "configuration"]
    return (heads, rows) if rows else None


def _settings(records: Records) -> tuple[list[str], list[list[str]]]:
    rows = []
    for part, value in records.spec.resolved().items():
        if isinstance(value, dict):
            rows += [[f"{part}.{key}", json.dumps(one)] for key, one in value.items()]
        elif value is not None and part != "goal":
            rows.append([part, json.dumps(value)])
    return ["setting", "value"], rows


def repeat(records: Records) -> list[str]:
    """What names the study, its code and its data; the commands."""
    results = [d.result for d in (*records.done, *records.full)]
    commits = sorted({str(r.commit) for r in results if r.commit})
    versions = next((r.versions for r in reversed(results) if r.versions), {})
    facts = {
        "study": records.study,
        "digest of the settings": records.spec.digest(),
        "digest of the data": records.data_digest or "none: no data",
        "commit": ", ".join(commits) or "unknown: not run from a checkout",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items())
        or "unknown",
    }
    return [
        *lines(facts),
        "",
        f"weightsearch verify {records.study}",
        f"weightsearch best {records.study}",
        f"weightsearch report {records.study} --out report.html",
        f"weightsearch launch STUDY.toml --name {records.study}    # with the settings above",
    ]
