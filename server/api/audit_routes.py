"""The routes of the audit trail, the audit trees and their proofs. They are a part of the table in
server/api/routes.py.
"""

from __future__ import annotations

from engine.roles import OPS
from server.api.handlers import audit
from server.api.route import Route, list_route
from server.http import policy
from server.schemas.audit import (
    AuditEntry,
    AuditHeadReply,
    AuditProofReply,
    AuditTrailQuery,
    ConsistencyQuery,
    ConsistencyReply,
    VaultKey,
)
from server.schemas.lists import Items, ListQuery

_TREE, _ENTRY = policy.ANY_AUDIT_TREE, policy.ANY_AUDIT_ENTRY

AUDIT_ROUTES: tuple[Route, ...] = (
    list_route("/v1/audit", audit.find, OPS, policy.OWN_DATA, AuditEntry, query=AuditTrailQuery, needs_only_sql=True),
    Route("GET", "/v1/audit/{zone}/head", audit.read_head, None, _TREE, reply=AuditHeadReply, needs_only_sql=True),
    Route(
        "GET",
        "/v1/audit/{zone}/consistency",
        audit.prove_consistency,
        None,
        _TREE,
        query=ConsistencyQuery,
        reply=ConsistencyReply,
        needs_only_sql=True,
    ),
    Route("GET", "/v1/audit/{zone}/{seq}/proof", audit.prove, None, _ENTRY, reply=AuditProofReply, needs_only_sql=True),
    Route(
        "GET",
        "/v1/vault/keys",
        audit.find_keys,
        None,
        policy.OWN_DATA,
        query=ListQuery,
        reply=Items[VaultKey],
        needs_only_sql=True,
    ),
)
