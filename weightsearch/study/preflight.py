"""What can be found out before a study is planned, in a process of its own: `launch` runs it.

Loads the objective and, where its module has one, calls `check(spec, device, packed data)`: an
unknown encoder or missing weights are reported before anything is planned. A process of its own,
because it may import torch, which the launcher never does.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from weightsearch.errors import ObjectiveError, WeightsearchError
from weightsearch.runtime import child_python, safe_text
from weightsearch.study import loading, objective_contract
from weightsearch.study.spec import StudySpec


def check(spec: StudySpec, device: str, packed: Path | None, path: Sequence[str] = ()) -> None:
    """Raises ObjectiveError where the study cannot work on this machine: with the traceback of the
    objective's own code where that has raised."""
    asked = subprocess.run(
        child_python.command("weightsearch.study.preflight", device, str(packed or "")),
        input=json.dumps(spec.resolved()),
        env=child_python.environment(path),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found = json.loads(asked.stdout)
    except ValueError:  # it did not come to an answer: killed, or a fault of native code
        last = (asked.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ObjectiveError(
            f"objective '{spec.objective.run}' must be usable, but its check ended with code"
            f" {asked.returncode}: {last}"
        ) from None
    if found is not None:
        # It knew no password of ours: ours are hidden here, where they are known.
        trace = safe_text.presentable(found["trace"], lines=True)
        raise ObjectiveError(safe_text.presentable(found["error"]), trace)


def answer(spec: StudySpec, device: str, packed: Path) -> dict[str, str] | None:
    """None, or in one line why the study cannot work here, with the objective's own traceback
    where its code has raised."""
    run = spec.objective.run
    try:
        objective_contract.load(run)
        objective_contract.check_weightings(spec)
        module = objective_contract.module_of(run)
        if hasattr(module, "check"):
            try:
                module.check(spec, device, packed)
            except WeightsearchError:
                raise
            except (Exception, SystemExit) as error:
                raise objective_contract.failed(run, "pass its check", error) from None
    except ObjectiveError as error:
        return {"error": str(error), "trace": error.trace}
    except WeightsearchError as error:
        return {"error": str(error), "trace": ""}
    return None


def main() -> None:
    spec = loading.parse(json.load(sys.stdin), "the study")
    with contextlib.redirect_stdout(sys.stderr):  # what the user's module prints is no answer
        found = answer(spec, sys.argv[1], Path(sys.argv[2]))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
