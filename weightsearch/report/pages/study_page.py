"""A study's page: the answer, its evidence, the map of the weights, pictures, the training, and
where it all comes from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from weightsearch.report.evidence import card
from weightsearch.report.evidence.answer import repeats_agree
from weightsearch.report.evidence.constant import constant
from weightsearch.report.evidence.ranking import (
    RankedPoint,
    beside_the_constant,
    not_comparable,
    ranked,
)
from weightsearch.report.evidence.records import Records, encoder
from weightsearch.report.evidence.units import amount
from weightsearch.report.figures.registry import FIGURES, weight_map
from weightsearch.report.figures.style import is_nothing, told_of
from weightsearch.report.pages.html import Cell, Part, Pictures, Section, Worse, lines, page
from weightsearch.runtime.safe_text import counted
from weightsearch.stats.comparison_result import Comparison, Verdict
from weightsearch.store.tables.states import Outcome
from weightsearch.study.point_text import described, named
from weightsearch.study.search_space import WEIGHTING
from weightsearch.study.spec_fields import Value

MOST_ROWS = 50
"""Of a table that people read; the figures and `best --json` have all."""
EVIDENCE = ("noise", "cost")
MAP = ("interaction", "ablation", "importance", "parallel")
TRAINING = ("best_so_far", "learning_curves", "loss_shares", "weightings", "by_depth", "timeline")
NO_PICTURES = "No checkpoint of this study lies on this machine, so there are no pictures."
WORSE = (Verdict.WORSE, Verdict.WORSE_WITHIN)


def report(records: Records, pictures: Pictures | None = None) -> str:
    """The page of a study, in at most six parts."""
    drawn = {name: make(records) for name, make in FIGURES.items()}

    def some(names: Iterable[str]) -> list[Part]:
        return [Part(figure=drawn[name]) for name in names if not is_nothing(drawn[name])]

    maps, missing = _maps(records)
    evidence = [
        *some(["rivals"]), *_promotion(records), *_ranking(records, drawn["ranking"]),
        *some(EVIDENCE),
    ]  # fmt: skip
    tried = [made for name, made in drawn.items() if records.of_depth or name != "by_depth"]
    sections = [
        Section("Evidence", evidence),
        Section("Which weights", [*maps, *some(MAP)]),
        Section("Pictures", pictures=pictures or Pictures(NO_PICTURES)),
        Section("Training", [*some(TRAINING), *_troubles(records)]),
        Section("Where it comes from", _provenance(records, [*tried, *missing])),
    ]
    return page(
        f"Study {records.study}",
        card.of_study(records),
        [section for section in sections if section.parts or section.pictures],
    )


def answer(records: Records) -> str:
    """The headline, as `weightsearch best` says it; where nothing is ranked, that. And what a pilot
    said."""
    sentences = records.sharing.sentences() if records.sharing else []
    return " ".join([card.of_study(records).sentence, *(f"Pilot: {one}." for one in sentences)])


def _maps(records: Records) -> tuple[list[Part], list[go.Figure]]:
    """Each encoder's map of the deciding metric, those of the guards folded away; and the maps that
    cannot be drawn."""
    parts, empty = [], []
    first, *guards = records.metrics
    for name in records.encoders:
        if name and not any(encoder(d.point) == name for d in records.done):
            continue
        drawn = weight_map(records, name, first)
        if is_nothing(drawn):
            empty.append(drawn)
            continue
        parts.append(Part(figure=drawn))
        folded = [weight_map(records, name, metric) for metric in guards]
        more = [Part(figure=made) for made in folded if not is_nothing(made)]
        if more:
            said = " and ".join(map(records.label, guards))
            parts.append(Part(f"{said} over the weights{f', {name}' if name else ''}", more=more))
    return parts, empty


def _ranking(records: Records, drawn: go.Figure) -> list[Part]:
    """The dots, with the ranking behind them, and what a reader must know of it."""
    if not records.rows:
        return []
    reasons = sorted({why for d in records.done if (why := not_comparable(d)) is not None})
    apart = _beside_the_constant(records) + "".join(
        f" Done, but not ranked beside others: {why}." for why in reasons
    )
    once = all(row.repeats == 1 for row in records.rows)
    alone = f" With one seed each, a verdict is about these {records.sample}s, not another seed."
    told = Part(text=f"{alone * once}{apart}".strip())
    return [Part(figure=drawn, table=ranking_table(records)), *([told] if told.text else [])]


def _beside_the_constant(records: Records) -> str:
    told = constant(ranked(records.spec, records.done))
    if told is None:
        return ""
    value = amount(records.metric, told.value, records.of_depth)
    return f" {_capital(told.says)} has {value}; {beside_the_constant(records.rows)}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def ranking_table(records: Records) -> tuple[list[str], list[list[Cell]]]:
    shown = [m for m in records.metrics if any(row.metrics[m] is not None for row in records.rows)]
    beside = any(row.against_constant for row in records.rows)
    heads = ["#", "point", *map(records.label, shown), "95 % interval", "against the first"]
    heads += ["against the constant"] if beside else []
    rows = [
        [
            str(row.rank),
            f"{named(row.weights, _searched(records, row), 3)} [{row.point}]",
            *("" if (value := row.metrics[m]) is None else f"{value:.4f}" for m in shown),
            "{:.4f} to {:.4f}".format(*row.interval) if row.interval else "",
            _verdict(row.against_best),
            *([_verdict(row.against_constant, sunk=True)] if beside else []),
        ]
        for row in records.rows[:MOST_ROWS]
    ]
    if (left := len(records.rows) - MOST_ROWS) > 0:
        more = f"{left} more: `weightsearch best {records.study} --csv`"
        rows.append(["", more, *[""] * (len(heads) - 2)])
    return heads, rows


def _searched(records: Records, row: RankedPoint) -> dict[str, Value]:
    kept = (*records.searched, "encoder", WEIGHTING)
    return {name: value for name, value in row.params.items() if name in kept}


def _verdict(word: Verdict | None, sunk: bool = False) -> Cell:
    """`sunk`: no more than level with it is bad, too."""
    if word is None:
        return ""
    bad = word in WORSE or (sunk and word not in (Verdict.BETTER, Verdict.BETTER_WITHIN))
    return Worse(word) if bad else str(word)


def _promotion(records: Records) -> list[Part]:
    promoted = records.promoted
    if not promoted:
        return []
    metric = promoted.metric
    tested = [m for m in records.metrics if all(m in (f.test or {}) for f in promoted.finalists)]
    heads = ["finalist", f"validation {records.label(metric)}"]
    heads += [f"test {records.label(m)}" for m in tested]
    heads += ["seeds", "parameters", "the best against it"]
    tests = {test.against: test.deciding for test in promoted.comparisons}
    rows: list[list[Cell]] = [
        [
            named(finalist.weights, finalist.params)
            + (" (promoted)" if finalist.point == promoted.point else ""),
            f"{finalist.validation[metric]:.4f}",
            *(f"{(finalist.test or {})[m]:.4f}" for m in tested),
            str(finalist.seeds),
            f"{finalist.parameters:,.0f}" if finalist.parameters else "",
            _test(tests[finalist.point], records.sample) if finalist.point in tests else "",
        ]
        for finalist in promoted.finalists
    ]
    agree = repeats_agree(records.spec, records.full)
    text = (
        f"Decided on {promoted.decided_at[:10]} by a paired test on the validation frames, with"
        f" fresh seeds: {promoted.verdict}. The test split decides nothing"
        + (f"; its protocol is {promoted.protocol}." if promoted.protocol else ".")
        + (f" Full runs: {agree}." if agree else "")
    )
    return [Part("Finalists, trained in full", text, table=(heads, rows))]


def _test(test: Comparison, sample: str) -> str:
    span = " ({:+.4f} to {:+.4f})".format(*test.interval) if test.interval else ""
    more = f"; {more}" if (more := test.settled_by(sample)) else ""
    return f"{test.difference:+.4f}{span}: {test.verdict}{more}"


def _troubles(records: Records) -> list[Part]:
    found = troubles_table(records)
    if found is None:
        return []
    count = sum(a.outcome not in (None, Outcome.DONE) for a in records.attempts)
    more = f"; the first {MOST_ROWS} of them" if count > MOST_ROWS else ""
    text = f"{counted(count, 'attempt')}{more}. A point that was lost is tried again in its place."
    return [Part("Attempts without a result", text, table=found)]


def troubles_table(records: Records) -> tuple[list[str], list[list[Cell]]] | None:
    """Attempts that ended without a result."""
    found = [a for a in records.attempts if a.outcome not in (None, Outcome.DONE)]
    rows: list[list[Cell]] = [
        [described(a.point), str(a.attempt), a.worker, a.outcome or "", a.reason or ""]
        for a in found[:MOST_ROWS]
    ]
    heads = ["point", "attempt", "worker", "outcome", "reason"]
    return (heads, rows) if rows else None


def _provenance(records: Records, drawn: Sequence[go.Figure]) -> list[Part]:
    """How to repeat it, the settings, and what could not be drawn."""
    missing: list[list[Cell]] = [
        [str(made.layout.title.text), told_of(made)] for made in drawn if is_nothing(made)
    ]
    parts = [
        Part("How to repeat it", records.spec.goal, lines=repeat(records)),
        Part("Settings", more=[Part(table=_settings(records))]),
    ]
    if missing:
        parts.append(Part("Figures left out", more=[Part(table=(["figure", "why"], missing))]))
    return parts


def _settings(records: Records) -> tuple[list[str], list[list[Cell]]]:
    rows: list[list[Cell]] = []
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
