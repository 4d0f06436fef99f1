"""A page as one HTML file that opens offline: the answer, then figures, tables and pictures.

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
from jinja2 import Environment, Template
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from weightsearch.report.evidence.card import Card
from weightsearch.report.figures.style import WORSE, table_of, told_of
from weightsearch.runtime.atomic_file import write_atomically
from weightsearch.runtime.safe_text import presentable

LEAST_HEIGHT = 360
"""Of a figure, in pixels, where its layout does not say."""


@dataclass(frozen=True)
class Link:
    """A cell or a fact that leads to another page of the same site."""

    text: str
    path: str


@dataclass(frozen=True)
class Worse:
    """A cell that says that something got worse, or is."""

    text: str


Cell = str | Link | Worse
Table = tuple[Sequence[str], Sequence[Sequence[Cell]]]
"""The heads of the columns, and the rows."""


@dataclass(frozen=True)
class View:
    """One picture of a frame: what the camera saw, a depth, an error."""

    png: bytes
    caption: str
    alt: str


@dataclass(frozen=True)
class Frame:
    """Pictures of one size that show the same place, and are looked at with one lens."""

    title: str
    views: Sequence[View]


@dataclass(frozen=True)
class Scale:
    """What the colours of all pictures mean."""

    title: str
    low: str
    high: str
    colours: Sequence[str]
    """From low to high, as CSS writes them."""


@dataclass(frozen=True)
class Pictures:
    """Frames with their scales; without frames `about` says why."""

    about: str
    scales: Sequence[Scale] = ()
    frames: Sequence[Frame] = ()


@dataclass(frozen=True)
class Part:
    """A piece of a section: text, then a figure, a table, or lines as they are typed. A figure's
    table stands behind it, instead of what the figure knows itself."""

    heading: str = ""
    text: str = ""
    """Paragraphs, parted by empty lines; plain text."""
    figure: go.Figure | None = None
    table: Table | None = None
    lines: Sequence[str] = ()
    more: Sequence[Part] = ()
    """What is folded away, under the heading."""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    heading: str
    parts: Sequence[Part] = ()
    pictures: Pictures | None = None


def page(title: str, card: Card, sections: Sequence[Section], links: Sequence[Link] = ()) -> str:
    """One self-contained HTML document.

    `card` is the first thing that is read; `links` lead to other pages of the site. A figure brings
    its description and the table behind it (report/figures/style.py). All is plain text.
    """
    drawn = any(_drawn(section.parts) for section in sections)
    script = _asset("page.js")
    hashes = [_digest(script)] + ([_digest(get_plotlyjs())] if drawn else [])
    return _template().render(
        title=title,
        card=card,
        sections=sections,
        links=links,
        policy=f"default-src 'none'; script-src {' '.join(hashes)}; style-src 'unsafe-inline';"
        " img-src data: blob:; base-uri 'none'; form-action 'none'",
        css=Markup(_asset("page.css").replace("WORSE", WORSE)),
        script=Markup(script),
        plotly=Markup(_packed_plotly()) if drawn else None,
    )


def _drawn(parts: Sequence[Part]) -> bool:
    return any(part.figure is not None or _drawn(part.more) for part in parts)


def write(file: Path, document: str) -> None:
    """Writes the page whole or not at all; raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, document.encode())


@functools.cache
def _template() -> Template:
    """Everything that is not Markup is escaped, and shown without control characters."""

    def finalize(value: Any) -> Any:
        return value if isinstance(value, Markup) else presentable(str(value), lines=True)

    environment = Environment(autoescape=True, finalize=finalize, keep_trailing_newline=True)
    environment.filters |= {"plot": _plot, "data_url": _data_url, "spoken": _spoken}
    return environment.from_string(_asset("page.html.jinja"))


@dataclass(frozen=True)
class Plot:
    """A figure, with what those are told who do not see it."""

    title: str
    told: str
    height: str
    """In pixels."""
    drawing: Markup
    """Its JSON, in which nothing can end a script element."""
    table: Table | None
    """What it draws."""


def _plot(figure: go.Figure) -> Plot:
    shown: dict[str, Any] = figure.to_plotly_json()
    layout = {k: v for k, v in shown["layout"].items() if k not in ("template", "meta", "title")}
    drawing = str(go.Figure(shown["data"], layout | {"template": None}).to_json())
    return Plot(
        # Without plotly's own mark-up, in which names are escaped already.
        html.unescape((figure.layout.title.text or "figure").replace("<br>", ", ")),
        told_of(figure),
        f"{figure.layout.height or LEAST_HEIGHT:.0f}",
        Markup(drawing.replace("<", "\\u003c").replace("\u2028", "\\u2028")),
        (behind.heads, behind.rows) if (behind := table_of(figure)) else None,
    )


def _spoken(text: str) -> Markup:
    """Text in which backquotes mark what is typed."""
    parts = [escape(presentable(part)) for part in text.split("`")]
    typed = Markup("<code>%s</code>")
    return Markup("").join(typed % part if k % 2 else part for k, part in enumerate(parts))


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


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
