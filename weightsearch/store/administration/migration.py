"""All tables of a database, the ledger's and Optuna's, made or upgraded by their owner."""

from __future__ import annotations

import optuna
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import BaseModel, VersionInfoModel
from sqlalchemy import Connection, Table, func, inspect, select

from weightsearch.errors import StorageError
from weightsearch.store.administration import roles
from weightsearch.store.connection import connecting
from weightsearch.store.connection.database import Database
from weightsearch.store.tables import schema

VERSION: Table = VersionInfoModel.__table__


def migrate(database: Database, worker: str | None = None, viewer: str | None = None) -> list[str]:
    """Makes or upgrades the tables and lets the two roles use them; the tables' names.

    Asked by several at once, it is done once. Raises StorageError.
    """
    schema.prepare(database.engine)
    prepare_optuna(database)
    tables = [*schema.metadata.sorted_tables, *BaseModel.metadata.sorted_tables]
    roles.grant(database.engine, tables, "alembic_version", worker, viewer)
    return [*(table.name for table in tables), "alembic_version"]


def prepare_optuna(database: Database) -> None:
    """Makes or upgrades Optuna's tables; where they are of its version, it only looks.

    Raises StorageError where a newer Optuna made them.
    """
    with connecting.unhurried(database.engine) as connection:
        if _of_this_optuna(connection):
            return
        # Optuna makes its tables without a lock of its own.
        connection.execute(select(func.pg_advisory_xact_lock(schema.MIGRATION_LOCK)))
        storage = RDBStorage(
            # Only an upgrade takes the URL, for a connection of its own.
            database.url.render_as_string(hide_password=False),
            engine_kwargs=connecting.pooled(database.connect),
            skip_compatibility_check=True,
        )
        try:
            found, ours = storage.get_current_version(), storage.get_head_version()
            if found not in storage.get_all_versions():
                raise StorageError(
                    f"Optuna's tables must be of version {ours} or older, but they are of {found};"
                    " use the Optuna release that made them, or another database."
                )
            if found != ours:
                storage.upgrade()
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _of_this_optuna(connection: Connection) -> bool:
    """Whether the release of Optuna that runs here made or upgraded the tables.

    It notes its name last, so it was done. Asking Optuna itself takes 0.1 s: it reads the scripts
    of all its upgrades.
    """
    if not inspect(connection).has_table("alembic_version"):
        return False
    made_by = connection.execute(select(VERSION.c.library_version)).scalar()
    return made_by == optuna.__version__
