"""A report as one HTML file that opens offline: the answer, then figures, tables and pictures.

Nothing is fetched: plotly.js travels inside, compressed, and a Content-Security-Policy names the
two scripts that may run by their digest, so whatever a name or a reason holds, it is shown and
never run. Without scripts, the text, the tables and the pictures remain.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from weightsearch.runtime.atomic_file import write_atomically
from weightsearch.runtime.safe_text import presentable

LEAST_HEIGHT = 360
"""Of a figure, in pixels, where its layout does not say."""


@dataclass(frozen=True)
class Link:
    """A cell that leads to another page of the same site."""

    text: str
    path: str


Table = tuple[Sequence[str], Sequence[Sequence[str | Link]]]
"""The heads of the columns, and the rows."""


@dataclass(frozen=True)
class Picture:
    """A picture; with `other`, two of one size under a slider, from the one to the other."""

    png: bytes
    alt: str
    caption: str = ""
    other: bytes | None = None
    other_alt: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the evidence."""

    heading: str
    text: str = ""
    """Paragraphs, parted by empty lines; plain text."""
    figure: go.Figure | None = None
    table: Table | None = None
    pictures: Sequence[Picture] = ()
    figures: Sequence[go.Figure] = ()
    """Several small ones, side by side where there is room."""


def page(title: str, answer: str, sections: Sequence[Section], repeat: Sequence[str] = ()) -> str:
    """One self-contained HTML document.

    `answer` is the first thing that is read; `repeat` are lines of facts and commands. A figure's
    description is its `layout.meta`, where it has one (report/figures/registry.py). All is plain
    text.
    """
    body = [_section(number, section) for number, section in enumerate(sections)]
    contents = "".join(
        f'<li><a href="#s{number}">{_text(section.heading)}</a></li>'
        for number, section in enumerate(sections)
    )
    drawn = any(section.figure is not None or section.figures for section in sections)
    script = _asset("page.js")
    hashes = [_digest(script)] + ([_digest(get_plotlyjs())] if drawn else [])
    policy = (
        f"default-src 'none'; script-src {' '.join(hashes)}; style-src 'unsafe-inline';"
        " img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{_text(title)}</title>\n<style>\n{_asset('page.css')}</style>\n</head>",
            '<body>\n<a class="skip" href="#answer">Skip to the answer</a>',
            f"<header><h1>{_text(title)}</h1></header>\n<main>",
            f'<section id="answer" aria-label="Answer">{_paragraphs(answer)}</section>',
            f'<nav aria-label="Contents"><ol>{contents}</ol></nav>' if len(sections) > 3 else "",
            *body,
            '<section id="repeat"><h2>How to repeat it</h2>'
            f'<pre tabindex="0">{_text(chr(10).join(repeat))}</pre></section>'
            if repeat
            else "",
            "</main>",
            f'<script type="text/plain" id="plotly">{_packed_plotly()}</script>' if drawn else "",
            f"<script>{script}</script>\n</body>\n</html>\n",
        ]
    )


def write(file: Path, document: str) -> None:
    """Writes the page whole or not at all; raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, document.encode())


def _section(number: int, section: Section) -> str:
    parts = [f'<section aria-labelledby="s{number}"><h2 id="s{number}">{_text(section.heading)}']
    parts += ["</h2>", _paragraphs(section.text)]
    if section.figure is not None:
        parts.append(_figure(section.figure))
    if section.figures:
        parts += ['<div class="row">', *map(_figure, section.figures), "</div>"]
    if section.table is not None:
        parts.append(_table(section.table, f"Table: {section.heading}"))
    parts += [_picture(picture) for picture in section.pictures]
    return "".join(parts) + "</section>"


def _figure(figure: go.Figure) -> str:
    """A place for the figure, its description for those who do not see it, and its JSON."""
    shown: dict[str, Any] = figure.to_plotly_json()
    layout = {k: v for k, v in shown["layout"].items() if k not in ("template", "meta", "title")}
    title = figure.layout.title.text or "figure"
    told = figure.layout.meta or ""
    drawing = _json(go.Figure(shown["data"], layout | {"template": None}))
    height = figure.layout.height or LEAST_HEIGHT
    return (
        f'<figure aria-label="{_text(_plain(title))}"><p class="title">{_text(_plain(title))}</p>'
        f'<div class="plot" style="height:{height:.0f}px" aria-hidden="true"></div>'
        f'<script type="application/json">{drawing}</script>'
        f"<figcaption>{_text(str(told))}</figcaption></figure>"
    )


def _json(figure: go.Figure) -> str:
    """The figure's JSON, in which nothing can end a script element."""
    return str(figure.to_json()).replace("<", "\\u003c").replace("\u2028", "\\u2028")


def _table(table: Table, label: str) -> str:
    heads, rows = table
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>\n" for row in rows
    )
    return (
        f'<div class="table" role="region" aria-label="{_text(label)}" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(cell: str | Link) -> str:
    if isinstance(cell, Link):
        return f'<a href="{_text(cell.path)}">{_text(cell.text)}</a>'
    return _text(cell)


def _picture(picture: Picture) -> str:
    shown = f'<img src="{_png(picture.png)}" alt="{_text(picture.alt)}">'
    caption = f"<figcaption>{_text(picture.caption)}</figcaption>" if picture.caption else ""
    if picture.other is None:
        return f'<figure class="picture">{shown}{caption}</figure>'
    other = f'<img class="over" src="{_png(picture.other)}" alt="{_text(picture.other_alt)}">'
    told = f"From {picture.alt} to {picture.other_alt}"
    return (
        f'<figure class="picture"><div class="pair">{shown}{other}</div>'
        f'<input type="range" min="0" max="100" value="50" aria-label="{_text(told)}">'
        f"{caption}</figure>"
    )


def _png(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_text(part)}</p>" for part in text.split("\n\n") if part.strip())


def _text(text: str) -> str:
    return html.escape(presentable(str(text), lines=True))


def _plain(title: str) -> str:
    """A figure's title without plotly's own mark-up, in which names are escaped already."""
    return html.unescape(title.replace("<br>", ", "))


def _asset(name: str) -> str:
    return resources.files("weightsearch.report.pages").joinpath(name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@functools.cache
def _packed_plotly() -> str:
    """A third of its size, which a browser unpacks in a moment."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def lines(facts: dict[str, Any]) -> Iterator[str]:
    """`name: value`, in columns."""
    width = max(map(len, facts), default=0) + 2
    for name, value in facts.items():
        yield f"{name + ':':{width}}{value if isinstance(value, str) else json.dumps(value)}"
