"""What can be found out before a study is planned, in a process of its own: `launch` runs it.

Loads the objective and, where its module has one, calls `check(spec, device, packed data)`: an
unknown encoder or missing weights are reported before anything is planned. A process of its own,
because it may import torch, which the launcher never does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from weightsearch.errors import WeightsearchError
from weightsearch.runtime import child_python
from weightsearch.study import loading, objective_contract
from weightsearch.study.spec import StudySpec


def check(spec: StudySpec, device: str, packed: Path | None, path: Sequence[str] = ()) -> None:
    """Raises WeightsearchError where the study cannot work on this machine."""
    asked = subprocess.run(
        child_python.command("weightsearch.study.preflight", device, str(packed or "")),
        input=json.dumps(spec.resolved()),
        env=child_python.environment(path),
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode == 1 and asked.stdout:
        raise WeightsearchError(asked.stdout.strip())
    if asked.returncode != 0:
        last = (asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"])[-1]
        raise WeightsearchError(f"the objective must be usable, but its check ended with: {last}")


def main() -> int:
    spec = loading.parse(json.load(sys.stdin), "the study")
    try:
        objective_contract.load(spec.objective.run)
        module = objective_contract.module_of(spec.objective.run)
        if hasattr(module, "check"):
            module.check(spec, sys.argv[1], Path(sys.argv[2]))
    except WeightsearchError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
