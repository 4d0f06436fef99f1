"""Who may ask optuna-dashboard for what: the checks that every request passes before it.

optuna-dashboard itself has no authentication, lets anyone who reaches its port delete studies and
tell trials, and answers under any host name, which a page on the web can use (DNS rebinding). Here
a request must, in this order: name a host of ours, come from no other site, know the token, and ask
for a route that is open (`routes.py`). What comes back is made harmless in `safe_responses.py`.
"""

from __future__ import annotations

import io
import json
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from bottle import Bottle, HTTPError

from dashboards import routes, safe_responses

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
MAX_BODY_BYTES = 1 << 20
HOST = re.compile(r"\[[0-9a-f:.]+\]|[^\s:@/\[\]]+")
"""A name or an address, in lower case and without port."""
AUTHORITY = re.compile(rf"(?P<host>{HOST.pattern})(:\d{{1,5}})?")
PLAIN_PATH = re.compile(r"(/|(/(?!\.\.?(/|$))[^/\\\x00-\x1f\x7f-\U0010ffff]+)+/?)")
"""Printable ASCII, without empty, `.` and `..` parts: no route needs any other."""

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


@dataclass(frozen=True)
class Access:
    """Who is let in, and how far."""

    token: str = field(repr=False)
    hosts: frozenset[str] = LOOPBACK
    """Under which names: see `HOST`."""
    writable: bool = False
    cookie: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """What a browser gets for the token; it ends with this process."""


@dataclass(eq=False)
class Refusal(Exception):
    """Why a request goes no further."""

    status: HTTPStatus
    reason: str
    headers: tuple[tuple[str, str], ...] = ()


def guarded(dashboard: Bottle, access: Access) -> Application:
    """optuna-dashboard for those who know the token, as far as `access` goes."""

    def front(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            _check_host(environ, access)
            _check_origin(environ)
            if (token := _token(environ)) is not None:
                return _enter(token, environ, access, start_response)
            _check_cookie(environ, access)
            route = _route(dashboard, environ, access)
            _check_body(environ)
        except Refusal as refusal:
            return _refuse(refusal, environ, start_response)
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")  # optuna-dashboard cannot do without
        return safe_responses.harmless(dashboard, route, environ, start_response)

    return front


def _check_host(environ: Environ, access: Access) -> None:
    named = AUTHORITY.fullmatch(environ.get("HTTP_HOST", "").lower())
    if named is None or named["host"] not in access.hosts:
        raise Refusal(
            HTTPStatus.MISDIRECTED_REQUEST,
            "this dashboard answers under the names it was started with (--allowed-host).",
        )


def _check_origin(environ: Environ) -> None:
    """What a browser tells about the page that asks; scripts and command lines tell nothing."""
    host, origin = environ["HTTP_HOST"].lower(), environ.get("HTTP_ORIGIN")
    ours = origin is None or origin.lower() in (f"http://{host}", f"https://{host}")
    needed = environ["REQUEST_METHOD"] not in ("GET", "HEAD")
    site = environ.get("HTTP_SEC_FETCH_SITE", "none")
    if not ours or (needed and origin is None) or site not in ("same-origin", "none"):
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            "the request comes from another site; put the address into the browser's address line.",
        )


def _token(environ: Environ) -> str | None:
    """The token in the address; None where there is none."""
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    return query["token"][0] if "token" in query else None


def _enter(
    token: str, environ: Environ, access: Access, start_response: StartResponse
) -> Iterable[bytes]:
    """Changes the token for a cookie, so that it stands in no address any more."""
    if not secrets.compare_digest(token.encode(), access.token.encode()):
        raise _stranger()
    cookie = f"{_cookie_name(environ)}={access.cookie}; HttpOnly; SameSite=Strict; Path=/"
    path = environ.get("PATH_INFO", "")
    # Not to any path of the asker's: `//elsewhere` would lead to another host.
    ours = path.startswith(("/dashboard", "/reports", "/nights/"))
    page = path if ours and PLAIN_PATH.fullmatch(path) else "/"
    headers = [("Location", page), ("Set-Cookie", cookie)]
    start_response("303 See Other", [*headers, *safe_responses.EVERYWHERE, safe_responses.UNKEPT])
    return []


def _check_cookie(environ: Environ, access: Access) -> None:
    pairs = (part.strip().partition("=") for part in environ.get("HTTP_COOKIE", "").split(";"))
    mine = [value for name, _, value in pairs if name == _cookie_name(environ)]
    if not any(secrets.compare_digest(v.encode(), access.cookie.encode()) for v in mine):
        raise _stranger()


def _cookie_name(environ: Environ) -> str:
    """By port, because a browser sends a cookie to every port of its host."""
    return f"weightsearch-{environ['SERVER_PORT']}"


def _stranger() -> Refusal:
    return Refusal(
        HTTPStatus.UNAUTHORIZED,
        "open the address with the token, which `weightsearch dashboard` printed.",
    )


def _route(dashboard: Bottle, environ: Environ, access: Access) -> str:
    """The route that was asked for, if it is open."""
    path = environ["PATH_INFO"] = environ.get("PATH_INFO") or "/"
    if not PLAIN_PATH.fullmatch(path):
        raise Refusal(HTTPStatus.NOT_FOUND, "there is no such page.")
    environ["PATH_INFO"] = path.rstrip("/")  # as optuna-dashboard does before it looks
    try:
        found, _ = dashboard.match(environ)
    except HTTPError as error:
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            raise _closed("it knows no such method") from None
        raise Refusal(HTTPStatus.NOT_FOUND, "there is no such page.") from None
    route = f"{found.method} {found.rule}"
    if route in routes.READ | routes.PAGES or (access.writable and route in routes.WRITE):
        return route
    if route in routes.WRITE:
        raise _closed("the dashboard is read-only; start it with --writable")
    raise _closed(routes.REFUSED.get(route, "weightsearch does not know what this changes"))


def _closed(why: str) -> Refusal:
    return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{why}.", (("Allow", "GET, HEAD"),))


def _check_body(environ: Environ) -> None:
    """Reads the body of a write; nobody reads that of a GET."""
    if "HTTP_TRANSFER_ENCODING" in environ:
        raise Refusal(HTTPStatus.LENGTH_REQUIRED, "a request must say how long it is.")
    body = b""
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        length = environ.get("CONTENT_LENGTH", "")
        if not (length.isascii() and length.isdigit()):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "a request must say how long it is.")
        if len(length) > 9 or int(length) > MAX_BODY_BYTES:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY_BYTES} bytes are taken."
            )
        if environ.get("CONTENT_TYPE", "").partition(";")[0].strip() != "application/json":
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a write must be application/json.")
        body = environ["wsgi.input"].read(int(length))
    environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))


def _refuse(refusal: Refusal, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    if environ.get("PATH_INFO", "").startswith("/api/"):  # in the form that the page can show
        kind, text = "application/json", json.dumps({"reason": refusal.reason})
    else:
        kind, text = "text/plain", f"{refusal.status.phrase}: {refusal.reason}\n"
    body = text.encode()
    headers = [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(
        f"{refusal.status.value} {refusal.status.phrase}",
        [*headers, *refusal.headers, *safe_responses.EVERYWHERE, safe_responses.UNKEPT],
    )
    return [body]
