"""What can be found out before a study is planned, in a process of its own: `launch` runs it.

Loads the objective and, where its module has them, calls `check(spec, device, packed data)`, so
that what cannot work is reported before anything is planned; then, if asked to, `estimate(spec,
device, packed data)`: what an epoch will take. Where the data are not packed yet,
`check_model(spec, device)` comes first, in a process of its own: packing takes minutes, and an
encoder may be misspelt. A process, because it may import torch, which the launcher never does.
"""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from weightsearch.errors import ObjectiveError, WeightsearchError
from weightsearch.runtime import child_python, own_traceback, safe_text
from weightsearch.study import loading, objective_contract
from weightsearch.study.objective_contract import Estimate
from weightsearch.study.spec import StudySpec

ESTIMATE, MODEL, LANES = "estimate", "model", "lanes="

log = logging.getLogger(__name__)


def check(
    spec: StudySpec,
    device: str,
    packed: Path | None,
    path: Sequence[str] = (),
    threads: int | None = None,
    lanes: int | None = None,
) -> Estimate | None:
    """With `threads`, what the objective estimates of a worker with so many; None where it does not
    estimate, or fails to, which is a warning.

    Raises ObjectiveError where the study cannot work on this machine: with the traceback of the
    objective's own code where that has raised.
    """
    environment = child_python.environment(path)
    arguments = [device, str(packed or "")]
    if lanes is not None:
        arguments.append(f"{LANES}{lanes}")
    if threads is not None:
        environment.setdefault("OMP_NUM_THREADS", str(threads))  # the user's goes first, as there
        arguments.append(ESTIMATE)
    estimated, ended = _asked(spec, arguments, environment)
    return _estimated(estimated, ended) if threads is not None else None


def check_model(spec: StudySpec, device: str, path: Sequence[str] = ()) -> None:
    """What can be checked without the data. Raises ObjectiveError."""
    _asked(spec, [device, "", MODEL], child_python.environment(path))


def _asked(
    spec: StudySpec, arguments: Sequence[str], environment: dict[str, str]
) -> tuple[str, str]:
    """The process's answer below that of the check, and how it ended; raises what was found."""
    asked = subprocess.run(
        child_python.command("weightsearch.study.preflight", *arguments),
        input=json.dumps(spec.resolved()),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    last = (asked.stderr.strip().splitlines() or ["it said nothing"])[-1]
    ended = f"{child_python.how_ended(asked.returncode)}: {last}"
    checked, _, below = asked.stdout.partition("\n")
    _raise_what_was_found(checked, spec.objective.run, ended)
    return below, ended


def _raise_what_was_found(checked: str, run: str, ended: str) -> None:
    try:
        found = json.loads(checked)
    except ValueError:  # it did not come to an answer: killed, or a fault of native code
        raise ObjectiveError(f"objective '{run}' must be usable, but its check {ended}") from None
    if found is not None:
        # It knew no password of ours: ours are hidden here, where they are known.
        trace = safe_text.presentable(found["trace"], lines=True)
        raise ObjectiveError(safe_text.presentable(found["error"]), trace)


def _estimated(answered: str, ended: str) -> Estimate | None:
    try:
        found = json.loads(answered)
    except ValueError:  # killed for its memory, for one
        found = {"error": f"the estimate {ended}"}
    if found and "error" in found:
        log.warning("how long the study takes is not known: %s", found["error"])
        return None
    return Estimate(**found) if found else None


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
    spec = loading.parse(json.load(sys.stdin), "the study")
    device, packed = sys.argv[1], Path(sys.argv[2])
    with contextlib.redirect_stdout(sys.stderr):  # what the user's module prints is no answer
        more = sys.argv[3:]
        lanes = [int(told.removeprefix(LANES)) for told in more if told.startswith(LANES)]
        found = answer(spec, device, None if MODEL in more else packed, *lanes)
    # At once: what was found stays known, though the estimate should be killed for its memory.
    print(json.dumps(found), flush=True)
    if found is None and ESTIMATE in sys.argv[3:]:
        with contextlib.redirect_stdout(sys.stderr):
            expected = estimate(spec, device, packed)
        print(json.dumps(expected))


if __name__ == "__main__":
    main()
