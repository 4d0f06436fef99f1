"""A comparison's page: two configurations, or the best of two studies, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weightsearch.errors import StudyError, did_you_mean
from weightsearch.report.evidence import configurations
from weightsearch.report.evidence.card import Card
from weightsearch.report.evidence.ranking import not_comparable
from weightsearch.report.evidence.records import Records
from weightsearch.report.evidence.units import group, hours, label, sample
from weightsearch.report.evidence.verdict import Tone
from weightsearch.report.figures import accuracy
from weightsearch.report.pages.html import Cell, Part, Pictures, Section, Worse, lines, page
from weightsearch.stats import comparison
from weightsearch.stats.comparison_result import Comparison, Verdict
from weightsearch.store.ledger.queries import Done
from weightsearch.study.point_text import described, told_apart
from weightsearch.study.search_space import Point

WORDS = {
    Verdict.BETTER: "A is better than B",
    Verdict.WORSE: "A is worse than B",
    Verdict.EQUIVALENT: "A and B are equivalent within the margin of {margin}",
    Verdict.BETTER_WITHIN: "A is better than B, within the margin of {margin}",
    Verdict.WORSE_WITHIN: "A is worse than B, within the margin of {margin}",
    Verdict.UNDECIDED: "whether A or B is better is undecided (margin {margin})",
}
UNSIGNED = (Verdict.EQUIVALENT, Verdict.UNDECIDED)
WORSE = (Verdict.WORSE, Verdict.WORSE_WITHIN)
HEADS = {
    Verdict.BETTER: "A is better",
    Verdict.WORSE: "A is worse",
    Verdict.BETTER_WITHIN: "A is better, within the margin",
    Verdict.WORSE_WITHIN: "A is worse, within the margin",
}


@dataclass(frozen=True)
class Side:
    """One of the two: a configuration with its runs, ordered by seed."""

    records: Records
    point: Point
    runs: Sequence[Done]
    full: bool
    """Whether these are the promotion's full runs; else the search's."""

    def name(self) -> str:
        return described(self.point)


def sides(first: Records, a: str | None, second: Records, b: str | None) -> tuple[Side, Side]:
    """The two to compare: the points named by number or id, or each study's best.

    Full runs are taken where both have them with common seeds. Raises StudyError where a point is
    unknown or has no result, or where the two were not measured on the same frames.
    """
    points = _point(first, a), _point(second, b)
    for full in (True, False):
        one, other = _runs(first, points[0], full), _runs(second, points[1], full)
        seeds = sorted(one.keys() & other.keys())
        if seeds:
            found = (
                Side(first, points[0], [one[s] for s in seeds], full),
                Side(second, points[1], [other[s] for s in seeds], full),
            )
            _check(*found)
            return found
    raise StudyError(
        f"both must have a result of one seed, but {described(points[0])} and"
        f" {described(points[1])} have none in common; run the studies with one train.seed."
    )


def _point(records: Records, name: str | None) -> Point:
    if name is None:
        if records.promoted:
            wanted = records.promoted.point
            # Of the search, where its full runs are being repeated.
            runs = (*records.full, *records.done)
            return next(run.point for run in runs if run.point.id() == wanted)
        if not records.rows:
            raise StudyError(f"study '{records.study}' must have a result, but has none.")
        name = records.rows[0].point
    known = {d.point.id(): d.point for d in (*records.done, *records.full) if not d.diverged()}
    numbers = {str(d.number): d.point for d in records.done if not d.diverged()}
    found = [point for known_id, point in known.items() if known_id.startswith(name)]
    if name in numbers:
        return numbers[name]
    # The place of a point without a result is no prefix of another one's id.
    if len(found) != 1 or (name.isdigit() and int(name) < records.counts.get("total", 0)):
        raise StudyError(
            f"study '{records.study}' must have one finished point '{name}' (a number or an id of"
            f" `weightsearch best`), but has not; {did_you_mean(name, known)}"
        )
    return found[0]


def _runs(records: Records, point: Point, full: bool) -> dict[int, Done]:
    pool = records.full if full else records.done
    return {d.seed: d for d in pool if d.point.key() == point.key() and not d.diverged()}


def _check(a: Side, b: Side) -> None:
    """Raises StudyError unless numbers of the two may be compared at all."""
    for what, one, other in (
        ("metric", a.records.metric, b.records.metric),
        ("protocol", a.records.spec.evaluate.protocol, b.records.spec.evaluate.protocol),
        ("form of training", *(s.runs[0].result.form for s in (a, b))),
        ("data digest", a.records.data_digest, b.records.data_digest),
        ("validation frames", *([run.result.groups for run in s.runs] for s in (a, b))),
        (f"number of {a.records.sample}s", a.runs[0].result.images, b.runs[0].result.images),
    ):
        if one != other:
            said = f"'{one}' and '{other}'" if isinstance(one, str) else "two different ones"
            raise StudyError(f"both must have one {what} to be compared, but have {said}.")
    for side in (a, b):
        for why in map(not_comparable, side.runs):
            if why is not None:
                raise StudyError(f"both must be comparable, but {side.name()} is not: {why}.")


def compared(a: Side, b: Side) -> dict[str, Any]:
    """The verdict on A by each metric, JSON-ready; the deciding one comes first."""
    first, tests = a.records.metric, {}
    smaller = {metric: a.records.smaller_is_better(metric) for metric in a.records.metrics}
    for metric in a.records.metrics:
        pairs = list(zip(a.runs, b.runs, strict=True))
        if any(run.result.metrics.get(metric) is None for side in (a, b) for run in side.runs):
            continue
        margin = _margin(a, b, metric, smaller[metric])
        if test := configurations.compared(a.records.spec, pairs, metric, margin):
            tests[metric] = test
    verdict = Verdict.UNDECIDED
    harmed: list[str] = []
    if first in tests:
        verdict, harmed = comparison.judge(tests, smaller, first)
    return {
        "metric": first,
        "verdict": verdict,
        "harmed": harmed,
        "margin": str(a.records.spec.answer.delta()),
        "a": _about(a),
        "b": _about(b),
        "tests": {n: test.to_json() for n, test in comparison.holm(tests, smaller).items()},
        "measured": a.records.measured(),
        "of_depth": a.records.of_depth,
        "full_runs": a.full,
    }


def _margin(a: Side, b: Side, metric: str, smaller: bool) -> float | None:
    """In the metric's unit, of the better of the two; A's study states it."""
    means = [_mean([run.result.metrics.get(metric) for run in side.runs]) for side in (a, b)]
    best = (min if smaller else max)(mean for mean in means if mean is not None)
    return a.records.spec.answer.delta().of(best, metric == a.records.metric)


def _about(side: Side) -> dict[str, Any]:
    metrics = side.records.metrics
    return {
        "study": side.records.study,
        "point": side.point.id(),
        "name": side.name(),
        "seeds": [run.seed for run in side.runs],
        "seconds": sum(run.result.seconds for run in side.runs),
        **{m: _mean([run.result.metrics.get(m) for run in side.runs]) for m in metrics},
    }


def _mean(values: Sequence[float | None]) -> float | None:
    there = [v for v in values if v is not None]
    return sum(there) / len(there) if there else None


def _sample(found: dict[str, Any]) -> str:
    return sample(found["of_depth"])


def _label(found: dict[str, Any], metric: str) -> str:
    return label(metric, found["of_depth"])


def sentence(found: dict[str, Any]) -> str:
    """Two sentences: which is better, by how much, how sure; what it rests on and cost."""
    metric, a, b = found["metric"], found["a"], found["b"]
    test = found["tests"].get(metric)
    if test is None:
        said = f"A and B have no values per {_sample(found)}, so they cannot be told apart"
    else:
        span = f"no interval, for want of two {group(found['of_depth'])}s"
        if test["low"] is not None:
            span = f"{100 * test['level']:g} % interval {test['low']:+.4g} to {test['high']:+.4g}"
        said = WORDS[found["verdict"]].format(margin=found["margin"])
        said += f": {_label(found, metric)} differs by {test['difference']:+.4g} ({span})"
        if found["harmed"]:
            worse = " and ".join(_label(found, name) for name in found["harmed"])
            said += f", but A is worse by {worse}"
        if found["verdict"] == Verdict.UNDECIDED and (
            more := Comparison.from_json(test).settled_by(_sample(found))
        ):
            said += f"; {more}"
    many = "s" if len(a["seeds"]) > 1 else ""
    runs = f"full run{many}" if found["full_runs"] else f"run{many} of the search"
    spent = hours(a["seconds"] + b["seconds"])
    return (
        f"A is {a['name']} ({a['study']}), B is {b['name']} ({b['study']}): {said}. It rests on"
        f" {len(a['seeds'])} {runs} of each with the same seed{many}, {found['measured']}, and took"
        f" {spent} of device time."
    )


def names(a: Side, b: Side) -> tuple[str, str]:
    """What the two are called on the page; with their studies where they are one configuration."""
    both = (a.name(), b.name())
    if a.point.id() != b.point.id():
        first, second = told_apart(both, [a.point.id(), b.point.id()])
        return first, second
    return f"{a.name()} ({a.records.study})", f"{b.name()} ({b.records.study})"


def report(a: Side, b: Side, found: dict[str, Any], pictures: Pictures) -> str:
    """The page."""
    both = names(a, b)
    same = a.records.study == b.records.study
    asked = f"{a.records.study} {a.point.id()} {b.point.id()}"
    if not same:
        asked = f"{a.records.study} {b.records.study}"
    repeat = [
        *lines(
            {
                "A": f"{a.records.study}, point {a.point.id()}",
                "B": f"{b.records.study}, point {b.point.id()}",
                "digest of the settings": f"{a.records.spec.digest()}, {b.records.spec.digest()}",
                "digest of the data": a.records.data_digest or "none: no data",
                "commit": ", ".join(sorted({str(d.result.commit) for d in (*a.runs, *b.runs)})),
            }
        ),
        "",
        f"weightsearch compare {asked} --out compare.html",
    ]
    evidence = [
        Part(
            "Each metric",
            f"Scenes are the sample, not {a.records.sample}s; where there are several seeds,"
            " seeds are one too. Intervals are each metric's own; verdicts hold for all metrics"
            " together (Holm).",
            table=_table(found, both),
        ),
        Part(figure=accuracy.differences(a.records, a.runs, b.runs, both)),
    ]
    sections = [
        Section("Evidence", evidence),
        Section("Pictures", pictures=pictures),
        Section("Where it comes from", [Part("How to repeat it", lines=repeat)]),
    ]
    return page(f"{both[0]} against {both[1]}", _card(found), sections)


def _card(found: dict[str, Any]) -> Card:
    test = found["tests"].get(found["metric"])
    word = Verdict(found["verdict"])
    tone = Tone.GOOD if word in (Verdict.BETTER, Verdict.BETTER_WITHIN) else Tone.OPEN
    more = Comparison.from_json(test).settled_by(_sample(found)) if test else ""
    return Card(
        HEADS.get(word, str(word).capitalize()),
        Tone.BAD if word in WORSE else tone,
        sentence(found),
        {name.upper(): f"{found[name]['name']} [{found[name]['point']}]" for name in ("a", "b")},
        f"{more[:1].upper()}{more[1:]}." if more else "",
    )


def _table(found: dict[str, Any], both: tuple[str, str]) -> tuple[list[str], list[list[Cell]]]:
    rows: list[list[Cell]] = []
    for metric, test in found["tests"].items():
        span = ""
        if test["low"] is not None:
            span = f"{test['low']:+.5f} to {test['high']:+.5f}"
        word = test["verdict"] if test["verdict"] in UNSIGNED else f"A is {test['verdict']}"
        rows.append(
            [
                _label(found, metric),
                f"{found['a'][metric]:.4f}",
                f"{found['b'][metric]:.4f}",
                f"{test['difference']:+.5f}",
                span,
                Worse(word) if test["verdict"] in WORSE else word,
                f"{test['images']} in {test['groups']}",
            ]
        )
    heads = ["metric", *(f"{name}: {one}" for name, one in zip("AB", both, strict=True))]
    return [
        *heads,
        "A - B",
        "95 % interval",
        "verdict",
        f"{_sample(found)}s in {group(found['of_depth'])}s",
    ], rows
