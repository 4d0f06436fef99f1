"""Slurm's programs on one machine: elements of job scripts run as processes, for tests.

    python fake_slurm.py sbatch|srun|squeue|scancel|scontrol ARGUMENTS...
    python fake_slurm.py fail ELEMENT        a node is lost with the element on it

What is known of an element lies in a folder of its own below FAKE_SLURM. So many as the file `room`
says run at once; the others are PENDING. A signal goes to every process of an element, as it does
where Slurm keeps track of them by cgroups.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

HOME = Path(os.environ.get("FAKE_SLURM", "nowhere"))
KILL_WAIT_S = 30.0  # between SIGTERM and SIGKILL, as in Slurm; a busy machine needs seconds
GONE = psutil.NoSuchProcess


class Element:
    """One element of an array (`7_0`), or a job that is no array (`7`)."""

    def __init__(self, name: str) -> None:
        self.name, self.folder = name, HOME / name

    def read(self, fact: str) -> str:
        file = self.folder / fact
        return file.read_text() if file.exists() else ""

    def write(self, fact: str, value: object) -> None:
        new = self.folder / f".{fact}"
        new.write_text(str(value))
        new.rename(self.folder / fact)

    def take(self, fact: str) -> bool:
        """Whether something was asked for; once."""
        asked = bool(self.read(fact))
        (self.folder / fact).unlink(missing_ok=True)
        return asked

    def processes(self) -> list[psutil.Process]:
        """Of its job step: not the batch script, which Slurm leaves alone."""
        with contextlib.suppress(GONE, ValueError):
            step = psutil.Process(int(self.read("step")))
            return [step, *step.children(recursive=True)]
        return []

    def end(self) -> None:
        """As `scontrol requeue` and `scancel` do: asked, then made to."""
        processes = self.processes()
        send(processes, signal.SIGTERM, signal.SIGCONT)
        send(psutil.wait_procs(processes, KILL_WAIT_S)[1], signal.SIGKILL)


def send(processes: Iterable[psutil.Process], *signals: int) -> None:
    for number in signals:
        for process in processes:
            with contextlib.suppress(GONE):
                process.send_signal(number)


def elements(job: str) -> list[Element]:
    """`7` means all elements of job 7."""
    folders = sorted(HOME.glob(f"{job}_*")) or sorted(HOME.glob(job))
    return [Element(folder.name) for folder in folders]


def sbatch(script: str) -> None:
    if refusal := Element("").read("refuses"):
        sys.exit(f"sbatch: error: {refusal}")
    text = Path(script).read_text()
    with (HOME / "jobs").open("a+") as counter:
        fcntl.flock(counter, fcntl.LOCK_EX)
        counter.write("x")
        counter.flush()
        job = str(counter.tell())
    (HOME / f"{job}.sh").write_text(text)
    (HOME / f"{job}.environment").write_text("\n".join(sorted(os.environ)))
    array = re.search(r"^#SBATCH --array=0-(\d+)", text, re.MULTILINE)
    for index in range(int(array[1]) + 1) if array else [None]:
        element = Element(job if index is None else f"{job}_{index}")
        element.folder.mkdir()
        element.write("state", "PENDING")
        with (element.folder / "log").open("w") as log:
            subprocess.Popen(
                [sys.executable, __file__, "run", element.name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    print(f"Submitted batch job {job}")


def run(name: str) -> None:
    """The element from its submission to its end, requeued or not."""
    element = Element(name)
    element.write("daemon", os.getpid())
    job, _, index = name.partition("_")
    facts = {"SLURM_JOB_ID": job, "SLURM_CPUS_PER_TASK": "1", "FAKE_SLURM_ELEMENT": name}
    if index:
        facts |= {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": index}
    while True:
        element.write("state", "PENDING")
        with _place(element) as placed:
            if not placed:
                element.write("state", "CANCELLED")
                return
            element.write("state", "RUNNING")
            element.write("runs", int(element.read("runs") or 0) + 1)
            script = ["bash", str(HOME / f"{job}.sh")]
            code = subprocess.run(script, env=os.environ | facts, check=False).returncode
        element.write("step", "")
        if element.take("requeue"):
            continue
        state = "COMPLETED" if code == 0 else "FAILED"
        element.write("state", element.read("ends") or state)
        return


@contextlib.contextmanager
def _place(element: Element) -> Iterator[bool]:
    """Waits for one of the places; False where the element is cancelled meanwhile."""
    while element.read("ends") != "CANCELLED":
        for number in range(int(Element("").read("room"))):
            with (HOME / f"place-{number}").open("w") as place:
                try:
                    fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield True
                return
        time.sleep(0.05)
    yield False


def srun(*arguments: str) -> None:
    options, command = {}, list(arguments)
    while command[0].startswith("--"):
        option = command.pop(0)
        options[option] = command.pop(0) if option in ("--output", "--error") else ""
    element = Element(os.environ["FAKE_SLURM_ELEMENT"])
    job, _, index = element.name.partition("_")
    for option, stream in (("--output", 1), ("--error", 2)):
        name = options[option].replace("%A", job).replace("%a", index).replace("%j", job)
        os.dup2(os.open(name.replace("%t", "0"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    element.write("step", os.getpid())
    os.environ |= {"SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_PROCID": "0"}
    os.execvp(command[0], command)


def squeue(*arguments: str) -> None:
    (jobs,) = (a.removeprefix("--jobs=") for a in arguments if a.startswith("--jobs="))
    found = [element for job in jobs.split(",") for element in elements(job)]
    if not found:
        sys.exit("slurm_load_jobs error: Invalid job id specified")
    for element in found:
        print(f"{element.name}|{element.read('state')}")


def scancel(*arguments: str) -> None:
    options = dict(a.split("=") for a in arguments if a.startswith("--"))
    named = [a for a in arguments if not a.startswith("--")]
    for element in (element for job in named for element in elements(job)):
        state = element.read("state")
        if state not in ("PENDING", "RUNNING") or options.get("--state", state) != state:
            continue
        if "--signal" in options:
            send(element.processes(), signal.Signals[f"SIG{options['--signal']}"])
            continue
        element.write("ends", "CANCELLED")
        element.end()


def scontrol(what: str, name: str) -> None:
    assert what == "requeue"
    element = Element(name)
    element.write("requeue", "yes")
    with (element.folder / "log").open("a") as log:  # it ends who asks, too
        subprocess.Popen(
            [sys.executable, __file__, "end", name],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def end(name: str) -> None:
    Element(name).end()


def fail(name: str) -> None:
    element = Element(name)
    element.write("ends", "NODE_FAIL")
    send(element.processes(), signal.SIGSTOP, signal.SIGKILL)  # none sees it coming


def install(folder: Path) -> None:
    """Puts Slurm's programs into a folder."""
    folder.mkdir()
    for program in ("sbatch", "srun", "squeue", "scancel", "scontrol"):
        file = folder / program
        file.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, __file__, program])} "$@"\n')
        file.chmod(0o755)


if __name__ == "__main__":
    PROGRAMS = {f.__name__: f for f in (sbatch, srun, squeue, scancel, scontrol, run, end, fail)}
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
