"""The first tables: accounts, profiles and catalogue; the projections of the logs; the idempotency records."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_account_tables()
    _create_service_tables()
    _create_log_tables()
    _create_job_tables()
    _create_notification_and_position_tables()


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")


def _required_column(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    """Return a column that is never NULL. The database does not number rows itself."""
    return sa.Column(name, kind, nullable=False, autoincrement=False)


def _create_account_tables() -> None:
    op.create_table(
        "users",
        _required_column("id", sa.Text()),
        _required_column("email", sa.Text()),
        _required_column("name", sa.Text()),
        _required_column("role", sa.Text()),
        sa.Column("phone", sa.Text()),
        _required_column("active", sa.Boolean()),
        sa.Column("reason", sa.Text()),
        _required_column("password_hash", sa.Text()),
        _required_column("version", sa.Integer()),
        _required_column("hot", sa.Boolean()),
        _required_column("created_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )
    op.create_index(op.f("ix_users_created_at_id"), "users", ["created_at", "id"])
    op.create_index(op.f("ix_users_hot"), "users", ["hot"])
    op.create_table(
        "sessions",
        _required_column("id", sa.Text()),
        _required_column("user", sa.Text()),
        _required_column("salt", sa.LargeBinary()),
        _required_column("generation", sa.Integer()),
        _required_column("rotated_at", sa.BigInteger()),
        _required_column("expires_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_sessions_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"])
    op.create_index(op.f("ix_sessions_user"), "sessions", ["user"])
    op.create_table(
        "technicians",
        _required_column("id", sa.Text()),
        _required_column("zone", sa.Text()),
        _required_column("capacity", sa.Integer()),
        _required_column("kyc", sa.Text()),
        _required_column("account", sa.Text()),
        sa.Column("reason", sa.Text()),
        _required_column("version", sa.Integer()),
        sa.ForeignKeyConstraint(["id"], ["users.id"], name=op.f("fk_technicians_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_technicians")),
    )
    op.create_index(op.f("ix_technicians_zone_id"), "technicians", ["zone", "id"])


def _create_service_tables() -> None:
    op.create_table(
        "services",
        _required_column("id", sa.Text()),
        _required_column("name", sa.Text()),
        _required_column("category", sa.Text()),
        _required_column("base_amount", sa.BigInteger()),
        _required_column("currency", sa.Text()),
        _required_column("pricing", sa.Text()),
        _required_column("duration_min", sa.Integer()),
        _required_column("active", sa.Boolean()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_services")),
    )
    op.create_table(
        "technician_services",
        _required_column("service", sa.Text()),
        _required_column("technician", sa.Text()),
        sa.ForeignKeyConstraint(["service"], ["services.id"], name=op.f("fk_technician_services_service")),
        sa.ForeignKeyConstraint(["technician"], ["technicians.id"], name=op.f("fk_technician_services_technician")),
        sa.PrimaryKeyConstraint("service", "technician", name=op.f("pk_technician_services")),
    )
    op.create_index(op.f("ix_technician_services_technician"), "technician_services", ["technician"])
    op.create_table(
        "request_keys",
        _required_column("principal", sa.Text()),
        _required_column("key", sa.Text()),
        _required_column("fingerprint", sa.Text()),
        sa.Column("code", sa.Text()),
        sa.Column("body", sa.Text()),
        _required_column("expires_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("principal", "key", name=op.f("pk_request_keys")),
    )
    op.create_index(op.f("ix_request_keys_expires_at"), "request_keys", ["expires_at"])


def _create_log_tables() -> None:
    op.create_table(
        "checkpoints",
        _required_column("zone", sa.Text()),
        _required_column("epoch", sa.Text()),
        _required_column("seq", sa.BigInteger()),
        sa.PrimaryKeyConstraint("zone", name=op.f("pk_checkpoints")),
    )
    op.create_table(
        "epochs",
        _required_column("zone", sa.Text()),
        _required_column("epoch", sa.Text()),
        _required_column("first_seq", sa.BigInteger()),
        sa.PrimaryKeyConstraint("zone", "epoch", name=op.f("pk_epochs")),
    )
    op.create_table(
        "events",
        _required_column("zone", sa.Text()),
        _required_column("seq", sa.BigInteger()),
        _required_column("type", sa.Text()),
        _required_column("to", sa.Text()),
        _required_column("at", sa.BigInteger()),
        _required_column("actor", sa.Text()),
        _required_column("bp", sa.Text()),
        _required_column("data", sa.Text()),
        _required_column("cause", sa.Text()),
        _required_column("trace", sa.Text()),
        sa.Column("job", sa.Text()),
        sa.PrimaryKeyConstraint("zone", "seq", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_job_seq"), "events", ["job", "seq"])
    op.create_index(op.f("ix_events_zone_at_seq"), "events", ["zone", "at", "seq"])
    op.create_table(
        "event_channels",
        _required_column("zone", sa.Text()),
        _required_column("channel", sa.Text()),
        _required_column("seq", sa.BigInteger()),
        sa.PrimaryKeyConstraint("zone", "channel", "seq", name=op.f("pk_event_channels")),
        sqlite_with_rowid=False,
    )


def _create_job_tables() -> None:
    op.create_table(
        "jobs",
        _required_column("id", sa.Text()),
        _required_column("zone", sa.Text()),
        _required_column("blueprint", sa.Text()),
        _required_column("status", sa.Text()),
        _required_column("phase", sa.Text()),
        _required_column("version", sa.Integer()),
        _required_column("customer", sa.Text()),
        sa.Column("technician", sa.Text()),
        _required_column("service", sa.Text()),
        sa.Column("reference", sa.Text()),
        _required_column("created_at", sa.BigInteger()),
        _required_column("updated_at", sa.BigInteger()),
        _required_column("hot", sa.Boolean()),
        _required_column("doc", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_created_at_id"), "jobs", ["created_at", "id"])
    op.create_index(op.f("ix_jobs_customer_created_at_id"), "jobs", ["customer", "created_at", "id"])
    op.create_index(op.f("ix_jobs_technician_created_at_id"), "jobs", ["technician", "created_at", "id"])
    op.create_index(op.f("ix_jobs_zone_hot_phase"), "jobs", ["zone", "hot", "phase"])
    op.create_table(
        "job_references",
        _required_column("principal", sa.Text()),
        _required_column("reference", sa.Text()),
        _required_column("job", sa.Text()),
        sa.PrimaryKeyConstraint("principal", "reference", name=op.f("pk_job_references")),
    )
    op.create_table(
        "offers",
        _required_column("job", sa.Text()),
        _required_column("technician", sa.Text()),
        _required_column("zone", sa.Text()),
        _required_column("status", sa.Text()),
        sa.Column("reason", sa.Text()),
        _required_column("wave", sa.Integer()),
        _required_column("offered_at", sa.BigInteger()),
        _required_column("expires_at", sa.BigInteger()),
        sa.Column("answered_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("job", "technician", name=op.f("pk_offers")),
    )
    op.create_index(op.f("ix_offers_technician_offered_at"), "offers", ["technician", "offered_at"])


def _create_notification_and_position_tables() -> None:
    op.create_table(
        "notifications",
        _required_column("id", sa.Text()),
        _required_column("user", sa.Text()),
        _required_column("kind", sa.Text()),
        _required_column("title", sa.Text()),
        _required_column("body", sa.Text()),
        sa.Column("job", sa.Text()),
        _required_column("at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
    )
    op.create_index(op.f("ix_notifications_user_at_id"), "notifications", ["user", "at", "id"])
    op.create_table(
        "notification_reads",
        _required_column("user", sa.Text()),
        _required_column("notification", sa.Text()),
        _required_column("at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("user", "notification", name=op.f("pk_notification_reads")),
    )
    op.create_table(
        "positions",
        _required_column("technician", sa.Text()),
        _required_column("zone", sa.Text()),
        _required_column("lat", sa.Float()),
        _required_column("lon", sa.Float()),
        _required_column("at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("technician", name=op.f("pk_positions")),
    )
    op.create_index(op.f("ix_positions_zone"), "positions", ["zone"])
