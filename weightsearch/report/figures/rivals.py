"""The evidence of the headline: the best against each rival, paired, beside the margin."""

from __future__ import annotations

import plotly.graph_objects as go

from weightsearch.report.evidence.headline import Headline, Rival
from weightsearch.report.evidence.records import Records
from weightsearch.report.figures.style import (
    BETTER,
    BLUE,
    GREY,
    WORSE,
    figure,
    nothing,
    short,
    tabled,
    text,
)
from weightsearch.stats.comparison_result import Verdict

COLOURS = {
    Verdict.BETTER: BETTER,
    Verdict.BETTER_WITHIN: BETTER,
    Verdict.WORSE: WORSE,
    Verdict.WORSE_WITHIN: WORSE,
}


def rivals(records: Records) -> go.Figure:
    """Differences with intervals: what lies wholly in the band is equivalent, what touches both
    the band and more is undecided."""
    label = records.label()
    title = f"The best against its rivals: difference in {text(label)}"
    told = records.headline
    compared = [r for r in told.rivals if r.comparison] if told else []
    if told is None or not compared:
        return nothing(title, "There is nothing to compare the best with.")
    margin = next((r.comparison.margin for r in compared if r.comparison), None)
    traces = [_dot(place, rival) for place, rival in enumerate(compared, start=1)]
    stars = any(_star(told, rival) for rival in compared)
    others = ", but * by those of the search that both have" * stars
    side = "left" if records.smaller else "right"
    over = f"{records.group}s and seeds"
    said = (
        f"{told.says} less each rival, with 95 % intervals over {over}; {side} of 0 the"
        f" best is better. The band is the margin, {told.margin}: an interval that lies in it is"
        f" equivalent, one that reaches out on both sides of 0 undecided. By {told.runs()}{others};"
        f" {records.measured()}."
    )
    behind = tabled(
        ("against", "which is", "compared by", label, "difference", "from", "to", "verdict"),
        (_row(rival, told.runs(rival), records.sample) for rival in compared),
    )
    made = figure(
        traces,
        title,
        said,
        behind,
        f"difference in {text(label)}",
        height=100 + 44 * len(compared),
        yaxis={"range": [len(compared) + 0.5, 0.1], "visible": False},
        annotations=[
            {
                "x": 0, "xref": "paper", "xanchor": "left", "y": place, "yshift": 14,
                "text": text(f"{rival.name}{_star(told, rival)}: {rival.comparison.verdict}"),
                "showarrow": False,
                "font": {"size": 12}, "align": "left",
            }
            for place, rival in enumerate(compared, start=1)
            if rival.comparison
        ],
        margin={"l": 8, "r": 8, "t": 40, "b": 50},
        showlegend=False,
    )  # fmt: skip
    if margin:
        made.add_vrect(
            x0=-margin, x1=margin, fillcolor=BLUE, opacity=0.15, line_width=0, layer="below"
        )
    made.add_vline(x=0, line={"color": GREY, "dash": "dot"})
    return made


def _dot(place: int, rival: Rival) -> go.Scatter:
    test = rival.comparison
    assert test is not None
    low, high = test.interval or (test.difference, test.difference)
    colour = COLOURS.get(test.verdict, BLUE)
    return go.Scatter(
        x=short([test.difference]),
        y=[place],
        error_x={
            "array": short([high - test.difference]),
            "arrayminus": short([test.difference - low]),
            "thickness": 2,
            "width": 4,
        },
        mode="markers",
        name=text(rival.name),
        marker={
            "size": 10,
            "color": colour,
            "symbol": "circle-open" if test.verdict.is_level() else "circle",
            "line": {"width": 2, "color": colour},
        },
        text=[text(f"{rival.name}, {rival.says}")],
        hovertemplate="%{text}<br>%{x:+.4g}<extra></extra>",
    )


def _star(told: Headline, rival: Rival) -> str:
    """Where other runs are compared than those that the best's value is the mean of."""
    return "*" * (told.runs(rival) != told.runs())


def _row(rival: Rival, runs: str, sample: str) -> tuple[object, ...]:
    test = rival.comparison
    assert test is not None
    more = test.settled_by(sample)
    verdict = f"{test.verdict} ({more})" if more else str(test.verdict)
    ends = test.interval or (None, None)
    return rival.name, rival.says, runs, rival.value, test.difference, *ends, verdict
