"""What can be found out before a study is planned, in a process of its own: `launch` runs it.

Loads the objective and, where its module has them, calls `check(spec, device, packed data)`, so
that what cannot work is reported before anything is planned; then, if asked to, `estimate(spec,
device, packed data)`: what an epoch will take. Where the data are not packed yet,
`check_model(spec, device)` comes first: packing takes minutes, and an encoder may be misspelt. A
process, because it may import torch, which the launcher never does; one for all questions, because
that import takes seconds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from weightsearch.errors import ObjectiveError, WeightsearchError
from weightsearch.runtime import child_python, own_traceback, safe_text
from weightsearch.study import loading, objective_contract
from weightsearch.study.objective_contract import Estimate
from weightsearch.study.spec import StudySpec

log = logging.getLogger(__name__)


@dataclass
class Preflight:
    """Asks about one study on one device. The first question starts the process that answers, which
    waits for more while the launcher packs, and ends with the block."""

    spec: StudySpec
    device: str
    path: Sequence[str] = ()
    """Folders in which the study's own objective may lie."""
    threads: int | None = None
    """Of a worker, for the estimate; without them nothing is estimated."""
    lanes: int | None = None
    process: subprocess.Popen[str] | None = None
    said: IO[bytes] | None = None
    """What the process writes beside its answers."""

    def __enter__(self) -> Preflight:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end(at_once=kind is not None and not issubclass(kind, Exception))  # Ctrl-C

    def _end(self, at_once: bool = False) -> None:
        if self.process is None or self.said is None:
            return
        if at_once:
            self.process.kill()
        try:
            with self.said, contextlib.suppress(BrokenPipeError), self.process:
                pass  # no more questions: it ends
        except BaseException:
            self.process.kill()
            raise

    def check_model(self) -> None:
        """What can be checked without the data. Raises ObjectiveError."""
        self._check({"model": True})

    def check(self, packed: Path | None) -> Estimate | None:
        """With `threads`, what the objective estimates of a worker with so many; None where it does
        not estimate, or fails to, which is a warning.

        Raises ObjectiveError where the study cannot work on this machine: with the traceback of the
        objective's own code where that has raised.
        """
        estimates = self.threads is not None
        self._check({"packed": str(packed or ""), "estimate": estimates})
        return self._estimated() if estimates else None

    def _check(self, question: Mapping[str, Any]) -> None:
        self._ask(question)
        run = self.spec.objective.run
        try:
            found = json.loads(self._answer())
        except ValueError:  # it came to no answer: killed, or a fault of native code
            raise ObjectiveError(
                f"objective '{run}' must be usable, but its check {self._ended()}"
            ) from None
        if found is not None:
            # It knew no password of ours: ours are hidden here, where they are known.
            trace = safe_text.presentable(found["trace"], lines=True)
            raise ObjectiveError(safe_text.presentable(found["error"]), trace)

    def _estimated(self) -> Estimate | None:
        try:
            found = json.loads(self._answer())
        except ValueError:  # killed for its memory, for one
            found = {"error": f"the estimate {self._ended()}"}
        if found and "error" in found:
            log.warning("how long the study takes is not known: %s", found["error"])
            return None
        return Estimate(**found) if found else None

    def _ask(self, question: Mapping[str, Any]) -> None:
        asked = [question]
        if self.process is None or self.process.poll() is not None:  # killed while we packed
            self._end()
            environment = child_python.environment(self.path)
            if self.threads is not None:  # the user's go first, as with a worker
                environment.setdefault("OMP_NUM_THREADS", str(self.threads))
            self.said = tempfile.TemporaryFile()  # noqa: SIM115 - _end closes it
            lanes = [] if self.lanes is None else [str(self.lanes)]
            self.process = subprocess.Popen(
                child_python.command("weightsearch.study.preflight", self.device, *lanes),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.said,
                env=environment,
                text=True,
            )
            asked = [self.spec.resolved(), question]
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and does not answer
            self.process.stdin.write("".join(f"{json.dumps(line)}\n" for line in asked))
            self.process.stdin.flush()

    def _answer(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def _ended(self) -> str:
        """How, of a process that does not answer any more."""
        assert self.process is not None
        assert self.said is not None
        code = self.process.wait()
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        return f"{child_python.how_ended(code)}: {(lines or ['it said nothing'])[-1]}"


def answer(
    spec: StudySpec, device: str, packed: Path | None, lanes: int | None = None
) -> dict[str, str] | None:
    """None, or in one line why the study cannot work here, with the objective's own traceback
    where its code has raised."""
    run = spec.objective.run
    try:
        objective_contract.load(run)
        objective_contract.check_weightings(spec)
        objective_contract.check_shares(spec)
        objective_contract.together(run, lanes)
        module = objective_contract.module_of(run)
        name, about = ("check", (packed,)) if packed is not None else ("check_model", ())
        if hasattr(module, name):
            try:
                getattr(module, name)(spec, device, *about)
            except WeightsearchError:
                raise
            except (Exception, SystemExit) as error:
                raise objective_contract.failed(run, "pass its check", error) from None
    except ObjectiveError as error:
        return {"error": str(error), "trace": error.trace}
    except WeightsearchError as error:
        return {"error": str(error), "trace": ""}
    return None


def estimate(spec: StudySpec, device: str, packed: Path) -> dict[str, Any] | None:
    """The fields of an `Estimate`, or in one line why there is none; None where the objective does
    not estimate."""
    module = objective_contract.module_of(spec.objective.run)
    if not hasattr(module, "estimate"):
        return None
    try:
        return asdict(Estimate.of(module.estimate(spec, device, packed)))
    except (Exception, SystemExit) as error:
        return {"error": own_traceback.line(error)}


def main() -> None:
    device, lanes = sys.argv[1], [int(told) for told in sys.argv[2:]]
    # What the user's module reads is no question, and what it prints is no answer.
    questions, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr  # a line at a time, so that a crash loses none
    # A process that the module forks must not hold open what its end is told by.
    os.register_at_fork(after_in_child=answers.close)
    spec = loading.parse(json.loads(questions.readline()), "the study")
    for line in questions:
        asked = json.loads(line)
        packed = None if "model" in asked else Path(asked["packed"])
        found = answer(spec, device, packed, *lanes)
        # At once: it stays known, though the estimate should be killed for its memory.
        print(json.dumps(found), file=answers, flush=True)
        if found is None and packed is not None and asked["estimate"]:
            print(json.dumps(estimate(spec, device, packed)), file=answers, flush=True)


if __name__ == "__main__":
    main()
