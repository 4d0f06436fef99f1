"""Who may do what with the tables: their owner everything, workers no more than they need, viewers
nothing but look.

Roles are made by whoever runs the server (docs/database.md); here they get their rights.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy import Connection, Engine, Table, text

from weightsearch.errors import StorageError

WORKER = "SELECT, INSERT, UPDATE"  # no DELETE, no TRUNCATE: nothing that was found can be lost
VIEWER = "SELECT"

log = logging.getLogger(__name__)


def grant(
    engine: Engine, tables: Sequence[Table], versions: str, worker: str | None, viewer: str | None
) -> None:
    """Gives two roles exactly the rights above, on the tables that are there, and on those that a
    later migration by the same owner makes; and nobody the right to make tables of his own.

    `versions` is a table that is not in `tables`, and has no sequence. Raises StorageError where a
    role does not exist, or owns the tables.
    """
    with engine.begin() as connection:
        schema = connection.execute(text("SELECT current_schema()")).scalar_one()
        _close(connection, schema)
        owned = [_sequence(connection, table) for table in tables]
        sequences = [sequence for sequence in owned if sequence is not None]
        names = [_quoted(connection, name) for name in (*(t.name for t in tables), versions)]
        for role, rights in ((worker, WORKER), (viewer, VIEWER)):
            if role is not None:
                _check(connection, role)
                writes = rights != VIEWER
                _give(connection, role, f"TABLE {', '.join(names)}", rights)
                _give(connection, role, f"SEQUENCE {', '.join(sequences)}", "USAGE" * writes)
                _later(connection, schema, role, "TABLES", rights)
                _later(connection, schema, role, "SEQUENCES", "USAGE" * writes)


def _close(connection: Connection, schema: str) -> None:
    """Nobody but its owner makes tables in the schema (PostgreSQL 14 let everybody)."""
    row = connection.execute(
        text(
            "SELECT pg_has_role(nspowner, 'USAGE') AS ours, pg_get_userbyid(nspowner) AS owner,"
            " EXISTS (SELECT FROM aclexplode(nspacl) WHERE grantee = 0"
            " AND privilege_type = 'CREATE') AS open FROM pg_namespace WHERE nspname = :name"
        ),
        {"name": schema},
    ).one()
    if row.ours:
        closed = f"REVOKE CREATE ON SCHEMA {_quoted(connection, schema)} FROM PUBLIC"
        connection.exec_driver_sql(closed)
    elif row.open:
        log.warning(
            "every role can make tables in schema %s; let its owner '%s' REVOKE CREATE ON it"
            " FROM PUBLIC.",
            schema,
            row.owner,
        )


def _sequence(connection: Connection, table: Table) -> str | None:
    """The quoted name of the sequence that numbers the table's rows."""
    column = table.autoincrement_column
    if column is None:
        return None
    asked = {"table": _quoted(connection, table.name), "column": column.name}
    found: str | None = connection.execute(
        text("SELECT pg_get_serial_sequence(:table, :column)"), asked
    ).scalar()
    return found


def _check(connection: Connection, role: str) -> None:
    row = connection.execute(
        text("SELECT rolname = current_user FROM pg_roles WHERE rolname = :role"), {"role": role}
    ).one_or_none()
    if row is None:
        raise StorageError(
            f"role '{role}' must exist before it can be given rights, but does not; create it first"
            " (docs/database.md has the SQL)."
        )
    if row[0]:
        raise StorageError(
            f"workers and viewers must be other roles than the tables' owner, but '{role}' is who"
            " migrates; name another role, or connect as the owner."
        )


def _give(connection: Connection, role: str, things: str, rights: str) -> None:
    """These rights and no others."""
    to = _quoted(connection, role)
    connection.exec_driver_sql(f"REVOKE ALL ON {things} FROM {to}")
    if rights:
        connection.exec_driver_sql(f"GRANT {rights} ON {things} TO {to}")


def _later(connection: Connection, schema: str, role: str, things: str, rights: str) -> None:
    to = _quoted(connection, role)
    default = f"ALTER DEFAULT PRIVILEGES IN SCHEMA {_quoted(connection, schema)}"
    connection.exec_driver_sql(f"{default} REVOKE ALL ON {things} FROM {to}")
    if rights:
        connection.exec_driver_sql(f"{default} GRANT {rights} ON {things} TO {to}")


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote_identifier(name)
