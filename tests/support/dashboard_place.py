"""A dashboard in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bottle import Bottle
from optuna.storages import InMemoryStorage

from dashboards.access_control import Access, guarded
from support.dashboard_requests import ARTIFACT, HOST, fill

TOKEN = "a-token-of-the-tests"
OURS = {"Origin": f"http://{HOST}", "Content-Type": "application/json"}


@dataclass
class Place:
    """A dashboard over one study with a finished trial and a running one."""

    storage: InMemoryStorage
    bare: Bottle
    study: int
    finished: int
    running: int

    def guarded(self, writable: bool = False, **settings: Any) -> Any:
        """The front for somebody who has been let in."""
        access = Access(TOKEN, writable=writable, **settings)
        app = guarded(self.bare, access)

        def known(environ: Any, start_response: Any) -> Any:
            cookie = f"theirs=1; weightsearch-{environ['SERVER_PORT']}={access.cookie}"
            environ.setdefault("HTTP_COOKIE", cookie)
            return app(environ, start_response)

        return known

    def path(self, rule: str, trial: int | None = None) -> str:
        """The rule with the ids of what is there."""
        return fill(rule, self.study, trial or self.running)

    def everything(self) -> str:
        """All that Optuna knows."""
        return repr(
            [
                (study.__dict__, self.storage.get_all_trials(study._study_id))
                for study in self.storage.get_all_studies()
            ]
        )


def say_artifact(place: Place, filename: str, mimetype: str) -> None:
    meta = {"artifact_id": ARTIFACT, "filename": filename, "mimetype": mimetype, "encoding": None}
    place.storage.set_study_system_attr(place.study, f"artifacts:{ARTIFACT}", json.dumps(meta))
