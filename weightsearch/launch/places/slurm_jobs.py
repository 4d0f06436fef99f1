"""What Slurm is told and asked: array jobs submitted through submitit, squeue, scancel."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from weightsearch.errors import ConfigError
from weightsearch.launch.places import remote_worker
from weightsearch.runtime.devices import Each

PROGRAMS = ("sbatch", "srun", "squeue", "scancel", "scontrol")
SETTING = "WEIGHTSEARCH_SLURM"
TIME_MIN = 240  # of an element, where the setting does not say; then it is queued again
OURS = {  # what submitit and we set: another value would break the array
    *("array", "chdir", "error", "export", "job-name", "nodes", "no-requeue", "ntasks"),
    *("ntasks-per-node", "open-mode", "output", "signal", "wait", "wrap"),
}
GPUS = ("gpus", "gres", "tres-per")  # options that say which GPUs, or that none is wanted
TIMEOUTS = 10_000  # an element is queued again for as long as there are points
ANSWER_S = 60.0
GONE = "GONE"
"""The state of an element that Slurm no longer knows."""


def check() -> None:
    """Raises ConfigError unless jobs can be submitted here."""
    module()
    for program in PROGRAMS:
        if shutil.which(program) is None:
            raise ConfigError(
                f"--on slurm needs Slurm's programs, but {program} is not on the PATH; launch from"
                " a machine that submits jobs."
            )


def options(said: str, device: str, each: Each = 1) -> dict[str, Any]:
    """What submitit is told, from what WEIGHTSEARCH_SLURM says; raises ConfigError.

    `each` is how many GPUs a worker takes, where the setting does not say; `auto` takes what
    the setting says.
    """
    must = f"{SETTING} must hold options of sbatch, such as --partition=gpu --time=240, but"
    try:
        words = shlex.split(said)
    except ValueError:
        raise ConfigError(f"{must} a quotation in it does not end.") from None
    given: dict[str, str | bool] = {}
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name or " " in name or name in OURS:
            why = "that one is set by weightsearch" if name in OURS else "each is --NAME=VALUE"
            raise ConfigError(f"{must} got '{word}'; {why}.")
        given[name] = value if equals else True
    minutes = given.pop("time", str(TIME_MIN))
    if minutes is True or not str(minutes).isdigit():
        got = "" if minutes is True else minutes
        raise ConfigError(f"{SETTING}: --time must be whole minutes, but got '{got}'.")
    if device == "cuda" and not any(name.startswith(GPUS) for name in given):
        given["gpus-per-node"] = "1" if each == "auto" else str(each)
    return {
        "job_name": "weightsearch",
        "time": int(minutes),
        "wckey": None,  # submitit's default is one that a cluster may refuse
        "additional_parameters": {"requeue": True, **given},
    }


def submit(
    folder: Path, options: dict[str, Any], elements: Sequence[Callable[[], Any]]
) -> list[Any]:
    """One array job; submitit's job for each element. Raises ConfigError where Slurm refuses it."""
    python = shlex.join([sys.executable, "-P"])  # as in runtime/child_python.py
    executor = module().SlurmExecutor(folder, max_num_timeout=TIMEOUTS, python=python)
    # It writes to stdout, which is for answers.
    logging.getLogger("submitit").setLevel(logging.CRITICAL)
    executor.update_parameters(**options)
    try:
        with _without_secrets():
            return list(executor.submit_array(elements))
    except RuntimeError as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise ConfigError(
            f"Slurm must accept the job, but says: {said}; {SETTING} holds the options of sbatch."
        ) from None


def states(elements: Iterable[str]) -> dict[str, str] | None:
    """Slurm's word for each element that it still knows; None where it does not answer."""
    jobs = f"--jobs={','.join(arrays(elements))}"
    asked = _ask("squeue", "--noheader", "--array", "--states=all", jobs, "--format=%i|%T")
    if asked.returncode:
        return {} if "Invalid job id" in asked.stderr else None
    lines = (line.strip().partition("|") for line in asked.stdout.splitlines())
    return {element: state for element, _, state in lines}


def cancel(elements: Iterable[str], *how: str) -> None:
    """scancel: `--signal=INT`, `--state=PENDING`; without either, whatever is left of them."""
    _ask("scancel", *how, *arrays(elements))


def arrays(elements: Iterable[str]) -> list[str]:
    """The jobs that elements belong to: `7` for `7_0` and `7_1`."""
    return sorted({element.partition("_")[0] for element in elements})


def module() -> ModuleType:
    """submitit, imported on use: it is an extra. Raises ConfigError."""
    try:
        import submitit
    except ImportError:
        raise ConfigError(
            "--on slurm needs submitit, which is not installed; pip install 'weightsearch[slurm]'."
        ) from None
    return submitit


def _ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            arguments, capture_output=True, text=True, timeout=ANSWER_S, check=False
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(arguments, 1, "", "no answer")


@contextlib.contextmanager
def _without_secrets() -> Iterator[None]:
    """An environment that Slurm may keep and show: our settings travel in submitit's file."""
    whole = dict(os.environ)
    try:
        for name in whole:
            if name.startswith(remote_worker.CARRIED):
                del os.environ[name]
        yield
    finally:
        os.environ.update(whole)
