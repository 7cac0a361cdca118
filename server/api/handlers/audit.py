"""The audit trail for ops; heads and proofs of the audit trees for anyone, which contain hashes only."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.audit import proofs
from engine.audit.heads import StoredHead
from engine.audit.server_keys import read_all_keys
from engine.domain import audit_trail
from engine.domain.audit_trail import AuditQuery
from engine.errors import NotFound
from engine.events import rfc3339_of
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.audit import AuditTrailQuery, ConsistencyQuery
from server.schemas.decode import Body, NoQuery
from server.schemas.lists import ListQuery


async def find(call: RequestContext[Body, AuditTrailQuery]) -> Response:
    """Return the archived events of a zone, the newest first: who did what, with each event's leaf in the audit tree.

    A page may have fewer entries than `limit` although `next` is not null.
    """
    query = msgspec.convert(call.query, AuditQuery, from_attributes=True)
    page = await audit_trail.list_entries(call.engine, call.caller, query)
    return responses.page_response(call.next_link, page.items, page.next)


async def read_head(call: RequestContext[Body, NoQuery]) -> Response:
    """Return the newest signed head of a zone's audit tree. With a head that is stored elsewhere, each event that is
    later changed or removed in the database can be found.
    """
    head = await proofs.read_newest_head(call.engine.archive, _zone(call))
    if head is None:
        raise NotFound("No head has been signed yet")
    return responses.object_response("head", _head_members(head.stored, head.first_seq))


async def prove(call: RequestContext[Body, NoQuery]) -> Response:
    """Return the proof that an event is a leaf of the audit tree with the newest head of that tree. An event that no
    head covers yet is `not_found`: a head is signed each minute.
    """
    seq = call.params["seq"]
    is_number = seq.isascii() and seq.isdecimal() and len(seq) <= 15
    proof = await proofs.prove_inclusion(call.engine.archive, _zone(call), int(seq)) if is_number else None
    if proof is None:
        raise NotFound("No head covers this entry")
    members = {"seq": proof.seq, "index": proof.position, "leaf": proof.leaf.hex(), "hashes": _hex(proof.hashes)}
    head = _head_members(proof.head, proof.seq - proof.position)
    return responses.json_response({"proof": members, "head": head})


async def prove_consistency(call: RequestContext[Body, ConsistencyQuery]) -> Response:
    """Return the proof that a tree of `to` leaves begins with the tree of `from` leaves."""
    query = call.query
    archive, zone = call.engine.archive, _zone(call)
    proof = await proofs.prove_consistency(archive, zone, query.old_size, query.size, query.tree)
    if proof is None:
        raise NotFound("No tree had these sizes in this order")
    members = {"tree": proof.tree, "from": proof.old_size, "to": proof.size, "hashes": _hex(proof.hashes)}
    return responses.object_response("consistency", members)


async def find_keys(call: RequestContext[Body, ListQuery]) -> Response:
    """Return the public keys with which the server's signatures are verified, former ones too."""
    keys = await read_all_keys(call.engine.archive)
    return responses.list_response(call.next_link, call.query, map(_key_members, keys), lambda key: (key["id"],))


def _zone(call: RequestContext[Any, Any]) -> str:
    zone: str = call.params["zone"]
    if zone not in call.engine.store.zones:
        raise NotFound
    return zone


def _head_members(stored: StoredHead, first_seq: int) -> dict[str, Any]:
    head = stored.head
    place = {"zone": head.zone, "tree": head.tree, "first_seq": first_seq, "size": head.size}
    return {**place, "root": head.root.hex(), "at": rfc3339_of(stored.at), "note": head.note}


def _key_members(key: Any) -> dict[str, Any]:
    times = {"from": key.valid_from, "until": key.valid_until, "revoked": key.revoked_at}
    shown = {name: rfc3339_of(at) for name, at in times.items() if at is not None}
    return {"id": key.id, "use": key.use, "alg": key.alg, "public": key.public, **shown}


def _hex(hashes: list[bytes]) -> list[str]:
    return [value.hex() for value in hashes]
