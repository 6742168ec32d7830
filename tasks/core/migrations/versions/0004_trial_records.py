"""What came of the requests of a trial, and what the endpoint's workers answer with.

Revision ID: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Creates both tables; rows of either stay for seconds."""
    op.create_table(
        "trial_records",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("step", sa.DateTime, nullable=False),
        sa.Column("dropped", sa.Integer, nullable=False),
        sa.Column("records", sa.JSON, nullable=False),
    )
    op.create_table(
        "workers",
        sa.Column("worker", sa.String(32), primary_key=True),
        sa.Column("address", sa.String(300), nullable=False),
        sa.Column("versions", sa.JSON, nullable=False),
        sa.Column("challengers", sa.JSON, nullable=False),
        sa.Column("seen", sa.BigInteger, nullable=False),
    )
