"""A launch that does not block: it goes on in a thread, its workers are processes."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from weightsearch.api import requests
from weightsearch.api.opened import opened
from weightsearch.api.study_view import Study
from weightsearch.errors import ConfigError, StudyError
from weightsearch.launch import preparation, session
from weightsearch.launch.places import LAUNCHERS
from weightsearch.launch.preparation import Request
from weightsearch.launch.session import Launched
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import studies, study_control
from weightsearch.store.ledger.studies import Study as StoredStudy
from weightsearch.store.tables.states import StudyState
from weightsearch.study.spec import StudySpec


def launch(
    study: str | Path | Mapping[str, Any] | StudySpec,
    *,
    name: str | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
    on: str = "local",
    budget: str | Sequence[str] | None = None,
    promote: bool = True,
    storage: str | None = None,
) -> Launch:
    """Plans a study or resumes it, and runs it in the background; as `weightsearch launch`.

    `study` is a file, the name of one in studies/, its tables as a dict, or a StudySpec; the last
    two need a `name`. It returns when the study is planned and its data are packed, and raises
    whatever is wrong until then, a WeightsearchError. In a script, `wait()` for it: with its
    process a launch ends, and its workers give their points back.
    """
    spec, file = requests.named(study)
    if name is None and file is None:
        raise ConfigError("a study that is no file must have a name, but got none; give name=.")
    if on not in LAUNCHERS:
        raise ConfigError(f"on must be one of {', '.join(LAUNCHERS)}, but got '{on}'.")
    place = Path(data) if data is not None else None
    request = requests.asked(spec, file, name, place, device, workers, on, budget)
    request = replace(request, promote=promote, quiet=True)
    database = opened(storage)
    return Launch(database, preparation.prepare(database, spec, request), spec, request)


class Launch:
    """A launch that is going on."""

    def __init__(
        self, database: Database, planned: StoredStudy, spec: StudySpec, request: Request
    ) -> None:
        self._database, self._request = database, request
        self._outcome: Launched | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(planned, spec), daemon=True)
        self._thread.start()

    def _run(self, planned: StoredStudy, spec: StudySpec) -> None:
        try:
            self._outcome = session.run(self._database, planned, spec, self._request)
        except BaseException as error:
            self._error = error

    def __repr__(self) -> str:
        state = "failed" if self._error else "ended" if self.is_done else "running"
        return f"<launch {state}, {self.study!r}>"

    @property
    def study(self) -> Study:
        """The study, as far as it is."""
        return Study(self._database, self._request.name)

    @property
    def is_done(self) -> bool:
        """Whether it has ended, well or not."""
        return not self._thread.is_alive()

    def wait(self, timeout_s: float | None = None) -> Study:
        """The study when the launch has ended; raises what ended it.

        Raises StudyError where it has not after `timeout_s`. An interrupt (the notebook's stop
        button) ends the waiting, not the launch.
        """
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise StudyError(
                f"study '{self._request.name}' must have ended after {timeout_s:g} s, but goes on;"
                " wait() again."
            )
        if self._error is not None:
            raise self._error
        return self.study

    def stop(self) -> None:
        """Has the workers give their points back and leave, and waits for that; the same launch
        resumes."""
        engine = self._database.engine
        stopped = studies.find(engine, self._request.name)
        if not self.is_done:
            why = "stopped from Python"
            study_control.set_state(engine, stopped, StudyState.STOPPED, why)
        self._thread.join()
