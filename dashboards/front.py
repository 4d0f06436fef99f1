"""optuna-dashboard behind a front of ours: read-only, on 127.0.0.1, and only under that name.

optuna-dashboard itself has no authentication, lets anyone who reaches its port delete studies, and
answers under any host name, which a page on the web can use (DNS rebinding). So only GET and HEAD
pass, only with a Host of this machine, and what it serves may be framed or sniffed by nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from sqlalchemy import URL

from weightsearch.errors import WeightsearchError

HOSTS = ("127.0.0.1", "localhost", "[::1]")
HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


def read_only(dashboard: Application) -> Application:
    """The dashboard for those who may look and not touch."""

    def front(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "").rsplit(":", 1)[0]
        if host not in HOSTS:
            return _refused(start_response, HTTPStatus.MISDIRECTED_REQUEST)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _refused(start_response, HTTPStatus.METHOD_NOT_ALLOWED)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, *HEADERS], *more)

        return dashboard(environ, start)

    return front


def _refused(start_response: StartResponse, status: HTTPStatus) -> Iterable[bytes]:
    body = f"{status.phrase}: this dashboard is read-only, at 127.0.0.1.\n".encode()
    start_response(
        f"{status.value} {status.phrase}",
        [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *HEADERS],
    )
    return [body]


def serve(url: URL, port: int) -> None:
    """Serves the studies of a database until interrupted.

    Raises WeightsearchError where the port is taken.
    """
    from optuna.storages import RDBStorage
    from optuna_dashboard import wsgi

    storage = RDBStorage(
        url.render_as_string(hide_password=False), engine_kwargs={"pool_pre_ping": True}
    )
    try:
        server = make_server("127.0.0.1", port, read_only(wsgi(storage)), handler_class=_Quiet)
    except OSError as error:
        raise WeightsearchError(
            f"port {port} must be free, but {error.strerror}; choose another with --port."
        ) from None
    print(f"http://127.0.0.1:{server.server_port}/dashboard  (Ctrl-C stops it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """No line per request."""
