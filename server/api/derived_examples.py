"""Examples of requests and replies for the OpenAPI document: one of each body and each reply of a route.

An example in server/api/examples.py was written for its route. All other examples are derived from the types: a struct
that a written example contains is taken from there, so a job is the same job on every page, and each other field gets
the value of its name in ``VALUES``. Therefore a new route has examples immediately, and a new field is in all of them.
A test checks each example against its schema. (Rejected: to write all examples by hand. Half of the routes had none.)
"""

from __future__ import annotations

from datetime import datetime
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta, UnsetType

from server.api import examples
from server.api.examples import AT_NOON, CUSTOMER, JOB_ID, LATER, SERVICE, TECHNICIAN
from server.api.route import Route

_REPLIES = examples.REPLIES
PARTS: dict[str, Any] = {
    "Job": _REPLIES["jobs_read"]["job"],
    "User": _REPLIES["users_me"]["user"],
    "Account": _REPLIES["users_me"]["user"],
    "Service": _REPLIES["services_create"]["service"],
    "Technician": _REPLIES["technicians_patch"]["technician"],
    "Offer": _REPLIES["offers_find"]["items"][0],
    "Quote": _REPLIES["quotes_create"]["quote"],
    "Push": _REPLIES["events_read_or_stream"]["events"][0],
    "Actor": {"id": TECHNICIAN, "role": "technician"},
    "Person": {"id": TECHNICIAN, "name": "Ada"},
    "Area": {"type": "Polygon", "coordinates": [[[13.4, 52.5], [13.5, 52.5], [13.5, 52.6], [13.4, 52.5]]]},
}
"""Example objects, by the name of their type."""
IDS = {
    "Dispute": "dis_main_01jb4zqk3m8r5t7v9x2c6d8f0m",
    "File": "fil_01jb4zqk3m8r5t7v9x2c6d8f0n",
    "ActiveLogin": "ses_01jb4zqk3m8r5t7v9x2c6d8f0p",
    "Message": "msg_main_01jb4zqk3m8r5t7v9x2c6d8f0q",
    "Notification": "ntf_01jb4zqk3m8r5t7v9x2c6d8f0r",
    "Payment": "pay_main_01jb4zqk3m8r5t7v9x2c6d8f0s",
    "Proposal": "pro_main_01jb4zqk3m8r5t7v9x2c6d8f0t",
    "Bid": "bid_main_01jb4zqk3m8r5t7v9x2c6d8f0v",
    "Room": "rom_main_01jb4zqk3m8r5t7v9x2c6d8f0g",
    "Sender": TECHNICIAN,
    "RoomMember": TECHNICIAN,
    "MapPerson": TECHNICIAN,
}
"""The ids of objects, by the name of their type; other objects have the id of a job."""
VALUES: dict[str, Any] = {
    "accuracy": 12.0,
    "action": "job.accepted",
    "actor": f"technician:{TECHNICIAN}",
    "address": "Torstrasse 1",
    "alg": "ed25519",
    "amount": 9000,
    "area": "881f1d4897fffff",
    "at": AT_NOON,
    "bbox": "13.3,52.45,13.5,52.6",
    "body": "Your technician is on the way",
    "blueprint": "home_service",
    "bytes": 184_320,
    "card": "usr_01jb4zp7k8m9n0p1q2r3s4t5v6",
    "category": "heating",
    "cell": "881f1d4897fffff",
    "channel": f"job:{JOB_ID}",
    "client_id": "01JB4ZR1",
    "code": "taken",
    "command": "depart",
    "comment": "On time",
    "currency": "EUR",
    "cursor": "main:e1-9f2c41ab:131",
    "customer": CUSTOMER,
    "detail": "Another technician has the job.",
    "device": "Mozilla/5.0",
    "distance_m": 830.0,
    "email": "ada@example.org",
    "entity": "job",
    "epoch": "e1-9f2c41ab",
    "eta_s": 240,
    "event": "job_accepted",
    "expires_at": LATER,
    "from_n": 0,
    "hashes": ["0c7d" * 16],
    "height": 1200,
    "host": "callout-a",
    "id": JOB_ID,
    "job": JOB_ID,
    "key": "52ec0fdb-f05b-4171-ae5f-d5c4d21e13e5",
    "kind": "photo",
    "lat": 52.52,
    "leaf": "9c1f" * 16,
    "lon": 13.405,
    "media": "image/jpeg",
    "members": [],
    "message": "Done",
    "method": "haversine",
    "n": 12,
    "name": "Ada",
    "next": None,
    "note": "Tomorrow at nine",
    "password": "correct horse battery",
    "phone": "+49 30 1234567",
    "postal_code": "10119",
    "public": "MCowBQYDK2VwAyEA",
    "radius_m": 2500,
    "rating": 4.5,
    "reason": "The van broke down",
    "reference": "order-4711",
    "retry_after": None,
    "role": "technician",
    "room": "rom_main_01jb4zqk3m8r5t7v9x2c6d8f0g",
    "root": "5e8a" * 16,
    "seq": 131,
    "service": SERVICE,
    "services": [SERVICE],
    "sha256": "5f" * 32,
    "source": "learnt",
    "stars": 5,
    "status": "accepted",
    "technician": TECHNICIAN,
    "text": "I am at the door",
    "timezone": "Europe/Berlin",
    "title": "Booking already taken",
    "type": "job.accepted",
    "tz": "Europe/Berlin",
    "url": "/track/9Jq3vXoT4bNw2mZkYcR8sLf1HdGuP0eA",
    "user": TECHNICIAN,
    "version": 2,
    "wave": 1,
    "width": 1600,
    "zone": "main",
}
"""Values of fields by their name. A value that is not of the field's type is not used."""
OMITTED = {"code", "cookie", "error", "erased", "closed_at", "revoked", "replaces", "reads", "last"}
"""Optional fields that no derived example contains."""


def request_example(route: Route) -> Any:
    """Return an example of the body of ``route``."""
    if route.name in examples.REQUESTS:
        return examples.REQUESTS[route.name]
    return _without_nulls(derive(route.body))


def reply_example(route: Route) -> Any:
    """Return an example of the reply of ``route``."""
    return _REPLIES[route.name] if route.name in _REPLIES else derive(route.reply)


def _without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in value.items() if each is not None}


def derive(kind: Any, name: str = "") -> Any:
    """Return an example of the type ``kind``, for a field ``name``."""
    kind, metas = _bare(kind)
    origin, parts = get_origin(kind), get_args(kind)
    if name in VALUES and _fits(VALUES[name], kind, metas):
        return VALUES[name]
    if origin in (Union, UnionType):
        options = [part for part in parts if part not in (type(None), UnsetType)]
        return derive(Annotated[(options[0], *metas)] if metas else options[0], name)
    if origin is Literal:
        return parts[0]
    if origin in (list, tuple):
        return _derive_list(origin, parts, metas, name)
    if origin is dict:
        return {"main": derive(parts[1], name)} if parts[1] is not Any else {}
    struct = origin if origin is not None else kind
    if isinstance(struct, type) and issubclass(struct, msgspec.Struct):
        return PARTS[struct.__name__] if struct.__name__ in PARTS else _derive_struct(kind)
    return _derive_simple(kind, metas)


def _derive_struct(kind: Any) -> dict[str, Any]:
    origin = get_origin(kind) or kind
    filled = dict(zip(getattr(origin, "__parameters__", ()), get_args(kind), strict=False))
    found: dict[str, Any] = {}
    if (tag := origin.__struct_config__.tag) is not None:
        found[origin.__struct_config__.tag_field] = tag
    for field in msgspec.structs.fields(origin):
        if field.required or field.encode_name not in OMITTED:
            found[field.encode_name] = derive(_fill(field.type, filled), field.encode_name)
    if "id" in found and origin.__name__ in IDS:
        found["id"] = IDS[origin.__name__]
    return found


def _derive_list(origin: Any, parts: tuple[Any, ...], metas: tuple[Meta, ...], name: str) -> list[Any]:
    items = [derive(part, name.removesuffix("s")) for part in parts if part is not Ellipsis]
    least = max((meta.min_length or 0 for meta in metas), default=0)
    return items if origin is tuple else items * max(1, least)


def _fill(kind: Any, filled: dict[TypeVar, Any]) -> Any:
    """Return a type with its type variables replaced."""
    if isinstance(kind, TypeVar):
        return filled[kind]
    parameters = getattr(kind, "__parameters__", ())
    return kind[tuple(filled[each] for each in parameters)] if parameters and filled else kind


def _derive_simple(kind: Any, metas: tuple[Meta, ...]) -> Any:
    if kind is datetime:
        return AT_NOON
    if kind is bool:
        return True
    if kind in (int, float):
        least = max((meta.ge for meta in metas if meta.ge is not None), default=1)
        return kind(max(least, 1))
    if kind is str:
        return "text"
    return None if kind is type(None) else {}


def _bare(kind: Any) -> tuple[Any, tuple[Meta, ...]]:
    """Return a type without its annotations, and the annotations."""
    metas: tuple[Meta, ...] = ()
    while get_origin(kind) is Annotated or hasattr(kind, "__value__"):
        if hasattr(kind, "__value__"):
            kind = kind.__value__
            continue
        kind, *more = get_args(kind)
        metas += tuple(each for each in more if isinstance(each, Meta))
    return kind, metas


def _fits(value: Any, kind: Any, metas: tuple[Meta, ...]) -> bool:
    try:
        msgspec.convert(value, Annotated[(kind, *metas)] if metas else kind)
    except (msgspec.ValidationError, TypeError):
        return False
    return True
