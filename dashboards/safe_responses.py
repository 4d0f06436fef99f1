"""What optuna-dashboard answers, made harmless.

It serves artifacts under the type that their uploader chose, in its own origin: an HTML file among
them would run with the dashboard's rights. Its tables as CSV hold what workers wrote, which a
spreadsheet would take for formulas. Here every artifact is a download that nothing runs, and a cell
is text or a number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from bottle import Bottle

from dashboards import routes
from weightsearch.report.figures.registry import FIGURES

Headers = list[tuple[str, str]]

EVERYWHERE = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
UNKEPT = ("Cache-Control", "no-store")
PAGE = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
"""unsafe-eval: plotly's WebGL pictures compile their shaders' wrappers."""
REPORT = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
    " img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Of our own pages; each narrows it to the digests of its two scripts (report/pages/html.py)."""
NO_PAGE = "default-src 'none'; frame-ancestors 'none'"
ARTIFACT = "sandbox; default-src 'none'; frame-ancestors 'none'"

STUDY = "GET /api/studies/<study_id:int>"
FIRST = ("rivals", "ranking", "map")
ORDER = [*FIRST, *(name for name in FIGURES if name not in FIRST)]

INERT = ("image/png", "image/jpeg", "image/webp", "application/json", "text/plain")
"""What an artifact may be called; a browser runs none of them."""
UNKNOWN = "application/octet-stream"

CELL = re.compile(r'"(?P<quoted>(?:[^"]|"")*)"|(?P<bare>[^",\r\n]+)')
SIGNS = r"=+\-@\uff1d\uff0b\uff0d\uff20"  # the last four are the first four in full width
FORMULA = re.compile(rf"^(?=[{SIGNS}\t\r\n])|(?<=[;\t\r\n])(?=[{SIGNS}])")
"""Where a formula would begin: with the cell, or after what begins a new one in a spreadsheet of a
country with decimal commas, which splits this file at `;`."""


def harmless(
    dashboard: Bottle, route: str, environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """The dashboard's answer to a request for this route, under headers of ours."""
    begun: list[tuple[str, Headers]] = []

    def begin(status: str, headers: Headers, exc_info: Any = None) -> None:
        begun.append((status, headers))

    body: Iterable[bytes] = dashboard(environ, begin)
    status, headers = begun[-1]
    if route.startswith("GET /csv/") and status.startswith("200"):
        table = text_only(b"".join(body).decode()).encode()
        body = [table]
        study = environ["PATH_INFO"].rpartition("/")[2]
        headers = [
            ("Content-Type", "text/csv; charset=utf-8"),
            ("Content-Length", str(len(table))),
            ("Content-Disposition", f'attachment; filename="study-{study}.csv"'),
        ]
    elif route == STUDY and status.startswith("200"):
        # It keeps the ids of figures in a set, whose order is another after each start.
        told = json.loads(b"".join(body))
        told["plotly_graph_objects"].sort(key=_place)
        body = [json.dumps(told).encode()]
        headers = [
            (n, str(len(body[0])) if n.lower() == "content-length" else v) for n, v in headers
        ]
    elif status.startswith("204"):
        # The page parses every answer as JSON, also those without a body: a note that was saved
        # would look like one that was not.
        status, body, headers = "200 OK", [b"{}"], [("Content-Type", "application/json")]
    start_response(status, [*_kept(headers, route), *_ours(route)])
    return body


def _place(figure: dict[str, Any]) -> tuple[int, int, str]:
    """Where a figure of the study belongs: ours as in a report, others after them."""
    name, _, number = figure["id"].rpartition("_")
    if not number.isdecimal():
        name, number = figure["id"], "0"
    return (ORDER.index(name) if name in ORDER else len(ORDER), int(number), figure["id"])


def text_only(table: str) -> str:
    """CSV, as Python's csv writes it, in which no cell but a number begins like a formula."""
    return CELL.sub(_cell, table)


def _cell(found: re.Match[str]) -> str:
    quote = '"' if found["bare"] is None else ""
    text = found["bare"] or found["quoted"]
    if not _is_number(text):
        text = FORMULA.sub("'", text)
    return f"{quote}{text}{quote}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _kept(headers: Headers, route: str) -> Headers:
    """What the dashboard says and may say."""
    named = {name.lower(): value for name, value in headers}
    if "/artifacts/" in route:
        kind = named.get("content-type", "").partition(";")[0].strip().lower()
        found = [("Content-Type", kind if kind in INERT else UNKNOWN)]
        return found + [(n, v) for n, v in headers if n.lower() == "content-length"]
    kept = ("content-type", "content-length", "content-encoding", "content-disposition")
    found = [(name, value) for name, value in headers if name.lower() in kept]
    if "location" in named:  # without the host, which the asker could choose
        found.append(("Location", urlsplit(named["location"]).path))
    return found


def _ours(route: str) -> Headers:
    if "/artifacts/" in route:
        return [
            *EVERYWHERE, UNKEPT, ("Content-Security-Policy", ARTIFACT),
            ("Content-Disposition", "attachment"),
        ]  # fmt: skip
    if route.startswith("GET /static/"):
        return [*EVERYWHERE, ("Content-Security-Policy", NO_PAGE)]
    policy = PAGE if route.startswith(("GET /dashboard", "GET /incompatible")) else NO_PAGE
    if route in routes.PAGES:
        policy = REPORT
    return [*EVERYWHERE, UNKEPT, ("Content-Security-Policy", policy)]
