"""What lies under WEIGHTSEARCH_HOME: how much it is, and which of it nothing refers to any more.

    checkpoints/STUDY/POINT   packs/*.h5   logs/STUDY/*.log   spool/DATABASE/*.json

Only names of these forms are ever removed: what somebody else put there stays. A folder is first
renamed, in one step, and then emptied; one that a crash left half empty has a name that is never
looked for, and goes the next time.

No removal harms who is at work. What the database refers to stays; nobody plans a study while it is
asked; what was written or used a short while ago stays too, since a launch packs its data before it
plans. A pack that is removed while it is open can be read to the end, and is made again when it is
wanted again.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightsearch.commands.home.disk_usage import KINDS, _entries, _size
from weightsearch.commands.home.study_files import (
    GONE,
    PARTIAL,
    _foreign,
    _lease,
    _locked,
    _other_databases,
    _set_aside,
)
from weightsearch.errors import DataError
from weightsearch.runtime.home import is_forbidden
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger.references import Referred, referred
from weightsearch.study.objective_contract import BEST, LAST
from weightsearch.study.tables.share_spec import Form

UNUSED_S = 3600.0  # what was written or used since then may belong to a launch that is starting
LOGS_KEPT_S = 30 * 86400.0
FORBIDDEN = "another user's, and cannot be read"

_FORMS = "|".join(form.name.lower() for form in Form if form != Form.SCRATCH)
POINT = re.compile(rf"[0-9a-f]+-s-?\d+(-full\d*|-({_FORMS}))?")
PACK = re.compile(r"\w+-[0-9a-f]{12}(-\d+x\d+)?\.h5")
ARTIFACT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # a UUID, as Optuna names them
LEFTOVER = re.compile(r"\..+\.(tmp|gone)|.+\.partial")


@dataclass(frozen=True)
class Item:
    """Something that nothing refers to, or (with `kept`) that is left for a reason to be told."""

    path: Path
    why: str
    kept: bool = False


def gc(
    home: Path,
    database: Database,
    unused_s: float = UNUSED_S,
    dry_run: bool = False,
    only_database: bool = False,
) -> dict[str, Any]:
    """Removes what nothing refers to and nobody used for `unused_s`; what went, and what is left.

    Results that are not in the database yet always stay. Where the home was used with another
    database, so does whatever may be that one's, unless `only_database`.
    """
    from weightsearch.store import study_removal

    leftovers = list(_leftovers(home))  # looks at every file, so before anybody has to wait
    aside = []
    with referred(database.engine, hold=not dry_run) as known:
        others = [] if only_database else _other_databases(home, known.identity)
        found = [*leftovers, *_unreferred(home, known, others)]
        items = [_left_alone_if_used(item, unused_s) for item in found]
        unwanted = {item.path for item in items if not item.kept}
        items = [item for item in items if unwanted.isdisjoint(item.path.parents)]
        rows = [(item, _row(item)) for item in items]
        if not dry_run:
            for item in items:
                aside += [] if item.kept else _set_aside(home, item.path)
            _remove_empty(home, known, {path.parent for path in unwanted})
        shown = study_removal.optuna_leftovers(database.engine, remove=not dry_run)
    for path in aside:
        shutil.rmtree(path, ignore_errors=True)
    removed = [row for item, row in rows if not item.kept]
    return {
        "dry_run": dry_run,
        "removed": removed,
        "bytes": sum(row["bytes"] for row in removed),
        "kinds": _by_kind(home, removed),
        "optuna_studies": shown,
        "kept": [row for item, row in rows if item.kept],
    }


def _by_kind(home: Path, removed: list[dict[str, Any]]) -> dict[str, int]:
    """Bytes, by the folder of `home`."""
    found: dict[str, int] = {}
    for row in removed:
        kind = Path(row["path"]).relative_to(home).parts[0]
        found[kind] = found.get(kind, 0) + row["bytes"]
    return found


def _left_alone_if_used(item: Item, unused_s: float) -> Item:
    if item.kept or item.path.name.endswith(GONE) or _unused(item.path, unused_s):
        return item
    return Item(item.path, f"{item.why}, but was used a short while ago", kept=True)


def _row(item: Item) -> dict[str, Any]:
    return {"path": str(item.path), "why": item.why, "bytes": _size(item.path)}


def _unreferred(home: Path, known: Referred, others: list[str]) -> Iterator[Item]:
    yield from _points(home, known, others)
    yield from _packs(home, known, others)
    yield from _results(home, known)
    yield from _logs(home, known, others)
    yield from _artifacts(home, known, others)


def _artifacts(home: Path, known: Referred, others: list[str]) -> Iterator[Item]:
    for path in _entries(home / "artifacts"):
        if not ARTIFACT.fullmatch(path.name) or path.name in known.artifacts:
            continue
        if others:
            yield Item(path, _foreign(others), kept=True)
        else:
            yield Item(path, "no trial has this picture")


def _leftovers(home: Path) -> Iterator[Item]:
    """What a process that was killed in the middle of a write, or of a removal, has left."""
    for kind in KINDS:
        for folder, folders, files in os.walk(home / kind):
            for name in sorted([*folders, *files]):
                if LEFTOVER.fullmatch(name) and not _is_being_packed(Path(folder, name)):
                    yield Item(Path(folder, name), "was left by a process that was killed")
            folders[:] = [name for name in folders if not name.endswith(GONE)]


def _points(home: Path, known: Referred, others: list[str]) -> Iterator[Item]:
    for study in _entries(home / "checkpoints"):
        wanted = known.checkpoints.get(study.name)
        for folder in _entries(study):
            if not POINT.fullmatch(folder.name) or not folder.is_dir():
                continue
            if wanted is None:
                found = [Item(folder, f"study '{study.name}' does not exist")]
            elif folder.name not in wanted:
                found = [Item(folder, "its point is done and not a finalist, or not in the study")]
            else:
                spent = known.spent[study.name].get(folder.name, ())
                found = list(_spent(folder, spent))
            for item in found:  # two databases may have a study of one name
                yield Item(item.path, _foreign(others), kept=True) if others else item


def _spent(folder: Path, parts: Sequence[str]) -> Iterator[Item]:
    """Of a done run, left by a release that kept it or by a process that was killed."""
    there = {path.name for path in _entries(folder)}
    final = "-full" in folder.name
    if BEST in parts:
        for name in sorted(there & {*parts}):
            yield Item(folder / name, "of its point's full runs another one is the best")
    elif LAST in there & {*parts} and (not final or BEST in there):  # else it may be the network
        yield Item(folder / LAST, "its run is done, and nothing goes on from it")


def _packs(home: Path, known: Referred, others: list[str]) -> Iterator[Item]:
    from weightsearch.data.packs.layout import Pack  # imports h5py and numpy

    digests = {digest for digest, _ in known.data}
    for path in _entries(home / "packs"):
        if not PACK.fullmatch(path.name) or not path.is_file():
            continue
        try:
            with Pack(path) as pack:
                is_copy = pack.origin != pack.digest
                size = pack.sizes[0] if is_copy else None
                reader, origin = pack.reader, pack.origin
        except DataError:
            if is_forbidden(path):
                yield Item(path, FORBIDDEN, kept=True)
            else:
                yield Item(path, "cannot be read, and would be made again")
            continue
        wanted = (origin, size) in known.data if is_copy else origin in digests
        if wanted or reader in known.undecided:
            continue
        if others:
            yield Item(path, _foreign(others), kept=True)
        else:
            what = "no study trains on these data at this size" if is_copy else "no study uses it"
            yield Item(path, what)


def _results(home: Path, known: Referred) -> Iterator[Item]:
    for database in _entries(home / "spool"):
        for path in _entries(database):
            if path.suffix not in (".json", ".bad"):
                continue
            lease = _lease(path)
            if is_forbidden(path):
                yield Item(path, FORBIDDEN, kept=True)
            elif lease is None:
                yield Item(path, "no result can be read from it")
            elif database.name != known.identity:
                yield Item(path, "a result for another database", kept=True)
            elif lease["point_id"] not in known.undone:
                yield Item(path, "a result of a point that is done, or was deleted")
            elif path.suffix == ".bad":
                yield Item(path, "a result that the database refused", kept=True)
            else:
                yield Item(path, "a result that the next worker here delivers", kept=True)


def _logs(home: Path, known: Referred, others: list[str]) -> Iterator[Item]:
    for study in _entries(home / "logs"):
        for path in _entries(study):
            if path.is_dir():
                continue
            if _unused(path, LOGS_KEPT_S):
                yield Item(path, f"is older than {LOGS_KEPT_S / 86400:.0f} days")
            elif study.name not in known.checkpoints and not others:
                yield Item(path, f"study '{study.name}' does not exist")


def _unused(path: Path, seconds: float) -> bool:
    """Whether nothing in it was written for so long; a pack's time is that of its last use."""
    inside = (Path(at, name) for at, fs, files in os.walk(path) for name in (*fs, *files))
    newest = 0.0
    for place in (path, *inside):
        with contextlib.suppress(FileNotFoundError):
            newest = max(newest, place.lstat().st_mtime)
    return newest <= time.time() - seconds


def _is_being_packed(path: Path) -> bool:
    """An unfinished pack is its own lock (data/packs/building.py)."""
    if path.suffix != PARTIAL:
        return False
    with _locked(path) as free:
        return not free


def _remove_empty(home: Path, known: Referred, folders: set[Path]) -> None:
    """Of these folders those of studies that are gone and those of points, where nothing is left in
    them."""
    for folder in folders:
        ours = folder.parent in (home / "checkpoints", home / "logs")
        gone = ours and folder.name not in known.checkpoints
        if gone or folder.parent.parent == home / "checkpoints":
            with contextlib.suppress(OSError):  # somebody else's files
                folder.rmdir()
