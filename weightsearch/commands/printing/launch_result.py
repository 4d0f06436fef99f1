"""What `launch`, `best` and `promote` print: the ranking, the verdict, and where everything is."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightsearch.runtime.console import console
from weightsearch.runtime.line_width import say
from weightsearch.runtime.safe_text import counted, size
from weightsearch.runtime.tables import FITTED, Column, Form, Table
from weightsearch.stats.comparison_result import Verdict
from weightsearch.study.point_text import labelled, named

if TYPE_CHECKING:
    from weightsearch.launch.preparation import Prospect
    from weightsearch.launch.session import Launched
    from weightsearch.report.evidence.answer import Ranking
    from weightsearch.report.evidence.constant import Constant
    from weightsearch.report.evidence.headline import Headline
    from weightsearch.report.evidence.ranking import RankedPoint
    from weightsearch.store.ledger.stored_promotion import FinalistComparison, PromotionVerdict

MARKS: dict[Verdict | None, str] = {
    Verdict.EQUIVALENT: "=",
    Verdict.WORSE_WITHIN: "=",
    Verdict.BETTER_WITHIN: "=",
    Verdict.UNDECIDED: "~",
}
MEANS = {"=": "equivalent to the first within {}", "~": "undecided against the first"}
ROWS = 20
"""Rows of a ranking that are printed; --wide has all."""


def foreseen(name: str, found: Prospect) -> None:
    """What a launch would take, and that nothing was planned."""
    points = counted(found.runs, "point")
    if found.grows:
        console.print(f"study {name} is planned: a launch has it grow to {points}")
    elif found.is_known:
        console.print(f"study {name} is planned: a launch resumes its {points}")
    elif found.expected is not None:
        console.print(f"study {name}: {found.expected.told()}", soft_wrap=False)
    else:
        full = f", then {counted(found.full_runs, 'full run')}" if found.full_runs else ""
        console.print(f"study {name}: {points}{full}; how long they take is not known")
    if found.packed_bytes:
        console.print(f"packed data: {size(found.packed_bytes)}")
    console.print("nothing was planned; the same command without --dry-run launches it")


def launched(found: Launched) -> None:
    """The end of a launch: the ranking, the verdict, where everything is, and the headline."""
    _evidence(found.ranking)
    name = found.ranking.study
    console.print(f"\nEverything is under {found.home}. To look further:")
    looks = (f"best {name}", f"report {name} --out {name}.html", f"verify {name}", "dashboard")
    for command in looks:
        console.print(f"  {_ours()} {command}")
    _headline(found.ranking)


def _ours() -> str:
    """How this program is started here: a virtual environment need not be on the PATH."""
    if shutil.which("weightsearch"):
        return "weightsearch"
    started = Path(sys.argv[0])
    is_module = started.name == "__main__.py"
    return f"{sys.executable} -P -m weightsearch" if is_module else str(started)


def ranking(found: Ranking, form: Form = FITTED) -> None:
    """The ranking, what was promoted, and the headline; as CSV the ranking alone."""
    _evidence(found, form)
    if not form.csv:
        _headline(found)


def _headline(found: Ranking) -> None:
    if found.headline:
        console.print()
        answer(found.headline, found.next_step)


def answer(headline: Headline, next_step: str) -> None:
    """The answer, and what to do next."""
    console.print(headline.sentence, soft_wrap=False)
    if next_step:
        console.print(f"Next: {next_step}", soft_wrap=False)


def _evidence(found: Ranking, form: Form = FITTED) -> None:
    yardstick = found.yardstick
    by = f" by protocol {yardstick.protocol}, {yardstick.split} split" if yardstick.protocol else ""
    title = f"study {found.study}: {yardstick.metric}{by}"
    _ranking_table(found.rows, title, yardstick.of_depth, found.margin, form)
    if form.csv:
        return
    for sentence in found.mixture.sentences() if found.mixture else ():
        console.print(f"mixture: {sentence}", soft_wrap=False)
    for sentence in found.sharing.sentences() if found.sharing else ():
        console.print(f"sharing: {sentence}", soft_wrap=False)
    if found.dropped:
        numbers = ", ".join(map(str, found.dropped))
        console.print(f"dropped by looks (`status` says why): points {numbers}", soft_wrap=False)
    if found.constant:
        console.print(_beside_the_constant(found, found.constant), soft_wrap=False)
    if found.promoted:
        promoted(found.promoted, form)
    if found.reliability:
        console.print(str(found.reliability), soft_wrap=False)


def _beside_the_constant(found: Ranking, constant: Constant) -> str:
    """Its value, and which networks are not shown to be better."""
    from weightsearch.report.evidence.ranking import beside_the_constant

    said = f"{constant.says}: {found.yardstick.metric} {constant.value:.4f}"
    return "; ".join([said, *filter(None, [beside_the_constant(found.rows)])])


def _ranking_table(
    rows: Sequence[RankedPoint], title: str, of_depth: bool, margin: str = "", form: Form = FITTED
) -> None:
    if not rows:
        said = f"{title}: no point has a value to rank by yet; `weightsearch status` shows why"
        say(said) if form.csv else console.print(said, soft_wrap=False)
        return
    if form.csv:
        print(_ranked(rows, title).csv(), end="")
        return
    table = _ranked(rows if form.wide else rows[:ROWS], title)
    table.wide = form.wide
    console.print(table)
    console.print()
    from weightsearch.report.evidence.ranking import repeated
    from weightsearch.report.evidence.units import group, sample

    many = counted(rows[0].images, sample(of_depth)) if rows[0].images else ""
    notes = [f"n = {many}, {repeated(rows)}"] if many else []
    if many and not any(row.interval for row in rows):
        notes.append(f"no intervals, which take two {group(of_depth)}s")
    shown = {MARKS.get(row.against_best, "") for row in rows}
    notes += [f"{mark} {MEANS[mark].format(margin)}" for mark in MEANS if mark in shown]
    if not all(row.beats_the_constant() for row in rows):
        notes.append("! not shown to be better than the constant prediction")
    more = len(rows) - ROWS
    notes += [f"{more} more with `best --wide`"] if more > 0 and not form.wide else []
    console.print("; ".join(notes), soft_wrap=False)


def _ranked(rows: Sequence[RankedPoint], title: str) -> Table:
    first, *others = [name for name, value in rows[0].metrics.items() if value is not None]
    less = [Column(name, leave_out=k) for k, name in enumerate(others, start=2)]
    headings = ("#", "pt", Column("point", wraps=True), first, "95 % interval")
    table = Table(title, (*headings, *less, Column("id", leave_out=1)), more="best --wide")
    for row in rows:
        table.add_row(
            f"{row.rank}{_mark(row)}",
            str(row.number),
            named(row.weights, row.params),
            f"{row.value:.4f}",
            _interval(row.interval),
            *("" if (value := row.metrics[n]) is None else f"{value:.4f}" for n in others),
            row.point,
        )
    return table


def _mark(row: RankedPoint) -> str:
    return MARKS.get(row.against_best, "") + ("" if row.beats_the_constant() else "!")


def _interval(bounds: Sequence[float] | None) -> str:
    return f"{bounds[0]:.3f}..{bounds[1]:.3f}" if bounds else ""


def promoted(verdict: PromotionVerdict, form: Form = FITTED) -> None:
    """The verdict of a promotion with its evidence."""
    from weightsearch.report.evidence.units import sample

    metric, first = verdict.metric, verdict.finalists[0]
    tested = [name for name in (metric, "rel", "log10") if name in (first.test or {})]
    headings: list[str | Column] = [Column("point", wraps=True), f"val {metric}"]
    headings += [
        f"test {name}" if name == metric else Column(name, leave_out=k)
        for k, name in enumerate(tested, start=2)
    ]
    headings += ["95 % test"] if tested else []
    table = Table("full runs", (*headings, Column("id", leave_out=1)), form.wide, "best --wide")
    for finalist in verdict.finalists:
        table.add_row(
            named(finalist.weights, finalist.params),
            f"{finalist.validation[metric]:.4f}",
            *(f"{(finalist.test or {})[name]:.4f}" for name in tested),
            *([_interval(finalist.test_interval)] if tested else []),
            finalist.point,
        )
    console.print(table)
    notes = [f"{metric}, means over {first.seeds} fresh seeds"]
    many = counted(first.test_images or 0, sample(verdict.of_depth))
    notes += [f"test split of {many}"] if first.test_images else []
    notes += [f"protocol {verdict.protocol}"] if verdict.protocol else []
    notes += [f"95 % test: the interval of test {metric}"] if first.test_interval else []
    console.print("; ".join(notes), soft_wrap=False)
    names = {f.point: labelled(named(f.weights, f.params), f.point) for f in verdict.finalists}
    for comparison in verdict.comparisons:
        console.print(_compared(verdict, comparison, names), soft_wrap=False)
    console.print(f"promoted: {names[verdict.point]} ({verdict.verdict})", soft_wrap=False)
    console.print(_checkpoint(verdict))
    for earlier in verdict.previous:
        before = (earlier.get("settings") or {}).get("epochs")
        epochs = f", up to epoch {before}" if before else ""
        console.print(f"promoted before: {_earlier(earlier)}{epochs}", soft_wrap=False)


def _earlier(verdict: Mapping[str, Any]) -> str:
    name = labelled(named(verdict["weights"], verdict["params"]), verdict["point"])
    return f"{name} ({verdict['verdict']}) of {counted(len(verdict['finalists']), 'finalist')}"


def _checkpoint(verdict: PromotionVerdict) -> str:
    """Where it is, if it can be known to be there."""
    if not verdict.checkpoint:
        return "without a checkpoint: the objective keeps none"
    if Path(verdict.checkpoint).is_dir():
        return f"checkpoint {verdict.checkpoint}"
    if verdict.host not in (None, platform.node()):
        return f"checkpoint {verdict.checkpoint} on {verdict.host}"
    return "without a checkpoint: there is none on this machine"


def _compared(
    verdict: PromotionVerdict, found: FinalistComparison, names: Mapping[str, str]
) -> str:
    from weightsearch.report.evidence.units import sample

    test = found.deciding
    span = "{:+.4f} .. {:+.4f}".format(*test.interval) if test.interval else "none"
    # What would settle it, or makes the verdict weaker than the numbers.
    why = test.settled_by(sample(verdict.of_depth))
    if found.harmed:
        why = f"{', '.join(found.harmed)} worse"
    why = f" ({why})" if why else ""
    return (
        f"{names[found.point]} against {names[found.against]}: {verdict.metric}"
        f" {test.difference:+.4f}, {100 * test.level:.3g} % interval {span}: {test.verdict}{why}"
    )
