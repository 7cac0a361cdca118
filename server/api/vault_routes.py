"""The routes of records, signatures and receipts. They are a part of the table in server/api/routes.py."""

from __future__ import annotations

from engine.roles import CUSTOMER_ROLE, OPS, PARTY_ROLES
from server.api.handlers import vault
from server.api.route import Route
from server.http import policy
from server.schemas.vault import (
    SIGN_BODY_BYTES,
    ReceiptReply,
    RecordReply,
    Sign,
    SignReply,
    VaultQuery,
    VerifyQuery,
    VerifyReply,
)

SIGNING_ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/jobs/{id}/record", vault.read_record, PARTY_ROLES | OPS, policy.READ_RECORD, reply=RecordReply),
    Route(
        "POST",
        "/v1/jobs/{id}/sign",
        vault.sign,
        CUSTOMER_ROLE,
        policy.STEP_OF_JOB,
        Sign,
        reply=SignReply,
        has_key=True,
        max_body_bytes=SIGN_BODY_BYTES,
    ),
)
"""These come before the route of all other commands."""

VAULT_ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/vault/{id}",
        vault.read,
        PARTY_ROLES | OPS,
        policy.READ_RECEIPT,
        query=VaultQuery,
        reply=ReceiptReply,
        needs_only_sql=True,
    ),
    Route(
        "GET",
        "/v1/vault/{id}/verify",
        vault.verify,
        None,
        policy.ANY_RECEIPT,
        query=VerifyQuery,
        reply=VerifyReply,
        needs_only_sql=True,
        limit_name="verify",
    ),
)
"""These come after ``GET /v1/vault/keys``, because their path pattern matches that path too."""
