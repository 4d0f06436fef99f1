"""Requests to the dashboard, in this process."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from typing import Any

from bottle import Bottle


def ask(
    app: Any, method: str, path: str, body: Any = None, *, server: str = "8080", **headers: str
) -> Answer:
    """What a WSGI application answers; keywords are headers, with _ for -."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    path, _, query = path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": server,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(data),
        "wsgi.errors": io.StringIO(),
        "HTTP_HOST": HOST,
        "HTTP_ACCEPT_ENCODING": "",
    }
    if body is not None:
        environ["CONTENT_LENGTH"] = str(len(data))
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key.startswith("CONTENT_") else f"HTTP_{key}"] = value
    told: list[Any] = []
    parts = app(environ, lambda *said: told.append(said))
    found = b"".join(parts)
    getattr(parts, "close", lambda: None)()
    names = [name.lower() for name, _ in told[-1][1]]
    assert len(names) == len(set(names)), f"a header is given twice: {names}"
    return Answer(int(told[-1][0].split()[0]), {n.lower(): v for n, v in told[-1][1]}, found)


def fill(rule: str, study: int, trial: int) -> str:
    """A path that the rule matches."""
    filled = rule.replace("<study_id:int>", str(study)).replace("<trial_id:int>", str(trial))
    filled = filled.replace("<artifact_id:re:[0-9a-fA-F-]+>", ARTIFACT)
    return re.sub(r"<\w+(:\w+)?>", "x", filled.replace("<:re:(/.*)?>", ""))


def what_a_write_says() -> dict[str, Any]:
    """A body that is right for every route that takes one."""
    return {
        "study_name": "new", "directions": ["minimize"], "state": "complete", "values": [-999],
        "user_attrs": {"a": 1}, "file": "data:text/html;base64,PGI+", "filename": "x.html",
        "mode": "ChooseWorst", "candidates": [0], "clicked": 0, "output_type": "note",
        "version": 1, "body": "a note",
    }  # fmt: skip


def writes(app: Bottle) -> list[tuple[str, str]]:
    """Method and rule of every route that is not for reading."""
    return [(route.method, route.rule) for route in app.routes if route.method != "GET"]


ARTIFACT = "0123abcd-0000-0000-0000-000000000000"

HOST = "127.0.0.1:8080"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
