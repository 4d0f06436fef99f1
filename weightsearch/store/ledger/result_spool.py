"""Results on local disk before they are in the database.

A result is written and synced here first, then committed, then removed: whatever dies in between,
the next worker on this machine finds it and commits it. Committing twice is harmless (the fence).
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.exc import DataError

from weightsearch.runtime import failpoints
from weightsearch.runtime.atomic_file import write_atomically
from weightsearch.store.ledger import leases
from weightsearch.store.ledger.leases import Lease
from weightsearch.store.tables.schema import meta

log = logging.getLogger(__name__)


def folder(engine: Engine, home: Path) -> Path:
    """Where results for this database wait, made if need be."""
    with engine.connect() as connection:
        identity: str = connection.execute(select(meta.c.identity)).scalar_one()
    path = home / "spool" / identity
    path.mkdir(parents=True, exist_ok=True)
    return path


def deliver(
    engine: Engine, spool: Path, lease: Lease, result: Mapping[str, Any], outcome: str
) -> bool:
    """Spools a result, commits it, and forgets it; False where the claim was lost."""
    try:
        path = write(spool, lease, result, outcome)
    except OSError as error:  # a full disk must not cost the result
        log.warning("%s: a result cannot be kept on disk (%s)", spool, error.strerror)
        return leases.finish(engine, lease, result, outcome)
    failpoints.reach("after-spool")
    return _commit(engine, path, lease, result, outcome)


def replay(engine: Engine, spool: Path) -> int:
    """Commits what an earlier process on this machine could not; how many results that saved.

    A file that cannot be committed at all is set aside: it must not stop every later worker.
    """
    saved = 0
    for path in sorted(spool.glob("*.json")):
        try:
            content = json.loads(path.read_text())
            lease = Lease(**content["lease"])
            if _commit(engine, path, lease, content["result"], content["outcome"]):
                saved += 1
                told = "point %d: the result that its worker left on disk is committed now"
                log.info(told, lease.number)
        except FileNotFoundError:  # its own process, or another one here, was faster
            continue
        except PermissionError:
            log.warning("%s: another user's result, which their next worker delivers", path)
        except (ValueError, TypeError, KeyError, DataError) as error:
            path.replace(path.with_suffix(".bad"))
            log.warning("%s: no result can be read from it (%s)", path, type(error).__name__)
    return saved


def write(spool: Path, lease: Lease, result: Mapping[str, Any], outcome: str) -> Path:
    """Puts a result on disk, synced, under a name that only this attempt has."""
    path = spool / f"{lease.point_id}-{lease.attempt}.json"
    content = {"lease": asdict(replace(lease, point=None)), "result": result, "outcome": outcome}
    write_atomically(path, json.dumps(content, allow_nan=False).encode())
    return path


def _commit(
    engine: Engine, path: Path, lease: Lease, result: Mapping[str, Any], outcome: str
) -> bool:
    kept = leases.finish(engine, lease, result, outcome)
    if not kept:
        log.warning(
            "point %d: the result of attempt %d came too late and was dropped; the point is"
            " another worker's",
            lease.number,
            lease.attempt,
        )
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return kept
