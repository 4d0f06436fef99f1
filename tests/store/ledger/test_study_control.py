"""A study is paused, stopped, limited and tried again while workers are at it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from support.faulty_servers import PATIENCE_S, wait_until, workers
from support.processes import Cli
from support.specs import make_spec

from weightsearch.commands.answers import study_answers, study_lists
from weightsearch.errors import ConfigError
from weightsearch.store.connection.database import Database
from weightsearch.store.connection.notifications import Listener
from weightsearch.store.ledger import leases, queries, studies, study_control, verification
from weightsearch.store.tables.states import StudyState
from weightsearch.study import budget, planning
from weightsearch.study.budget import Budget

RESULT = {"outcome": "done", "metrics": {"rmse": 0.5}, "samples": {}, "groups": [], "images": 1}


def create(opened: Database, trials: int = 6, **tables: object) -> studies.Study:
    spec = make_spec(sampler={"kind": "grid", "trials": trials}, **tables)
    return studies.create(opened.engine, "study", spec, planning.plan(spec))


def count(opened: Database, study: studies.Study, state: str) -> int:
    return queries.counts(opened.engine, study)[state]


def claim(opened: Database, study: studies.Study, worker: str) -> leases.Lease | None:
    return leases.claim(opened.engine, study.id, worker, "cpu", 60)


@pytest.fixture
def ran(cli: Cli, storage: str) -> Callable[..., str]:
    """What a command prints; it must succeed."""

    def run(*arguments: object) -> str:
        answer = cli(*arguments, WEIGHTSEARCH_STORAGE=storage)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    return run


def test_a_paused_studys_points_are_given_back_and_go_on_where_they_were(
    opened: Database, storage: str, tmp_path: Path, ran: Callable[..., str]
) -> None:
    study = create(opened, params={"epoch_s": 0.2}, train={"epochs": 4})
    with workers(1, "study", storage, tmp_path / "home", lease=2.0) as (worker,):
        wait_until(lambda: count(opened, study, "leased") == 1)
        assert "is paused" in ran("pause", "study", "--why", "lunch")
        wait_until(lambda: count(opened, study, "leased") == 0)
        status = json.loads(ran("status", "--json"))
        assert (status["state"], status["state_reason"]) == ("paused", "lunch")
        assert status["points"]["paused"] + status["points"]["done"] >= 1
        assert claim(opened, study, "another") is None
        assert worker.poll() is None
        assert "goes on" in ran("resume", "study")
        assert worker.wait(PATIENCE_S) == 0
    found = verification.verify(opened.engine, study)
    assert found.ok
    assert found.starts == found.points + found.given_back


def test_a_stopped_studys_workers_leave_and_another_goes_on(
    opened: Database, storage: str, tmp_path: Path, ran: Callable[..., str]
) -> None:
    study = create(opened, params={"epoch_s": 0.2}, train={"epochs": 100})
    with workers(2, "study", storage, tmp_path / "home", lease=2.0) as started:
        wait_until(lambda: count(opened, study, "leased") == 2)
        ran("stop", "study", "--why", "enough")
        assert [worker.wait(PATIENCE_S) for worker in started] == [0, 0]
    counts = queries.counts(opened.engine, study)
    assert (counts["leased"], counts["failed"]) == (0, 0)
    assert "stopped (enough); the same launch goes on" in ran("status", "study")


def test_a_launch_of_a_stopped_study_goes_on_with_it(
    opened: Database, tmp_path: Path, ran: Callable[..., str]
) -> None:
    study = create(opened)
    study_control.set_state(opened.engine, study, StudyState.STOPPED, "enough")
    file = tmp_path / "study.toml"
    file.write_text(
        'goal = "test"\n[objective]\nrun = "weightsearch.study.trivial_objective:run"\n'
        '[loss]\nweights = { grid = "simplex", steps = 3 }\n[train]\nepochs = 2\n'
        "[sampler]\ntrials = 6\n[promote]\ntop = 2\nseeds = [1, 2]\nepochs = 3\n"
    )
    launched = ran("launch", file, "--name", "study", "--device", "cpu", "--no-promote", "--json")
    assert json.loads(launched)["points"]["done"] == 6
    assert studies.find(opened.engine, "study").state == StudyState.RUNNING


def test_failed_points_are_tried_again_with_all_their_attempts(
    opened: Database, ran: Callable[..., str]
) -> None:
    study = create(opened)
    lease = claim(opened, study, "w")
    assert lease is not None
    leases.fail(opened.engine, lease, "no such kernel")
    said = " ".join(ran("failures").split())
    assert said.startswith("point 0 (0.667 edge 0.333 ssim) attempt 1 failed")
    assert "no such kernel (now failed)" in said
    assert json.loads(ran("failures", "--json"))["failed"][0]["reason"] == "no such kernel"
    assert "1 points of study study wait" in ran("retry", "study", "--failed")
    again = claim(opened, study, "w")
    assert again is not None
    assert (again.number, again.attempt) == (0, 2)
    assert leases.finish(opened.engine, again, RESULT)
    assert queries.failed(opened.engine, study) == []


def test_retry_must_be_told_what(cli: Cli, storage: str, opened: Database) -> None:
    create(opened)
    refused = cli("retry", "study", WEIGHTSEARCH_STORAGE=storage)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: `retry` must be told what to retry")


def test_workers_are_listed_with_the_point_in_hand(
    opened: Database, ran: Callable[..., str]
) -> None:
    study = create(opened)
    assert "no worker is running study study" in ran("workers")
    study_control.sign_on(opened.engine, study, "w1", "here", 7, "cuda:0")
    claim(opened, study, "w1")
    assert ran("workers").splitlines()[1].split()[:3] == ["w1", "cuda:0", "0"]
    (listed,) = json.loads(ran("workers", "--json"))["workers"]
    assert (listed["host"], listed["pid"], listed["point"]) == ("here", 7, 0)


def test_a_watched_status_ends_with_the_study(
    opened: Database, storage: str, tmp_path: Path, ran: Callable[..., str]
) -> None:
    study = create(opened, params={"epoch_s": 0.1})
    with workers(1, "study", storage, tmp_path / "home") as (worker,):
        wait_until(lambda: count(opened, study, "done") >= 1)
        pages = ran("status", "study", "--watch")
        assert worker.wait(PATIENCE_S) == 0
    assert pages.count("study study: test") >= 2
    assert "6 points: 6 done\n" in pages


def test_a_signed_off_workers_points_are_free_at_once_and_count_as_lost(opened: Database) -> None:
    study = create(opened)
    study_control.sign_on(opened.engine, study, "dead", "here", 7, "cpu")
    held = claim(opened, study, "dead")
    assert held is not None
    assert study_control.sign_off(opened.engine, "dead", "its process died") == 1
    just_started_s = 3600 * 24 * 365  # so long a lease that this server is younger
    taken = leases.claim(opened.engine, study.id, "other", "cpu", just_started_s)
    assert taken is not None
    assert (taken.number, taken.attempt) == (held.number, 2)
    assert not leases.finish(opened.engine, held, RESULT)
    (trouble,) = queries.troubles(opened.engine, study)
    assert (trouble["outcome"], trouble["reason"]) == ("lost", "its process died")


# Budgets


def test_a_budget_of_points_holds_across_workers(opened: Database, tmp_path: Path) -> None:
    study = create(opened)
    study_control.set_budget(opened.engine, study, Budget(points=3))
    taken = [claim(opened, study, f"w{k}") for k in range(5)]
    assert [lease.number if lease else None for lease in taken] == [0, 1, 2, None, None]
    for lease in taken[:2]:
        assert lease is not None
        leases.finish(opened.engine, lease, RESULT)
    assert claim(opened, study, "w9") is None
    assert study_control.standing(opened.engine, study.id).left  # the third may yet be given up
    assert taken[2] is not None
    leases.give_back(opened.engine, taken[2], "asked", paused=True)
    again = claim(opened, study, "w9")
    assert again is not None
    assert again.number == 2  # one that was begun is within the budget
    said = study_answers.status(opened.engine, "study", tmp_path).state
    assert (said, study_lists.planned(opened.engine)[0]["state"]) == ("running", "running")
    leases.finish(opened.engine, again, RESULT)
    assert not study_control.standing(opened.engine, study.id).left
    said = study_answers.status(opened.engine, "study", tmp_path).state
    assert (said, study_lists.planned(opened.engine)[0]["state"]) == ("done", "done")
    study_control.set_budget(opened.engine, study, None)
    assert claim(opened, study, "w9") is not None


def test_device_time_is_charged_when_a_point_is_claimed(opened: Database) -> None:
    study = create(opened)
    for k in range(2):
        lease = claim(opened, study, f"w{k}")
        assert lease is not None
        leases.finish(opened.engine, lease, RESULT)
    with opened.engine.begin() as connection:
        connection.execute(text("UPDATE ws_attempts SET seconds = 100"))
    study_control.set_budget(opened.engine, study, Budget(device_seconds=350))
    # 200 s are spent, each claim is charged with the mean of 100: one more fits, two do not.
    assert claim(opened, study, "w8") is not None
    assert claim(opened, study, "w9") is None


def test_after_the_deadline_nothing_is_claimed(opened: Database) -> None:
    study = create(opened)
    study_control.set_budget(opened.engine, study, Budget(seconds=3600))
    assert claim(opened, study, "w1") is not None
    with opened.engine.begin() as connection:
        connection.execute(text("UPDATE ws_studies SET deadline = now() - interval '1 second'"))
    assert claim(opened, study, "w2") is None
    assert study_control.standing(opened.engine, study.id).left  # w1 is still at it


def test_a_launch_with_a_budget_reports_partial_coverage_and_promotes(
    tmp_path: Path, ran: Callable[..., str], cli: Cli, storage: str
) -> None:
    file = tmp_path / "toy.toml"
    file.write_text(
        'goal = "test"\n[objective]\nrun = "weightsearch.study.trivial_objective:run"\n'
        '[loss]\nweights = { grid = "simplex", steps = 3 }\n[train]\nepochs = 1\n'
        "[promote]\ntop = 2\nseeds = [1, 2]\nepochs = 2\n"
    )
    command = ("launch", file, "--device", "cpu", "--json")
    first = cli(*command, "--budget", "4 points", WEIGHTSEARCH_STORAGE=storage)
    assert first.returncode == 0, first.stderr
    assert "the budget is used up: 4 of 10 points were tried" in first.stderr
    answer = json.loads(first.stdout)
    assert (answer["points"]["done"], answer["coverage"]) == (4, 0.4)
    assert answer["promoted"]["lineage"]["coverage"] == 0.4
    said = ran("status")
    assert "4 of 4 points begun" in said
    assert "\npromoted: " in said
    assert "4 of 4 points begun" in ran("status", "--watch")  # for nobody waits for the others
    again = json.loads(ran(*command, "--no-promote"))
    assert (again["points"]["done"], again["coverage"]) == (10, 1.0)


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        (["2h"], Budget(seconds=7200)),
        (["90min", "100 points"], Budget(points=100, seconds=5400)),
        (["8 device-h"], Budget(device_seconds=28800)),
        ([], None),
        (["none"], None),
    ],
)
def test_budgets_are_read(parts: list[str], found: Budget | None) -> None:
    assert budget.parse(parts) == found


@pytest.mark.parametrize(
    "part", ["", "2", "2 weeks", "-1h", "0 points", "1.5 points", "h", "1e9s", "nan h"]
)
def test_what_is_no_budget_is_one_line(part: str) -> None:
    with pytest.raises(ConfigError, match=r"^a budget ") as caught:
        budget.parse([part])
    assert "\n" not in str(caught.value)


# Waiting


def test_who_waits_hears_of_a_change_at_once(opened: Database) -> None:
    study = create(opened)
    study_control.set_state(opened.engine, study, StudyState.PAUSED)
    listener = Listener(opened, study.id)
    listener.wait(None, lambda: False)  # listens from now on
    study_control.set_state(opened.engine, study, StudyState.RUNNING)
    asked: list[bool] = []
    listener.wait(None, lambda: bool(asked.append(True)))
    assert len(asked) <= 2  # it did not look for as long as a poll takes
    listener.close()


def test_an_idle_worker_takes_a_point_that_is_given_back(
    opened: Database, storage: str, tmp_path: Path
) -> None:
    study = create(opened, trials=1)
    held = claim(opened, study, "slow")
    assert held is not None
    with workers(1, "study", storage, tmp_path / "home") as (worker,):
        wait_until(lambda: listens(opened, study))
        leases.give_back(opened.engine, held, "asked", paused=False)
        assert worker.wait(PATIENCE_S) == 0
    assert verification.verify(opened.engine, study).ok


def listens(opened: Database, study: studies.Study) -> bool:
    with opened.engine.connect() as connection:
        return bool(
            connection.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
                    " AND datname = current_database()"
                )
            ).scalar()
        )


def test_a_place_that_is_not_known_is_refused_everywhere(
    cli: Cli, opened: Database, storage: str
) -> None:
    create(opened)
    for command in (("launch", "quickstart"), ("promote", "study")):
        refused = cli(*command, "--on", "mars", WEIGHTSEARCH_STORAGE=storage)
        assert refused.returncode == 1
        assert refused.stderr == ("error: --on must be one of local, ray, slurm, but got 'mars'.\n")
