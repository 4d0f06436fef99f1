"""A study that was launched, as a notebook looks at it: tables, the answer, figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightsearch.api.opened import opened
from weightsearch.errors import ConfigError, did_you_mean
from weightsearch.report.evidence import answer, records
from weightsearch.report.evidence.answer import Ranking
from weightsearch.report.evidence.ranking import RankedPoint
from weightsearch.report.evidence.records import Records
from weightsearch.runtime.home import home_folder
from weightsearch.runtime.optional_packages import needs
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import queries, studies
from weightsearch.store.ledger.queries import Done
from weightsearch.store.tables.states import Rung
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from weightsearch.api.report_pages import Written

RUNGS = {Rung.SEARCH: "search", Rung.PROMOTION: "promotion"}


def study(name: str | None = None, *, storage: str | None = None) -> Study:
    """The study of that name, or the newest; raises StudyError where there is none.

    `storage` is the URL of a PostgreSQL database; by default WEIGHTSEARCH_STORAGE, else the
    embedded one. Raises StorageError where it cannot be used.
    """
    database = opened(storage)
    return Study(database, studies.find(database.engine, name).name)


class Study:
    """A study in the database. What is asked is read anew each time: it may be running."""

    def __init__(self, database: Database, name: str) -> None:
        self._database, self.name = database, name

    def __repr__(self) -> str:
        found = self.states()
        return f"<study {self.name}: {found['done']} of {found['total']} points done>"

    @property
    def spec(self) -> StudySpec:
        """Its settings, resolved."""
        return studies.find(self._database.engine, self.name).spec

    def states(self) -> dict[str, int]:
        """Points of the search by state (waiting, leased, paused, done, failed), and `total`."""
        engine = self._database.engine
        return queries.counts(engine, studies.find(engine, self.name))

    def points(self) -> pd.DataFrame:
        """A row for each finished point of the search and each full run, in the plan's order.

        Columns: `rung` ("search", "promotion"), `number`, `point` (its id), `seed`, `weight_TERM`,
        each parameter, `outcome` ("done", "diverged"), each metric of the best epoch, `epoch` (the
        best one, from 1), `images`, `seconds`, `device`.
        """
        found = self._records()
        return _frame([_point(run, rung) for rung, run in _runs(found)])

    def epochs(self) -> pd.DataFrame:
        """A row for each epoch of each attempt, those that run or failed too.

        Columns: `rung`, `number`, `point`, `seed`, `attempt`, `epoch` (from 1), each metric.
        """
        return _frame(
            [
                _place(tried.rung, tried.number, tried.point, tried.seed)
                | {"attempt": tried.attempt, "epoch": epoch}
                | dict(metrics)
                for tried in self._records().attempts
                if tried.rung in RUNGS  # others are of a promotion that was repeated
                for epoch, metrics in enumerate(tried.epochs, start=1)
            ]
        )

    def samples(self) -> pd.DataFrame:
        """A row for each image of each finished point, on the validation split.

        Columns: `rung`, `number`, `point`, `seed`, `image` (from 0), `group` (its scene), and each
        metric that has values per image: the deciding one and the guards.
        """
        rows: list[dict[str, Any]] = []
        for rung, run in _runs(self._records()):
            place = _place(rung, run.number, run.point, run.seed)
            groups, samples = run.result.groups, run.result.samples
            for image in range(max(map(len, samples.values()), default=0)):
                values = {name: one[image] for name, one in samples.items() if image < len(one)}
                group = groups[image] if image < len(groups) else None
                rows.append(place | {"image": image, "group": group} | values)
        return _frame(rows)

    def answer(self) -> Ranking:
        """All of the answer: ranking, headline, constant, what was promoted; its `to_json()` is
        what `weightsearch best --json` prints."""
        engine = self._database.engine
        return answer.found(engine, studies.find(engine, self.name))

    def ranking(self) -> list[RankedPoint]:
        """The finished points of the search, the best first, with intervals and verdicts."""
        return list(self.answer().rows)

    def best(self) -> RankedPoint | None:
        """The first of the ranking; None while nothing is ranked."""
        return next(iter(self.ranking()), None)

    @property
    def headline(self) -> str | None:
        """The answer in one sentence, as `weightsearch best` says it; None while nothing is
        ranked."""
        found = self.answer().headline
        return found.sentence if found else None

    def figure(self, name: str) -> go.Figure:
        """A figure of the report, for plotly: "ranking", "learning_curves", ...

        Raises ConfigError for a name that there is not.
        """
        from weightsearch.report.figures.registry import FIGURES  # imports plotly

        if name not in FIGURES:
            raise ConfigError(f"unknown figure '{name}'; {did_you_mean(name, FIGURES)}")
        return FIGURES[name](self._records())

    def report(
        self, path: str | Path, *, data: str | Path | None = None, device: str = "cpu"
    ) -> Written:
        """Writes the report as one HTML file that opens offline; raises OSError.

        Where the promoted checkpoint lies on this machine, and the data are packed here or `data`
        names them, it has pictures of predictions, which `device` computes.
        """
        from weightsearch.api import report_pages  # imports plotly

        place = Path(data) if data is not None else None
        here = report_pages.Here(home_folder(), place, device)
        return report_pages.report(self._database.engine, self.name, Path(path), here)

    def _records(self) -> Records:
        return records.read(self._database.engine, self.name)


def _runs(found: Records) -> list[tuple[int, Done]]:
    search = [(int(Rung.SEARCH), run) for run in found.done]
    return search + [(int(Rung.PROMOTION), run) for run in found.full]


def _place(rung: int, number: int, point: Point, seed: int) -> dict[str, Any]:
    return {"rung": RUNGS[Rung(rung)], "number": number, "point": point.id(), "seed": seed}


def _point(run: Done, rung: int) -> dict[str, Any]:
    result = run.result
    return {
        **_place(rung, run.number, run.point, run.seed),
        **{f"weight_{term}": float(weight) for term, weight in run.point.weights.items()},
        **run.point.params,
        "outcome": str(result.outcome),
        **result.metrics,
        "epoch": result.epoch,
        "images": result.images,
        "seconds": result.seconds,
        "device": result.device,
    }


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    needs("pandas", "pandas")
    import pandas

    return pandas.DataFrame(rows)
