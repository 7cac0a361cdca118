"""The first tables: accounts, profiles and catalogue; the projections of the logs; the idempotency records."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _accounts()
    _catalogue()
    _log()
    _jobs()
    _people()


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")


def _given(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    """Return a column that is never NULL. The database does not number rows itself."""
    return sa.Column(name, kind, nullable=False, autoincrement=False)


def _accounts() -> None:
    op.create_table(
        "users",
        _given("id", sa.Text()),
        _given("email", sa.Text()),
        _given("name", sa.Text()),
        _given("role", sa.Text()),
        sa.Column("phone", sa.Text()),
        _given("active", sa.Boolean()),
        sa.Column("reason", sa.Text()),
        _given("password_hash", sa.Text()),
        _given("version", sa.Integer()),
        _given("hot", sa.Boolean()),
        _given("created_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )
    op.create_index(op.f("ix_users_created_at_id"), "users", ["created_at", "id"])
    op.create_index(op.f("ix_users_hot"), "users", ["hot"])
    op.create_table(
        "sessions",
        _given("id", sa.Text()),
        _given("user", sa.Text()),
        _given("salt", sa.LargeBinary()),
        _given("generation", sa.Integer()),
        _given("rotated_at", sa.BigInteger()),
        _given("expires_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_sessions_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"])
    op.create_index(op.f("ix_sessions_user"), "sessions", ["user"])
    op.create_table(
        "technicians",
        _given("id", sa.Text()),
        _given("zone", sa.Text()),
        _given("capacity", sa.Integer()),
        _given("kyc", sa.Text()),
        _given("account", sa.Text()),
        sa.Column("reason", sa.Text()),
        _given("version", sa.Integer()),
        sa.ForeignKeyConstraint(["id"], ["users.id"], name=op.f("fk_technicians_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_technicians")),
    )
    op.create_index(op.f("ix_technicians_zone_id"), "technicians", ["zone", "id"])


def _catalogue() -> None:
    op.create_table(
        "services",
        _given("id", sa.Text()),
        _given("name", sa.Text()),
        _given("category", sa.Text()),
        _given("base_amount", sa.BigInteger()),
        _given("currency", sa.Text()),
        _given("pricing", sa.Text()),
        _given("duration_min", sa.Integer()),
        _given("active", sa.Boolean()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_services")),
    )
    op.create_table(
        "technician_services",
        _given("service", sa.Text()),
        _given("technician", sa.Text()),
        sa.ForeignKeyConstraint(["service"], ["services.id"], name=op.f("fk_technician_services_service")),
        sa.ForeignKeyConstraint(["technician"], ["technicians.id"], name=op.f("fk_technician_services_technician")),
        sa.PrimaryKeyConstraint("service", "technician", name=op.f("pk_technician_services")),
    )
    op.create_index(op.f("ix_technician_services_technician"), "technician_services", ["technician"])
    op.create_table(
        "request_keys",
        _given("principal", sa.Text()),
        _given("key", sa.Text()),
        _given("fingerprint", sa.Text()),
        sa.Column("code", sa.Text()),
        sa.Column("body", sa.Text()),
        _given("expires_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("principal", "key", name=op.f("pk_request_keys")),
    )
    op.create_index(op.f("ix_request_keys_expires_at"), "request_keys", ["expires_at"])


def _log() -> None:
    op.create_table(
        "checkpoints",
        _given("zone", sa.Text()),
        _given("epoch", sa.Text()),
        _given("seq", sa.BigInteger()),
        sa.PrimaryKeyConstraint("zone", name=op.f("pk_checkpoints")),
    )
    op.create_table(
        "epochs",
        _given("zone", sa.Text()),
        _given("epoch", sa.Text()),
        _given("first_seq", sa.BigInteger()),
        sa.PrimaryKeyConstraint("zone", "epoch", name=op.f("pk_epochs")),
    )
    op.create_table(
        "events",
        _given("zone", sa.Text()),
        _given("seq", sa.BigInteger()),
        _given("type", sa.Text()),
        _given("to", sa.Text()),
        _given("at", sa.BigInteger()),
        _given("actor", sa.Text()),
        _given("bp", sa.Text()),
        _given("data", sa.Text()),
        _given("cause", sa.Text()),
        _given("trace", sa.Text()),
        sa.Column("job", sa.Text()),
        sa.PrimaryKeyConstraint("zone", "seq", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_job_seq"), "events", ["job", "seq"])
    op.create_index(op.f("ix_events_zone_at_seq"), "events", ["zone", "at", "seq"])
    op.create_table(
        "event_channels",
        _given("zone", sa.Text()),
        _given("channel", sa.Text()),
        _given("seq", sa.BigInteger()),
        sa.PrimaryKeyConstraint("zone", "channel", "seq", name=op.f("pk_event_channels")),
        sqlite_with_rowid=False,
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        _given("id", sa.Text()),
        _given("zone", sa.Text()),
        _given("blueprint", sa.Text()),
        _given("status", sa.Text()),
        _given("phase", sa.Text()),
        _given("version", sa.Integer()),
        _given("customer", sa.Text()),
        sa.Column("technician", sa.Text()),
        _given("service", sa.Text()),
        sa.Column("reference", sa.Text()),
        _given("created_at", sa.BigInteger()),
        _given("updated_at", sa.BigInteger()),
        _given("hot", sa.Boolean()),
        _given("doc", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_created_at_id"), "jobs", ["created_at", "id"])
    op.create_index(op.f("ix_jobs_customer_created_at_id"), "jobs", ["customer", "created_at", "id"])
    op.create_index(op.f("ix_jobs_technician_created_at_id"), "jobs", ["technician", "created_at", "id"])
    op.create_index(op.f("ix_jobs_zone_hot_phase"), "jobs", ["zone", "hot", "phase"])
    op.create_table(
        "job_references",
        _given("principal", sa.Text()),
        _given("reference", sa.Text()),
        _given("job", sa.Text()),
        sa.PrimaryKeyConstraint("principal", "reference", name=op.f("pk_job_references")),
    )
    op.create_table(
        "offers",
        _given("job", sa.Text()),
        _given("technician", sa.Text()),
        _given("zone", sa.Text()),
        _given("status", sa.Text()),
        sa.Column("reason", sa.Text()),
        _given("wave", sa.Integer()),
        _given("offered_at", sa.BigInteger()),
        _given("expires_at", sa.BigInteger()),
        sa.Column("answered_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("job", "technician", name=op.f("pk_offers")),
    )
    op.create_index(op.f("ix_offers_technician_offered_at"), "offers", ["technician", "offered_at"])


def _people() -> None:
    op.create_table(
        "notifications",
        _given("id", sa.Text()),
        _given("user", sa.Text()),
        _given("kind", sa.Text()),
        _given("title", sa.Text()),
        _given("body", sa.Text()),
        sa.Column("job", sa.Text()),
        _given("at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
    )
    op.create_index(op.f("ix_notifications_user_at_id"), "notifications", ["user", "at", "id"])
    op.create_table(
        "notification_reads",
        _given("user", sa.Text()),
        _given("notification", sa.Text()),
        _given("at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("user", "notification", name=op.f("pk_notification_reads")),
    )
    op.create_table(
        "positions",
        _given("technician", sa.Text()),
        _given("zone", sa.Text()),
        _given("lat", sa.Float()),
        _given("lon", sa.Float()),
        _given("at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("technician", name=op.f("pk_positions")),
    )
    op.create_index(op.f("ix_positions_zone"), "positions", ["zone"])
