"""The files of one study, and removing them with it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from weightsearch.commands.home.disk_usage import _entries, _size
from weightsearch.errors import DataError
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import queries
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.schema import meta

GONE = ".gone"

PARTIAL = ".partial"


def deletion_preview(home: Path, database: Database, study: Study) -> dict[str, Any]:
    """What deleting a study would remove. Raises StorageError where this role may not delete."""
    from weightsearch.store import study_removal  # imports optuna: half a second

    study_removal.check_right(database.engine)
    counts = queries.counts(database.engine, study)
    promoted = study.promoted.checkpoint if study.promoted else None
    files, kept = _files_of(home, database.engine, study)
    return {
        "study": study.name,
        "points": counts,
        "promoted_checkpoint": promoted,
        "undelivered": sum(path.suffix == ".json" for path in files),
        "bytes": sum(map(_size, files)),
        "files": [str(path) for path in files],
        "kept": kept,
    }


def delete(home: Path, database: Database, study: Study, force: bool) -> dict[str, Any]:
    """Removes a study from the database, then its files of this home; what went, and what is left
    (`kept`: its folders, where those may be of a study of another database).

    Where it dies in between, `gc` removes the files. Raises StudyError where the study is at work,
    DataError where it is gone and a file cannot be removed.
    """
    from weightsearch.store import study_removal

    answer = deletion_preview(home, database, study)
    went = study_removal.delete_study(database.engine, study, force)
    files, _ = _files_of(home, database.engine, study)
    answer |= {"bytes": sum(map(_size, files)), "files": [str(path) for path in files]}
    try:
        aside = [folder for path in files for folder in _set_aside(home, path)]
    except OSError as error:
        raise DataError(
            f"{error.filename}: study '{study.name}' is gone from the database, but its files"
            f" cannot be removed ({error.strerror}); `weightsearch gc` removes them once they can."
        ) from None
    for path in aside:
        shutil.rmtree(path, ignore_errors=True)
    return answer | {"trials": went.trials}


def _files_of(home: Path, engine: Engine, study: Study) -> tuple[list[Path], list[dict[str, str]]]:
    """Its files, and with the reason those that may be another's of the same name."""
    plain = Path(study.name).name == study.name != ".."  # it comes from the database
    folders = [home / kind / study.name for kind in ("checkpoints", "logs")] if plain else []
    with engine.connect() as connection:
        identity = connection.execute(select(meta.c.identity)).scalar_one()
    spooled = [
        path
        for path in _entries(home / "spool" / identity)
        if (lease := _lease(path)) is not None and lease["study_id"] == study.id
    ]
    folders = [path for path in folders if path.is_dir() and not path.is_symlink()]
    if others := _other_databases(home, identity):
        return spooled, [{"path": str(path), "why": _foreign(others)} for path in folders]
    return [*folders, *spooled], []


def _other_databases(home: Path, identity: str) -> list[str]:
    """Every database whose workers ran here has a spool here."""
    there = [p.name for p in _entries(home / "spool") if p.is_dir()]
    return sorted(set(there) - {identity})


def _foreign(others: list[str]) -> str:
    return f"may be of another database that was used with this home (spool/{others[0]})"


def _lease(path: Path) -> dict[str, Any] | None:
    """The claim that a spooled result belongs to; None where none can be read."""
    try:
        lease = json.loads(path.read_text())["lease"]
        return lease if isinstance(lease["point_id"], int) and "study_id" in lease else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether nobody else holds the lock of a file, which then is held until the block ends."""
    with contextlib.ExitStack() as stack:
        try:
            fcntl.flock(stack.enter_context(path.open("rb")), fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except (FileNotFoundError, PermissionError, BlockingIOError):
            free = False
        yield free


def _set_aside(home: Path, path: Path) -> list[Path]:
    """Takes a file away, or a folder out of use; the folder that is still to be emptied."""
    if path.suffix == PARTIAL:
        with _locked(path) as free:
            if free:
                path.unlink()
    elif not path.is_dir():
        path.unlink(missing_ok=True)
    elif path.name.endswith(GONE):
        return [path]
    else:
        top = home / path.relative_to(home).parts[0]
        aside = top / f".{path.name}.{secrets.token_hex(4)}{GONE}"
        with contextlib.suppress(FileNotFoundError):  # another `gc`, or `delete`, was faster
            path.rename(aside)
            return [aside]
    return []
