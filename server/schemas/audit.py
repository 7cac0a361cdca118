"""The audit trail, the audit trees and the public keys of the server's signatures."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, field

from engine.errors import FieldError
from engine.types import DEFAULT_ZONE
from server.schemas.decode import MAX_EXACT_INTEGER, Body
from server.schemas.fields import Id, Moment, ZoneName
from server.schemas.lists import ListQuery
from server.schemas.objects import Shape

TreeSize = Annotated[int, Meta(ge=1, le=MAX_EXACT_INTEGER, description="a number of leaves")]


def _order_errors(first: float | None, last: float | None) -> list[FieldError]:
    """Return an error if the parameter ``from`` is above ``to``."""
    wrong = first is not None and last is not None and first > last
    return [FieldError("/to", "Not below `from`")] if wrong else []


class AuditTrailQuery(ListQuery):
    """Which entries are listed. ``action`` is the type of an event, or a group of types such as ``job.*``."""

    zone: ZoneName = str(DEFAULT_ZONE)
    action: Annotated[str, Meta(max_length=64, pattern=r"^[a-z_]+(\.[a-z_]+)*(\.\*)?$(?!\n)")] | None = None
    entity: Annotated[str, Meta(max_length=32, pattern=r"^[a-z_]+$(?!\n)")] | None = None
    id: Id | None = None
    actor: Annotated[str, Meta(max_length=128, pattern=r"^[A-Za-z0-9_:-]+$(?!\n)", description="`role:id`")] | None = (
        None
    )
    since: Moment | None = field(name="from", default=None)
    until: Moment | None = field(name="to", default=None)

    def find_errors(self) -> list[FieldError]:
        times = {name: at.timestamp() for name, at in (("from", self.since), ("to", self.until)) if at is not None}
        early = [FieldError(f"/{name}", "Not before 1970") for name, at in times.items() if at < 0]
        return early or _order_errors(times.get("from"), times.get("to"))


class AuditEntry(Shape):
    seq: int
    at: datetime
    action: str
    entity: str
    id: str | None
    actor: str
    leaf: str | None


class AuditHead(Shape):
    """A signed head. ``note`` is the C2SP checkpoint that is signed; the other members are read from it."""

    zone: str
    tree: int
    first_seq: int
    size: int
    root: str
    at: datetime
    note: str


class AuditHeadReply(Shape):
    head: AuditHead


class AuditProof(Shape):
    """The proof that an event is a leaf of the audit tree with this head. ``hashes`` go from the leaf to the root, in
    hexadecimal.
    """

    seq: int
    index: int
    leaf: str
    hashes: list[str]


class AuditProofReply(Shape):
    proof: AuditProof
    head: AuditHead


class ConsistencyQuery(Body):
    """Two sizes of a tree. ``tree`` is the number of the tree; the default is the zone's last tree."""

    old_size: TreeSize = field(name="from")
    size: TreeSize = field(name="to")
    tree: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None

    def find_errors(self) -> list[FieldError]:
        return _order_errors(self.old_size, self.size)


class Consistency(Shape, rename={"old_size": "from", "size": "to"}):
    tree: int
    old_size: int
    size: int
    hashes: list[str]


class ConsistencyReply(Shape):
    consistency: Consistency


class VaultKey(Shape, rename={"valid_from": "from", "valid_until": "until", "revoked_at": "revoked"}):
    """A public key of the server's signatures, in base64. A signature made after ``until`` is not the server's, and no
    signature of a ``revoked`` key is valid.
    """

    id: str
    use: str
    alg: str
    public: str
    valid_from: datetime
    valid_until: datetime | None = None
    revoked_at: datetime | None = None
