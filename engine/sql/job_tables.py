"""The table of what the log's field ``state`` says of jobs. Only the archiver writes it."""

from __future__ import annotations

from sqlalchemy import Table

from engine.sql.columns import id_column, metadata, seq_column, text_column

job_states = Table(
    "job_states",
    metadata,
    id_column("job"),
    seq_column(),
    text_column("zone"),
    text_column("state"),
    sqlite_with_rowid=False,
)
"""What each event of a job changed in the job's keys in Redis, as JSON (lua/lib/job_state.lua). A rebuild writes the
keys from these rows. The rows of a finished job are deleted when Redis has been notified that the job is archived. The
rows that record waves stay, because Redis no longer has the waves then.
"""
