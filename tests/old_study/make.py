"""Makes `studies.dump` and `home.tar.gz`: two studies half done, as commit 306b13d leaves them.

Run it in a checkout of that commit (`python tests/old_study/make.py`), never with newer code: what
is tested is that newer code goes on with them. Of `old-trivial` four points are done, the fifth is
held by a worker that was killed, and the result of the sixth lies in the spool only; of `old-depth`
two are done. The copy of the pack at the size of training is left out: it is made again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).parent.resolve()
sys.path.insert(0, str(HERE.parent))

from fault_factory import own_server  # noqa: E402

PROGRAM = (sys.executable, "-m", "weightsearch")


def main() -> None:
    with own_server() as server, tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        where = {"WEIGHTSEARCH_STORAGE": server.url("postgres"), "WEIGHTSEARCH_HOME": str(home)}

        def run(command: str, failpoint: str = "") -> None:
            """To its end, or until it dies at the failpoint, as by kill -9."""
            environment = os.environ | where | {"WEIGHTSEARCH_FAILPOINT": failpoint}
            code = subprocess.run([*PROGRAM, *command.split()], env=environment).returncode
            assert code == (-signal.SIGKILL if failpoint else 0)

        for name in ("trivial", "depth"):
            study = f"{HERE / name}.toml --name old-{name} --device cpu"
            run(f"launch {study}", "after-plan")
        for _ in range(2):
            run("worker old-depth --device cpu", "after-commit")
        for place in (*["after-commit"] * 4, "after-claim", "after-spool"):
            run("worker old-trivial --device cpu", place)
        (HERE / "studies.dump").unlink(missing_ok=True)
        run(f"backup {HERE / 'studies.dump'}")
        with tarfile.open(HERE / "home.tar.gz", "w:gz") as packed:
            packed.add(home, "home", filter=lambda m: None if "-32x32" in m.name else m)


if __name__ == "__main__":
    main()
