"""A night's verdict to a chat: JSON as Slack, Mattermost and others take it from a webhook.

Whoever has a webhook's URL may write there, so it is a secret: it comes from the environment, it is
taken out of it before any other process is started, and nothing that is shown or logged has it.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from weightsearch.errors import ConfigError
from weightsearch.nightly.verdict_card import of_night
from weightsearch.runtime import safe_text
from weightsearch.store.ledger.stored_night import NightVerdict

VARIABLE = "WEIGHTSEARCH_WEBHOOK"
DELAYS_S = (1.0, 5.0, 30.0)
"""Before each further try."""
TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


def take_url() -> str | None:
    """The webhook's URL, which no process that is started from now on finds in its environment.

    Raises ConfigError, without it, where it is none.
    """
    url = os.environ.pop(VARIABLE, "").strip()
    if not url:
        return None
    safe_text.hide(url)
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # which quotes it
        is_url = False
    if not is_url or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError(f"{VARIABLE} must be the http or https URL of a webhook, but is none.")
    return url


def message(verdict: NightVerdict, job: str | None = None) -> dict[str, Any]:
    """What is sent; `job` is the URL of the CI job."""
    card = of_night(verdict)
    said = f"*{card.verdict}: {verdict.sweep}, {verdict.night}*\n{card.sentence}"
    text = _escaped(safe_text.presentable(said, lines=True))
    return {"text": f"{text}\n<{_escaped(job)}|The job>" if job else text}


def _escaped(text: str) -> str:
    """Text in which nothing is a link or calls anybody (docs.slack.dev, formatting text)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def job_url(environment: Mapping[str, str]) -> str | None:
    """The page of the CI job that this runs in: GitLab's, Jenkins's or GitHub's."""
    if known := environment.get("CI_JOB_URL") or environment.get("BUILD_URL"):
        return known
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    server, repository, number = (environment.get(name) for name in names)
    if not (server and repository and number):
        return None
    return f"{server}/{repository}/actions/runs/{number}"


def send(
    url: str,
    body: Mapping[str, Any],
    delays_s: Sequence[float] = DELAYS_S,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Whether it was taken, after one try and one more after each delay; a failure is only logged.

    Tries again where the server is away, busy (429) or fails (5xx); no other answer will change.
    """
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    for delay_s in (*delays_s, None):
        failure, is_final = _try(request)
        if not failure:
            return True
        if delay_s is None or is_final:
            break
        log.info("the webhook did not take it (%s); again in %g s", failure, delay_s)
        sleep(delay_s)
    log.warning("the webhook was not told: %s", failure)
    return False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET, elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _try(request: urllib.request.Request) -> tuple[str, bool]:
    """Why it was not taken, empty where it was, and whether that is for good.

    Never an exception's own text: some quote the URL."""
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_S):
            return "", True
    except urllib.error.HTTPError as error:
        error.close()
        return f"HTTP {error.code}", error.code != 429 and error.code < 500
    except urllib.error.URLError as error:
        reason = error.reason
        told = reason.strerror if isinstance(reason, OSError) else None
        return told or type(reason).__name__, False
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__, False
