"""Commands about a sweep that is repeated every night."""

from __future__ import annotations

import datetime
import getpass
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weightsearch.commands.options import (
    Data,
    Device,
    FirstByDefault,
    Json,
    On,
    Storage,
    Workers,
    check_name,
    interrupt_on_sigterm,
    launch_request,
    open_storage,
    print_answer,
)
from weightsearch.errors import ConfigError
from weightsearch.runtime.atomic_file import write_atomically

if TYPE_CHECKING:
    from weightsearch.store.ledger.stored_night import NightVerdict
    from weightsearch.study.budget import Budget


app = typer.Typer(
    cls=FirstByDefault,
    no_args_is_help=True,
    help="Repeat a sweep every night and judge it; `nightly STUDY` is `nightly run STUDY`.",
)

Sweep = Annotated[
    str | None,
    typer.Argument(
        help="The sweep, named like its study file; by default that of the newest night."
    ),
]


@app.command()
def run(
    study: Annotated[
        str, typer.Argument(help="A file with a table [nightly], or the name of one in studies/.")
    ],
    budget: Annotated[
        str | None,
        typer.Option(help="Wall-clock limit such as 5h; a night that needs more exits 4."),
    ] = None,
    date: Annotated[
        str | None, typer.Option(help="YYYY-MM-DD, to resume that night; by default today.")
    ] = None,
    commit: Annotated[
        str | None,
        typer.Option(help="The commit under test; by default that of the study file's checkout."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The sweep's name; by default the study file's.")
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(
            help="Write the verdict as Markdown; by default to $GITHUB_STEP_SUMMARY, if set."
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(help="Write the verdict as JUnit XML, for Jenkins and GitLab.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the verdict as a page that opens offline.")
    ] = None,
    workers: Workers = None,
    device: Device = "auto",
    data: Data = None,
    storage: Storage = None,
    on: On = "local",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
    as_json: Json = False,
) -> None:
    """Run or resume tonight's canaries and search, and compare them with the baseline.

    Exit 0: no regression; 3: a metric got worse; 4: too little was done to judge.

    Example: weightsearch nightly run nightly-cpu --budget 1h
    """
    from weightsearch.nightly import sweep as nightly
    from weightsearch.nightly import verdict_text, webhook
    from weightsearch.runtime import provenance
    from weightsearch.study import loading

    chat = webhook.take_url()
    file = loading.study_file(study)
    spec = loading.load(file)
    request = launch_request(on, device, workers, loading.data_path(spec, data), file, quiet)
    _check_date(date)
    check_name("name", name)
    check_name("commit", commit)
    asked = nightly.NightRequest(
        sweep=name or file.stem,
        commit=commit[:40] if commit else provenance.state(file),
        date=date,
        request=replace(request, budget=_time_limit(budget), promote=False),
    )
    interrupt_on_sigterm()
    database = open_storage(storage)
    found = nightly.run(database, spec, asked)
    print_answer(found, as_json, verdict_text.told)

    def to_page(file: Path) -> None:
        from weightsearch.nightly import verdict_page  # imports plotly
        from weightsearch.report.pages import html as page

        nights = nightly.history(database.engine, asked.sweep, verdict_page.SHOWN).verdicts()
        page.write(file, verdict_page.document(found, nights))

    def to_junit(file: Path) -> None:
        from weightsearch.nightly import junit as junit_xml

        write_atomically(file, junit_xml.document(found))

    _publish(lambda: _to_summary(found, summary))
    if junit is not None:
        _publish(lambda: to_junit(junit))
    if html is not None:
        _publish(lambda: to_page(html))
    if chat is not None:
        webhook.send(chat, webhook.message(found, webhook.job_url(os.environ)))
    sys.exit(nightly.EXIT[found.verdict])


def _time_limit(budget: str | None) -> Budget | None:
    from weightsearch.study import budget as budgets

    limit = budgets.parse([budget] if budget else ())
    if limit is not None and limit.seconds is None:
        raise ConfigError(f"--budget of a night must be a time, like 5h, but got '{budget}'.")
    return limit


def _check_date(date: str | None) -> None:
    if date is not None and not _is_day(date):
        raise ConfigError(f"--date must be a day, YYYY-MM-DD, but got '{date}'.")


def _is_day(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _publish(write: Callable[[], None]) -> None:
    """One file; the others are written though it fails, as the exit code is for the verdict."""
    try:
        write()
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}.", file=sys.stderr)


def _to_summary(found: NightVerdict, summary: Path | None) -> None:
    """What GitHub shows of a job is added to. Raises OSError."""
    from weightsearch.nightly import verdict_text

    text, of_job = verdict_text.markdown(found), os.environ.get("GITHUB_STEP_SUMMARY")
    if of_job and str(summary or of_job) == of_job:
        with Path(of_job).open("a", encoding="utf-8") as page:
            page.write(text)
    elif summary is not None:
        write_atomically(summary, text.encode())


@app.command()
def accept(
    night: Annotated[str, typer.Option(help="A night, as `nightly history` lists them.")],
    why: Annotated[str, typer.Option(help="Why these values are good; stored with the baseline.")],
    sweep: Sweep = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even if it is worse than the baseline that counts now.")
    ] = False,
    by: Annotated[
        str | None, typer.Option(help="Who accepts; by default $GITHUB_ACTOR or the current user.")
    ] = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Make a night's values the baseline for later nights.

    Example: weightsearch nightly accept nightly-cpu --night 2026-11-25-5cfad25 --why "as planned"
    """
    from weightsearch.nightly import sweep as nightly
    from weightsearch.nightly import verdict_text

    if not why.strip():
        raise ConfigError("--why must give the reason for accepting these values, but is empty.")
    who = by or os.environ.get("GITHUB_ACTOR") or f"{getpass.getuser()}@{platform.node()}"
    answer = nightly.accept(open_storage(storage).engine, sweep, night, who, why.strip(), force)
    print_answer(answer, as_json, verdict_text.accepted)


@app.command()
def history(
    sweep: Sweep = None,
    last: Annotated[int, typer.Option(min=1, help="Number of nights.")] = 30,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """List nights with their verdicts, and baselines with who accepted them and why.

    Example: weightsearch nightly history nightly-cpu
    """
    from weightsearch.nightly import sweep as nightly
    from weightsearch.nightly import verdict_text

    answer = nightly.history(open_storage(storage).engine, sweep, last)
    print_answer(answer, as_json, verdict_text.history)
