"""What `launch`, `best` and `promote` print: the ranking, the verdict, and where everything is."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from weightsearch.runtime.console import columns, console
from weightsearch.runtime.safe_text import size
from weightsearch.stats.comparison_result import Verdict
from weightsearch.study.search_space import WEIGHTING, weighting_of
from weightsearch.study.spec_fields import Value

if TYPE_CHECKING:
    from weightsearch.launch.preparation import Prospect
    from weightsearch.launch.session import Launched
    from weightsearch.report.evidence.answer import Ranking
    from weightsearch.report.evidence.constant import Constant
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
"""Rows of a ranking that are printed; --json has all."""


def foreseen(name: str, found: Prospect) -> None:
    """What a launch would take, and that nothing was planned."""
    points = f"{len(found.points.points)} points"
    if found.is_known:
        console.print(f"study {name} is planned: a launch resumes its {points}")
    elif found.expected is not None:
        console.print(f"study {name}: {found.expected.told()}")
    else:
        console.print(f"study {name}: {points}; how long they take is not known")
    if found.packed_bytes:
        console.print(f"packed data: {size(found.packed_bytes)}")
    console.print("nothing was planned; the same command without --dry-run launches it")


def launched(found: Launched) -> None:
    """The end of a launch: the ranking, the verdict, where everything is, and the headline."""
    _evidence(found.ranking)
    name = found.ranking.study
    console.print(f"\nEverything is under {found.home}. To look further:")
    for command in (f"best {name}", f"status {name}", f"verify {name}", "dashboard"):
        console.print(f"  {_ours()} {command}")
    _headline(found.ranking)


def _ours() -> str:
    """How this program is started here: a virtual environment need not be on the PATH."""
    if shutil.which("weightsearch"):
        return "weightsearch"
    started = Path(sys.argv[0])
    is_module = started.name == "__main__.py"
    return f"{sys.executable} -P -m weightsearch" if is_module else str(started)


def ranking(found: Ranking) -> None:
    """The ranking, what was promoted, and the headline."""
    _evidence(found)
    _headline(found)


def _headline(found: Ranking) -> None:
    if found.headline:
        console.print(f"\n{found.headline.sentence}", soft_wrap=False)


def _evidence(found: Ranking) -> None:
    yardstick = found.yardstick
    by = f" by protocol {yardstick.protocol}, {yardstick.split} split" if yardstick.protocol else ""
    _ranking_table(found.rows, f"study {found.study}: {yardstick.metric}{by}", found.margin)
    for sentence in found.mixture.sentences() if found.mixture else ():
        console.print(f"mixture: {sentence}")
    if found.constant:
        console.print(_beside_the_constant(found, found.constant))
    if found.promoted:
        promoted(found.promoted)
    if found.reliability:
        console.print(str(found.reliability))


def _beside_the_constant(found: Ranking, constant: Constant) -> str:
    """Its value, and which networks are not shown to be better."""
    from weightsearch.report.evidence.ranking import beside_the_constant

    said = f"{constant.says}: {found.yardstick.metric} {constant.value:.4f}"
    return "; ".join([said, *filter(None, [beside_the_constant(found.rows)])])


def _ranking_table(rows: Sequence[RankedPoint], title: str, margin: str = "") -> None:
    if not rows:
        console.print(f"{title}: no point is finished yet")
        return
    varied = _varied([row.params for row in rows])
    first, *others = [name for name, value in rows[0].metrics.items() if value is not None]
    terms = " ".join(rows[0].weights)
    table = columns(title, ("#", "pt", *varied, terms, first, "95 % interval", *others))
    for row in rows[:ROWS]:
        table.add_row(
            f"{row.rank}{_mark(row)}",
            str(row.number),
            *(str(row.params[n]) for n in varied),
            _weights(row.weights, row.params),
            f"{row.value:.4f}",
            _interval(row.interval),
            *("" if (value := row.metrics[n]) is None else f"{value:.4f}" for n in others),
        )
    console.print(table)
    console.print()
    notes = [f"n = {rows[0].images} images, one seed"] if rows[0].images else []
    shown = {MARKS.get(row.against_best, "") for row in rows}
    notes += [f"{mark} {MEANS[mark].format(margin)}" for mark in MEANS if mark in shown]
    if not all(row.beats_the_constant() for row in rows):
        notes.append("! not shown to be better than the constant prediction")
    notes += [f"{len(rows) - ROWS} more in --json"] if len(rows) > ROWS else []
    console.print("; ".join(notes))


def _mark(row: RankedPoint) -> str:
    return MARKS.get(row.against_best, "") + ("" if row.beats_the_constant() else "!")


def _varied(params: Sequence[Mapping[str, Value]]) -> list[str]:
    """The choices that are not the same everywhere; a weighting stands in the weights' column."""
    names = [name for name in params[0] if name != WEIGHTING]
    return [name for name in names if len({str(one[name]) for one in params}) > 1]


def _weights(weights: Mapping[str, float], params: Mapping[str, Value]) -> str:
    """Or the name of the learned weighting."""
    return weighting_of(params) or " ".join(f"{weight:.2f}" for weight in weights.values())


def _interval(bounds: Sequence[float] | None) -> str:
    return f"{bounds[0]:.3f}..{bounds[1]:.3f}" if bounds else ""


def promoted(verdict: PromotionVerdict) -> None:
    """The verdict of a promotion with its evidence."""
    metric, first = verdict.metric, verdict.finalists[0]
    varied = _varied([finalist.params for finalist in verdict.finalists])
    tested = [name for name in (metric, "rel", "log10") if name in (first.test or {})]
    headings = ["val", *("test" if name == metric else name for name in tested)]
    headings += ["95 % test"] if tested else []
    table = columns("full runs", (*varied, " ".join(first.weights), *headings))
    for finalist in verdict.finalists:
        table.add_row(
            *(str(finalist.params[n]) for n in varied),
            _weights(finalist.weights, finalist.params),
            f"{finalist.validation[metric]:.4f}",
            *(f"{(finalist.test or {})[name]:.4f}" for name in tested),
            *([_interval(finalist.test_interval)] if tested else []),
        )
    console.print(table)
    notes = [f"{metric}, means over {first.seeds} fresh seeds"]
    notes += [f"test split of {first.test_images} images"] if first.test_images else []
    notes += [f"protocol {verdict.protocol}"] if verdict.protocol else []
    console.print("; ".join(notes))
    for comparison in verdict.comparisons:
        console.print(_compared(metric, comparison))
    console.print(f"promoted: {verdict.point} ({verdict.verdict}), {_checkpoint(verdict)}")


def _checkpoint(verdict: PromotionVerdict) -> str:
    """Where it is, if it can be known to be there."""
    if not verdict.checkpoint:
        return "without a checkpoint: the objective keeps none"
    if Path(verdict.checkpoint).is_dir():
        return f"checkpoint {verdict.checkpoint}"
    if verdict.host not in (None, platform.node()):
        return f"checkpoint {verdict.checkpoint} on {verdict.host}"
    return "without a checkpoint: there is none on this machine"


def _compared(metric: str, found: FinalistComparison) -> str:
    test = found.deciding
    span = "{:+.4f} .. {:+.4f}".format(*test.interval) if test.interval else "none"
    why = test.settled_by()  # what would settle it, or makes the verdict weaker than the numbers
    if found.harmed:
        why = f"{', '.join(found.harmed)} worse"
    why = f" ({why})" if why else ""
    return (
        f"{found.point} against {found.against}: {metric} {test.difference:+.4f},"
        f" {100 * test.level:.3g} % interval {span}: {test.verdict}{why}"
    )
