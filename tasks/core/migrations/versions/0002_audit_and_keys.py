"""Versions and audit rows that the database itself keeps from changing, the audit log's chain, and the keys.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

from tasks.core.registry.audit import GENESIS, link
from tasks.core.registry.tables import AUDIT

revision = "0002"
down_revision = "0001"

_KEPT = ("versions", "audit")

_SQLITE = """
CREATE TRIGGER {table}_not_{action} BEFORE {action} ON {table}
BEGIN SELECT RAISE(ABORT, '{table}: rows are never changed'); END
"""

_SQLITE_REPLACE = """
CREATE TRIGGER {table}_not_replaced BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})
BEGIN SELECT RAISE(ABORT, '{table}: rows are never changed'); END
"""
"""``INSERT OR REPLACE`` deletes without a word to the triggers on DELETE."""

_SAME = {
    "versions": "project = NEW.project AND (version = NEW.version OR key = NEW.key)",
    "audit": "id = NEW.id OR previous = NEW.previous",
}

_POSTGRESQL_FUNCTION = """
CREATE FUNCTION updraft_rows_never_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ': rows are never changed'; END $$
"""

_POSTGRESQL = """
CREATE TRIGGER {table}_not_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION updraft_rows_never_change()
"""


def upgrade() -> None:
    """Chains the audit rows that are there, then closes both tables to changes."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("per_minute", sa.Integer),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime),
        sa.Column("revoked_at", sa.DateTime),
    )
    op.add_column("audit", sa.Column("previous", sa.String(64), nullable=False, server_default=""))
    op.add_column("audit", sa.Column("digest", sa.String(64), nullable=False, server_default=""))
    _chain(op.get_bind())
    # A row has one follower: two writers cannot fork the chain.
    op.create_index("audit_previous", "audit", ["previous"], unique=True)
    for statement in _triggers(op.get_bind().dialect.name):
        op.execute(statement)


def _chain(db: sa.Connection) -> None:
    previous = GENESIS
    for row in db.execute(sa.select(AUDIT).order_by(AUDIT.c.id)).mappings().all():
        digest = link(previous, dict(row))
        db.execute(AUDIT.update().where(AUDIT.c.id == row["id"]).values(previous=previous, digest=digest))
        previous = digest


def _triggers(dialect: str) -> list[str]:
    if dialect == "postgresql":
        return [_POSTGRESQL_FUNCTION, *(_POSTGRESQL.format(table=table) for table in _KEPT)]
    changes = [_SQLITE.format(table=table, action=action) for table in _KEPT for action in ("update", "delete")]
    return changes + [_SQLITE_REPLACE.format(table=table, same=_SAME[table]) for table in _KEPT]
