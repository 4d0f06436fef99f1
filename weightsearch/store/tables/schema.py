"""The tables of the ledger, and the one place that creates and upgrades them.

ws_studies ──< ws_points ──< ws_attempts        ws_workers       ws_meta (schema version)
ws_nights ──< ws_baselines                      (nights of a sweep that is repeated)

A point is waiting → leased → done | failed; a leased point goes back to waiting when it is given
up, or stays paused where a checkpoint waits for it. `attempt` only ever grows: together with the
worker's name it is the fence that makes late writers harmless. A study is running, paused (workers
wait) or stopped (workers leave); whoever waits listens on its channel (`channel`).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from weightsearch.errors import StorageError
from weightsearch.store.tables.states import ENDED, PointState, StudyState

VERSION = 5
OLDEST_SERVER = 14  # major version of PostgreSQL
MIGRATION_LOCK = 0x77656967  # an advisory lock's key: "weig"

# A point that is done leaves dead entries where the next claim begins to read its index, until a
# vacuum. By default that comes at a fifth of the table: of 100,000 points a claim read 223 pages.
VACUUM = {"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 1000}

metadata = MetaData()

meta = Table(
    "ws_meta",
    metadata,
    Column("version", Integer, nullable=False),
    # Names this database in the spools of its workers: a point's number alone could be another's.
    Column("identity", Text, nullable=False, server_default=text("gen_random_uuid()::text")),
)

studies = Table(
    "ws_studies",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("spec", JSONB, nullable=False),
    Column("digest", Text, nullable=False),
    Column("data_digest", Text),
    Column("equivalent_left_out", Integer, nullable=False),
    Column("promoted", JSONB),  # the verdict of the promotion, with its lineage
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("state", Text, nullable=False, server_default=StudyState.RUNNING),
    Column("state_reason", Text),
    Column("budget", JSONB(none_as_null=True)),  # {"points": .., "device_seconds": ..}
    Column("deadline", DateTime(timezone=True)),  # the wall-clock part of the budget
    # What `--extend` changed: [{"at": .., "digest": .., "changed": {"answer.repeats": [1, 5]}}]
    Column("history", JSONB, nullable=False, server_default="[]"),
    # Which configurations went on, and why, look by look (study/looks/). Not in a table of its
    # own: a restore of an older backup could not drop what it does not know and what refers here.
    Column("looks", JSONB, nullable=False, server_default="[]"),
)

points = Table(
    "ws_points",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("study_id", ForeignKey("ws_studies.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),  # its turn
    Column("place", Integer, nullable=False),  # of its configuration in the plan
    Column("repeat", Integer, nullable=False, server_default="0"),  # every one has its own seed
    Column("fold", Integer),  # of the validation frames; null where they are not divided
    # How far it is trained: from the checkpoint of the same point, seed and rung a stage before.
    Column("stage", Integer, nullable=False, server_default="0"),
    Column("key", Text, nullable=False),  # canonical text of weights and params
    # {"mae": "1/3"}; null until an adaptive sampler fills the place, when it is claimed
    Column("weights", JSONB(none_as_null=True)),
    Column("params", JSONB(none_as_null=True)),
    Column("seed", BigInteger, nullable=False),
    Column("rung", Integer, nullable=False, server_default="0"),  # 0: the search; 1: promotion
    Column("state", Text, nullable=False, server_default=PointState.WAITING),
    Column("attempt", Integer, nullable=False, server_default="0"),  # the fence
    Column("spent", Integer, nullable=False, server_default="0"),  # attempts that were lost
    Column("shrink", Integer, nullable=False, server_default="0"),  # times it ran out of memory
    Column("worker", Text),
    Column("lease_until", DateTime(timezone=True)),
    Column("result", JSONB(none_as_null=True)),
    Column("reason", Text),
    UniqueConstraint("study_id", "key", "seed", "rung", "stage", name="ws_point_once"),
    UniqueConstraint("study_id", "number", "rung", name="ws_point_place"),
    CheckConstraint(f"state IN {tuple(s.value for s in PointState)}", name="ws_point_state"),
    # A point is done exactly when it has a result: no code path can break it.
    CheckConstraint("(state = 'done') = (result IS NOT NULL)", name="ws_point_done"),
    Index(
        "ws_point_open",
        "study_id",
        "rung",
        "number",
        # By what it leaves out: a table that PostgreSQL has no statistics of yet is taken to have
        # almost all of its rows there, so that the claim walks along the index. As three of the
        # states it was taken for one row, and every claim sorted the plan: 24 ms at 100,000 points.
        postgresql_where=text(f"state NOT IN {tuple(s.value for s in ENDED)}"),
    ),
    Index(
        "ws_point_leased",
        "study_id",
        "lease_until",
        postgresql_where=text("state = 'leased'"),
    ),
    postgresql_with=VACUUM,
)

attempts = Table(
    "ws_attempts",
    metadata,
    Column("point_id", ForeignKey("ws_points.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("worker", Text, nullable=False),
    Column("device", Text),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("ended_at", DateTime(timezone=True)),
    # Null while it runs; done, diverged, failed, lost, given back, or dropped: it was no attempt.
    Column("outcome", Text),
    Column("reason", Text),
    Column("epochs", JSONB, nullable=False, server_default="[]"),  # metrics after each epoch
    Column("seconds", Float),
    # What the Optuna study shows of it (store/optuna_mirror.py).
    Column("trial_id", Integer),
    Column("mirrored_epochs", Integer, nullable=False, server_default="0"),
    Column("mirrored_end", Boolean, nullable=False, server_default="false"),
    Index("ws_attempt_unshown", "point_id", postgresql_where=text("NOT mirrored_end")),
    postgresql_with=VACUUM,
)

workers = Table(
    "ws_workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("study_id", ForeignKey("ws_studies.id", ondelete="CASCADE"), nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("device", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("stopped_at", DateTime(timezone=True)),
)

nights = Table(
    "ws_nights",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("sweep", Text, nullable=False),  # what is repeated: the study file's name
    Column("night", Text, nullable=False),  # date and commit
    Column("digest", Text, nullable=False),  # of the study with its canaries and seeds
    Column("commit", Text, nullable=False),
    Column("began_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("verdict", JSONB(none_as_null=True)),
    Column("final", Boolean, nullable=False, server_default="false"),  # nothing may replace it
    UniqueConstraint("sweep", "night", name="ws_night_once"),
)

baselines = Table(
    "ws_baselines",  # rows are only ever added: the newest of a sweep counts
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("sweep", Text, nullable=False),
    Column("night_id", ForeignKey("ws_nights.id"), nullable=False),  # where its values are from
    Column("digest", Text, nullable=False),  # of what the canaries' values depend on
    Column("measured", JSONB, nullable=False),
    Column("accepted_by", Text, nullable=False),
    Column("accepted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("why", Text, nullable=False),
    Column("previous_id", ForeignKey("ws_baselines.id")),
    Index("ws_baseline_newest", "sweep", "id"),
)

MIGRATIONS = {
    1: (
        "ALTER TABLE ws_studies ADD state TEXT NOT NULL DEFAULT 'running', ADD state_reason TEXT,"
        " ADD budget JSONB, ADD deadline TIMESTAMPTZ",
        "ALTER TABLE ws_points ADD shrink INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX ws_point_leased ON ws_points (study_id, lease_until) WHERE state = 'leased'",
        "UPDATE ws_attempts SET trial_id = NULL WHERE trial_id = -1",
        "CREATE INDEX ws_attempt_unshown ON ws_attempts (point_id) WHERE NOT mirrored_end",
    ),
    2: (
        "CREATE TABLE ws_nights (id BIGSERIAL PRIMARY KEY, sweep TEXT NOT NULL,"
        " night TEXT NOT NULL, digest TEXT NOT NULL, commit TEXT NOT NULL,"
        " began_at TIMESTAMPTZ NOT NULL DEFAULT now(), verdict JSONB,"
        " final BOOLEAN NOT NULL DEFAULT false, CONSTRAINT ws_night_once UNIQUE (sweep, night))",
        "CREATE TABLE ws_baselines (id BIGSERIAL PRIMARY KEY, sweep TEXT NOT NULL,"
        " night_id BIGINT NOT NULL REFERENCES ws_nights (id), digest TEXT NOT NULL,"
        " measured JSONB NOT NULL, accepted_by TEXT NOT NULL,"
        " accepted_at TIMESTAMPTZ NOT NULL DEFAULT now(), why TEXT NOT NULL,"
        " previous_id BIGINT REFERENCES ws_baselines (id))",
        "CREATE INDEX ws_baseline_newest ON ws_baselines (sweep, id)",
    ),
    3: (
        "DROP INDEX ws_point_open",
        "CREATE INDEX ws_point_open ON ws_points (study_id, rung, number)"
        " WHERE state NOT IN ('done', 'failed')",
        *(
            f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0,"
            " autovacuum_vacuum_threshold = 1000)"
            for table in ("ws_points", "ws_attempts")
        ),
    ),
    4: (
        "ALTER TABLE ws_studies ADD history JSONB NOT NULL DEFAULT '[]',"
        " ADD looks JSONB NOT NULL DEFAULT '[]'",
        "ALTER TABLE ws_points ADD place INTEGER, ADD repeat INTEGER NOT NULL DEFAULT 0,"
        " ADD fold INTEGER, ADD stage INTEGER NOT NULL DEFAULT 0",
        "UPDATE ws_points SET place = number",
        "ALTER TABLE ws_points ALTER place SET NOT NULL, DROP CONSTRAINT IF EXISTS ws_point_once,"
        " ADD CONSTRAINT ws_point_once UNIQUE (study_id, key, seed, rung, stage),"
        " DROP CONSTRAINT ws_point_state, ADD CONSTRAINT ws_point_state CHECK"
        " (state IN ('waiting', 'leased', 'paused', 'done', 'failed', 'dropped'))",
        "DROP INDEX ws_point_open",
        "CREATE INDEX ws_point_open ON ws_points (study_id, rung, number)"
        " WHERE state NOT IN ('done', 'failed', 'dropped')",
    ),
}
"""By the version they start from: what makes the next one of it."""


def channel(study_id: int) -> str:
    """What idle workers of a study listen on."""
    return f"ws_study_{study_id}"


def prepare(engine: Engine) -> None:
    """Creates or upgrades the tables, once however many processes ask at the same time.

    Raises StorageError where the server is too old, or the schema newer than this program.
    """
    with engine.begin() as connection:
        major = int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000
        if major < OLDEST_SERVER:
            raise StorageError(
                f"PostgreSQL must be version {OLDEST_SERVER} or newer, but the server is {major};"
                " name another with --storage."
            )
        if _version(connection) == VERSION:
            return
        connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        found = _version(connection)
        if found is None:
            metadata.create_all(connection)
            connection.execute(meta.insert().values(version=VERSION))
            return
        if found > VERSION:
            raise StorageError(
                f"the database's schema must be of version {VERSION} or older, but it is {found};"
                " use the weightsearch release that made it, or another database."
            )
        for version in range(found, VERSION):
            for statement in MIGRATIONS[version]:
                connection.execute(text(statement))
        connection.execute(meta.update().values(version=VERSION))


def _version(connection: Connection) -> int | None:
    if not inspect(connection).has_table(meta.name):
        return None
    return connection.execute(select(func.max(meta.c.version))).scalar()
