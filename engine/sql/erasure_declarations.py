"""What becomes of each column with texts or bytes when a person is erased. A test fails for a column that is missing.

- *deleted*: the person's rows are deleted.
- *emptied*: the column of their rows is emptied.
- *redacted*: what is theirs is removed from the text or the JSON (engine/rules/redaction.py); what is others' stays.
- *pseudonym*: a random id. It stays, because rows that other people need refer to it; after the account is emptied, it
  leads to nobody.
- *by_law*: stays although it is the person's, with the reason in ``REASONS``.
- *impersonal*: says nothing about a person.

engine/archive/erase_rows.py and erase_events.py do what is declared here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Fate = Literal["deleted", "emptied", "redacted", "pseudonym", "by_law", "impersonal"]


def _columns(table: str, **names_of_fate: str) -> dict[str, Fate]:
    """Return the declarations of a table: for each fate, the names of the columns, separated by spaces."""
    declared: dict[str, Fate] = {}
    for fate, names in names_of_fate.items():
        declared |= {f"{table}.{name}": fate for name in names.split()}  # type: ignore[misc]
    return declared


DECLARATIONS: Mapping[str, Fate] = {
    **_columns("users", pseudonym="id", emptied="email email_typed name phone reason password_hash", impersonal="role"),
    **_columns("sessions", deleted="id user salt device"),
    **_columns("outbox", pseudonym="user actor", emptied="review", impersonal="key family"),
    **_columns("technicians", pseudonym="id", emptied="reason", impersonal="zone kyc account"),
    **_columns("technician_services", deleted="technician service"),
    **_columns("technician_states", deleted="technician zone works"),
    **_columns("technician_hours", deleted="technician doc"),
    **_columns("ratings", pseudonym="job by of", redacted="comment", impersonal="side"),
    **_columns("blocks", pseudonym="user other"),
    **_columns("devices", deleted="token_hash user id platform token"),
    **_columns("positions", deleted="technician zone"),
    **_columns("job_paths", deleted="job technician points"),
    **_columns("travel_times", impersonal="zone times quality"),
    **_columns("services", impersonal="id name category currency pricing"),
    **_columns("blueprints", impersonal="key doc"),
    **_columns("request_keys", deleted="principal key fingerprint code", redacted="body"),
    **_columns("checkpoints", impersonal="zone epoch"),
    **_columns("deployment", impersonal="id copy"),
    **_columns("epochs", impersonal="zone epoch"),
    **_columns("zone_controls", impersonal="zone holder"),
    **_columns("retirements", impersonal="zone"),
    **_columns("events", pseudonym="to actor job", redacted="data", impersonal="zone type bp cause trace"),
    **_columns("event_channels", pseudonym="channel", impersonal="zone"),
    **_columns("events_refused", redacted="entry", emptied="error", impersonal="zone"),
    **_columns("audit", impersonal="zone leaf", emptied="salt"),
    **_columns("audit_trees", impersonal="zone peaks head"),
    **_columns("audit_nodes", impersonal="zone hash"),
    **_columns("audit_heads", impersonal="zone note"),
    **_columns("audit_holes", impersonal="zone"),
    **_columns("audit_outbox", pseudonym="actor data", impersonal="key action"),
    **_columns("vault_keys", impersonal="id use alg public"),
    **_columns(
        "receipts",
        pseudonym="id job customer technician document",
        emptied="record name salt image",
        impersonal="zone image_kind key signature",
    ),
    **_columns("erasures", pseudonym="id user actor", emptied="reason known", impersonal="state holder"),
    **_columns(
        "jobs",
        pseudonym="id customer technician",
        emptied="reference",
        redacted="doc",
        impersonal="zone blueprint status phase service",
    ),
    **_columns("job_references", deleted="principal reference job"),
    **_columns("job_states", pseudonym="job", redacted="state", impersonal="zone"),
    **_columns("quotes", pseudonym="id customer job", redacted="doc", impersonal="zone"),
    **_columns("files", deleted="id target sha256 kind media by by_role client_id"),
    **_columns("file_releases", impersonal="sha256"),
    **_columns("price_caps", impersonal="zone"),
    **_columns("offers", pseudonym="job technician", emptied="reason", impersonal="zone status"),
    **_columns("bids", pseudonym="id job technician", redacted="doc", impersonal="zone status"),
    **_columns(
        "payments",
        pseudonym="job id",
        by_law="reference",
        redacted="doc",
        impersonal="zone kind status currency",
    ),
    **_columns("payment_cursors", impersonal="zone"),
    **_columns("payment_orders", pseudonym="id job doc", impersonal="zone"),
    **_columns("early_refunds", pseudonym="job", by_law="reference charge", impersonal="zone currency"),
    **_columns("ledger_entries", pseudonym="cause job payout", impersonal="zone kind"),
    **_columns("ledger_lines", pseudonym="account", impersonal="zone kind currency"),
    **_columns("ledger_progress", impersonal="zone"),
    **_columns("payouts", pseudonym="id technician", by_law="reference", impersonal="currency status"),
    **_columns("payout_events", pseudonym="payout actor", impersonal="key status"),
    **_columns("notifications", pseudonym="id user job room", redacted="title body", impersonal="kind"),
    **_columns("notification_reads", deleted="user notification"),
    **_columns("rooms", pseudonym="id job mediator", redacted="doc", impersonal="zone state"),
    **_columns("room_members", pseudonym="room user", emptied="name", impersonal="role"),
    **_columns("room_reads", pseudonym="room user"),
    **_columns("room_progress", impersonal="zone"),
    **_columns("demand_hours", impersonal="zone kind area"),
    **_columns("demand_progress", impersonal="zone"),
    **_columns("demand_models", impersonal="zone kind area state"),
    **_columns("messages", pseudonym="room id sender", redacted="doc", impersonal="client_id"),
}

REASONS: Mapping[str, str] = {
    "payments.reference": "books of account must name each payment as the payment service does, for the time that the"
    " law prescribes; the reference leads to a person there alone",
    "payouts.reference": "the same, of payouts to technicians",
    "early_refunds.reference": "the same, of refunds whose charge is not captured yet; they wait 30 days at most",
    "early_refunds.charge": "the same",
}
"""Why a column is kept by law."""
