"""`initdb` from a template, for the embedded servers of tests: a tenth of its CPU time.

A folder of PostgreSQL's programs for WEIGHTSEARCH_PG_BIN. Asked as the embedded server asks, its
`initdb` copies what the real one made once and sets the password; asked otherwise, it is the real
one. Tests that are about `initdb` and the choice of programs do without it (`real_initdb`).
"""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

import pytest

from weightsearch.store.embedded import postgres_programs, server_folders

SCRIPT = """#!/bin/sh
asked="-U weightsearch -E UTF8 -A scram-sha-256"
more="--locale=C --data-checksums --no-instructions"
if [ "$*" != "-D $2 $asked --pwfile ${10} $more --no-clean" ]; then
  exec REAL/initdb "$@"
fi
template="TEMPLATE-$(id -u)"
exec 3>>"$template.lock" && flock 3
if [ ! -d "$template" ]; then
  REAL/initdb -D "$template.new" $asked --pwfile "${10}" $more --no-sync || exit
  mv "$template.new" "$template" || exit
fi
exec 3>&-
cp -a "$template/." "$2" || exit
read -r password < "${10}"
echo "ALTER ROLE weightsearch PASSWORD '$password'" |
  REAL/postgres --single -F -D "$2" template1 > /dev/null 2>&1
"""


def programs() -> Path:
    """The folder; whoever runs the server can read it, and keep the template in it."""
    account = server_folders.account()
    real = postgres_programs.find(Path("/nowhere"), account)
    folder = Path(tempfile.mkdtemp(prefix="weightsearch-programs-"))
    folder.chmod(0o777)
    for program in real.iterdir():
        if program.name != "initdb":
            (folder / program.name).symlink_to(program)
    script = SCRIPT.replace("REAL", shlex.quote(str(real)))
    (folder / "initdb").write_text(script.replace("TEMPLATE", f"{folder}/template"))
    (folder / "initdb").chmod(0o755)
    return folder


@pytest.fixture
def real_initdb(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test that is about it."""
    monkeypatch.delenv("WEIGHTSEARCH_PG_BIN", raising=False)
