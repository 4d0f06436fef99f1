"""Where the embedded server lives, and the user who runs it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import secrets
from contextlib import suppress
from pathlib import Path

from weightsearch.errors import StorageError
from weightsearch.runtime.atomic_file import write_atomically

SHARED = Path("/var/lib/weightsearch")
"""Root's, open to the server's user: databases of homes that are closed to it, copied programs."""
LONGEST_FOLDER = 85  # bytes; with "/.s.PGSQL.5432" below the 104 of macOS and the 108 of Linux


def account() -> pwd.struct_passwd | None:
    """Who runs the server: None (this user), or as root `postgres`, else `nobody`.

    PostgreSQL refuses to run as root. Raises StorageError where neither account exists.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise StorageError(
        "as root, the embedded database needs an account 'postgres' or 'nobody', but there is"
        " neither; create one, or set WEIGHTSEARCH_STORAGE to the URL of a PostgreSQL server."
    )


def server_folder(home: Path) -> Path:
    """Where the server of `home` keeps data, locks, password and log; made, and this user's own.

    It is HOME/postgres. As root, where the server's user is kept out of HOME, it is a folder of
    random name in /var/lib/weightsearch, and the file HOME/postgres.folder says which.
    """
    if home == SHARED:  # root's usual HOME
        shared_folder()
    home.mkdir(parents=True, exist_ok=True)
    home = home.resolve()
    folder, pointer, runner = home / "postgres", home / "postgres.folder", account()
    if pointer.exists():
        folder = SHARED / pointer.read_text().strip()
        if folder.parent != SHARED or not folder.is_dir():
            raise StorageError(
                f"{pointer} must name the folder of the database, but there is no {folder};"
                f" bring it back, or remove {pointer} to start afresh."
            )
    elif runner is not None and (closed := closed_to(runner, home)) is not None:
        if folder.exists():
            raise StorageError(
                f"the server's user '{runner.pw_name}' must be able to enter {closed}, which must"
                f" be root's, but it is not so; change that, or move {folder} away to start afresh."
            )
        return _folder_elsewhere(home, pointer, runner)
    folder.mkdir(mode=0o700, exist_ok=True)
    if (owner := folder.stat().st_uid) != os.geteuid():
        raise StorageError(
            f"{folder} must belong to the user who runs this, but belongs to uid {owner};"
            " run as that user, or name another folder in WEIGHTSEARCH_HOME."
        )
    return folder


def existing_folder(home: Path) -> Path | None:
    """That folder, where there is one; nothing is made."""
    pointer = home / "postgres.folder"
    with suppress(OSError):
        found = SHARED / pointer.read_text().strip() if pointer.exists() else home / "postgres"
        return found if found.is_dir() else None
    return None


def closed_to(runner: pwd.struct_passwd, folder: Path) -> Path | None:
    """The first of the folder and its parents, from the root, that the user may not enter by mode.

    One that belongs to a third user counts: who could swap what is in it is not to be trusted.
    """
    for place in (*reversed(folder.parents), folder):
        facts = place.stat()
        whose = 0 if facts.st_uid == runner.pw_uid else 3 if facts.st_gid == runner.pw_gid else 6
        if not facts.st_mode & (0o100 >> whose) or facts.st_uid not in (0, runner.pw_uid):
            return place
    return None


def _folder_elsewhere(home: Path, pointer: Path, runner: pwd.struct_passwd) -> Path:
    shared = shared_folder()
    if (closed := closed_to(runner, shared)) is not None:
        raise StorageError(
            f"the server's user '{runner.pw_name}' must be able to enter {closed}, which must be"
            " root's, but it is not so; change that, or name a folder in WEIGHTSEARCH_HOME that is."
        )
    descriptor = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # two first starts at once must agree on the folder
        if not pointer.exists():
            folder = shared / secrets.token_hex(8)
            folder.mkdir(mode=0o700)
            write_atomically(pointer, folder.name.encode(), mode=0o600)
    finally:
        os.close(descriptor)
    return shared / pointer.read_text().strip()


def socket_folder(folder: Path, password: str) -> Path:
    """The folder of the server's socket: a short one in /tmp where the path would be too long.

    Its name there comes from the password, so that it is always the same and nobody can guess it
    and be there first. A comma in the path would read as a list, to the server and to libpq.
    """
    near = folder / "run"
    if len(os.fsencode(near)) <= LONGEST_FOLDER and not set(str(near)) & set(',"'):
        return near
    return Path("/tmp", "weightsearch-" + hashlib.sha256(password.encode()).hexdigest()[:16])


def shared_folder() -> Path:
    """`/var/lib/weightsearch`, made where it is missing."""
    with suppress(FileExistsError):
        SHARED.mkdir(parents=True)
        SHARED.chmod(0o755)  # whatever the umask says: the server's user must get through
    return SHARED
