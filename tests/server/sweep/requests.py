"""The requests of the sweep, a test in which every user sends every request: for each route or socket op, each user and
each object a request that changes nothing, and whether the policy allows it.

Commands of jobs contain a version that no job ever has. Requests without a version are sent for objects on which
nothing else in the sweep depends.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from engine.blueprint.schema import Blueprint
from engine.types import OPS as OPS_ROLES
from server.api import examples
from server.api.route import Route
from server.gateway.ops import OPS
from server.http.policy import Policy
from server.schemas import ops
from tests.server.http.client import Client
from tests.server.sweep.chat import ROOM_RELATIONS
from tests.server.sweep.shares import share_targets
from tests.server.sweep.world import MANAGERS, POSITION, Relations, World

ELSEWHERE = {"lat": 52.5, "lon": 13.4}
UNUSED_VERSION = 999_999_999
REFUSAL_CODES = frozenset(
    {"unauthenticated", "forbidden", "not_found", "not_offered", "taken", "kyc_not_approved", "not_member"}
)
"""The codes that callers without permission get. Every other answer shows something about the object."""

ALLOWED_CODES = frozenset({"", "version_conflict", "too_early", "duplicate"})
"""The codes ("" = success) of an answer to an offer, or of a bid, if the policy allows it to the technician. Other
callers get the code of the job's state, which is checked before their relation to the job.
"""


class Target(NamedTuple):
    """An object that a path can name. ``allowed`` are the names of the users whom the policy allows (None: all).
    ``means_allowed`` returns whether the code of a reply means that the caller was allowed. For users in
    ``unchecked_users`` both results are accepted, because a repeat returns their first reply. With ``relations``, only
    one of the users with the same role and relations sends the request."""

    params: dict[str, str]
    allowed: frozenset[str] | None
    means_allowed: Callable[[str], bool] = lambda code: code not in REFUSAL_CODES
    unchecked_users: frozenset[str] = frozenset()
    relations: Relations | None = None


class SweepRequest(NamedTuple):
    """One HTTP request of the sweep, and whether the policy allows it."""

    caller: str
    method: str
    path: str
    body: Any
    headers: dict[str, str]
    allowed: bool | None
    """None: both results are accepted."""
    means_allowed: Callable[[str], bool]

    def __str__(self) -> str:
        return f"{self.caller}: {self.method} {self.path}"


def targets(world: World, policy: Policy, path: str) -> list[Target]:
    """Return all objects of the kind that the policy names, each with the users whom the policy allows."""
    if policy.object_kind == "job":
        return [target for job in world.jobs for target in _job_targets(world, policy, path, job)]
    params, relations = _targets_by_kind(world)[policy.object_kind]
    if policy.object_kind == "user" and policy.relations is not None:
        return _other_side_targets(world)
    may = None if policy.relations is None else frozenset(n for n, has in relations.items() if has & policy.relations)
    return (
        [Target(one, may) for one in params]
        if policy.object_kind != "technician"
        else _technician_targets(world, policy)
    )


def _job_targets(world: World, policy: Policy, path: str, job: str) -> Iterator[Target]:
    params, relations = {"id": world.jobs[job]}, world.relations[job]
    if not policy.by_blueprint:
        assert policy.relations is not None
        may, bids = (
            frozenset(n for n, has in relations.items() if has & policy.relations),
            policy.relations == {"technician"},
        )
        yield Target(
            params,
            may,
            ALLOWED_CODES.__contains__ if bids else Target._field_defaults["means_allowed"],
            relations=relations,
        )
        return
    blueprint = world.server.engine.blueprints.by_name[world.blueprints[job]]
    for name in distinct_commands(blueprint) if "{command}" in path else [path.rpartition("/")[2]]:
        yield _command_target({**params, "command": name}, world, blueprint, job, COMMAND_OF_ROUTE.get(name, name))


def distinct_commands(blueprint: Blueprint) -> list[str]:
    """Return one command for each group with the same callers and effect. Commands that sign are left out."""
    alike = {(spec.by, spec.effect): name for name, spec in blueprint.commands.items() if not spec.signs}
    return list(alike.values())


COMMAND_OF_ROUTE = {"respond": "claim", "commands": "cancel", "command": "cancel", "disputes": "dispute"}
"""Routes that send a command under another name, and the command that the sweep sends to each."""


EFFECTS_WITH_ROUTES = frozenset({"bid", "withdraw", "award", "capture"})


def _command_target(params: dict[str, str], world: World, blueprint: Blueprint, job: str, command: str) -> Target:
    """Return a command of a job, with the users whom the blueprint allows to send the command, by their relation to the
    job. An offer may be answered only by technicians whose offer is open, not by all who were ever offered the job.
    """
    relations = world.relations[job]
    spec = blueprint.commands.get("accept" if command == "claim" and command not in blueprint.commands else command)
    by = set(spec.by) if spec else {"customer", "holder"} if command == "dispute" else set()
    by |= {"asked"} if "holder" in by else set()
    if spec and spec.effect in EFFECTS_WITH_ROUTES:  # all who may read the job get a refusal that names the right route
        by |= {"offered", "holder"} if "technician" in by else set()
    if "offered" in by and not (spec and spec.effect in EFFECTS_WITH_ROUTES):
        unchecked_users = frozenset(n for n, has in relations.items() if has & {"took", "declined"})
        return Target(params, frozenset(world.open_offers[job]), ALLOWED_CODES.__contains__, unchecked_users, relations)
    return Target(params, frozenset(n for n, has in relations.items() if has & by), relations=relations)


def _technician_targets(world: World, policy: Policy) -> list[Target]:
    technician_targets = []
    for name in ("holder", "never", "spare_technician"):
        relations: Relations = {name: {"self"}} | {
            manager: {"managers", "ops"} if world.roles[manager] in OPS_ROLES else {"managers"} for manager in MANAGERS
        }
        may = (
            None if policy.relations is None else frozenset(n for n, has in relations.items() if has & policy.relations)
        )
        technician_targets.append(Target({"id": world.people[name].user}, may))
    return technician_targets


def _other_side_targets(world: World) -> list[Target]:
    """Return the targets of routes about another user: a customer, about whom only technicians may send the request,
    and a technician, about whom only customers may.
    """
    sides = {"spare_customer": "technician", "spare_technician": "customer"}
    return [
        Target({"id": world.people[name].user}, frozenset(n for n, role in world.roles.items() if role == other))
        for name, other in sides.items()
    ]


def _targets_by_kind(world: World) -> dict[str, tuple[list[dict[str, str]], Relations]]:
    ids, jobs, people = world.ids, world.jobs, world.people
    spare = [{"id": people[name].user} for name in ("spare_customer", "spare_technician")]
    return {
        "nothing": ([{"id": "chosen-by-the-caller"}], {}),
        "technician": ([], {}),
        "bid": ([{"id": jobs["bidding"], "bid": ids["bid"]}], world.relations["bidding"]),
        "proposal": ([{"id": jobs["awarded"], "proposal": ids["proposal"]}], {"customer": {"other_side"}}),
        "quote": ([{"id": ids["quote"]}], world.relations["asked"]),
        "dispute": ([{"id": ids["dispute"]}], world.relations["disputed"]),
        "room": ([{"id": ids["room"], "user": people["customer"].user}], ROOM_RELATIONS),
        "file": ([{"id": ids["photo"]}], world.relations["held"]),
        "file_target": ([{}], world.relations["held"]),
        **share_targets(world),
        "user": (spare, {}),
        "account": ([{"id": ids["leaver"]}], {"admin": {"admin"}}),
        "notification": ([{"id": ids["notification"]}], {"customer": {"self"}}),
        "login": ([{"id": ids["login"]}], {"customer": {"self"}}),
        "device": ([{"id": "phone-of-customer"}], {"customer": {"self"}}),
        "request": ([{"key": ids["key"]}], {"customer": {"self"}}),
        "service": ([{"id": ids["spare"]}], {}),
        "blueprint": ([{"name": "delivery"}], {}),
        "code": ([{"code": "taken"}], {}),
        "zone": ([{"zone": "main"}], {}),
        "town": ([{}], {}),
        "payment_adapter": ([{"adapter": "stripe"}, {"adapter": "outside"}], {}),
        "audit_tree": ([{"zone": "main"}], {}),
        "plan": ([{"id": ids["plan"]}], {}),
        "receipt": ([{"id": ids["receipt"]}], world.relations["done"]),
        "payout": ([{"id": ids["payout"]}], {}),
        "audit_entry": ([{"zone": "main", "seq": "1"}], {}),
    }


def route_requests(world: World, route: Route) -> Iterator[SweepRequest]:
    """Yield the requests to a route: by every user and without a token, for every object."""
    for target in targets(world, route.policy, route.path):
        for caller in callers(world, target, public=route.roles is None):
            passes = route.roles is None or world.roles.get(caller) in route.roles
            may = passes and (target.allowed is None or caller in target.allowed)
            body = _request_body(world, route, caller, target) if route.body is not None else None
            path = route.path.format_map(target.params) + QUERY_OF_ROUTE.get(route.name, "").format(
                start=world.start, held=world.jobs["held"], **world.ids
            )
            headers = {"Idempotency_Key": str(uuid.uuid4())} if route.has_key else {}
            if route.is_conditional:
                headers["If_Match"] = str(UNUSED_VERSION)
            unchecked_users = caller in target.unchecked_users or (route.roles is None and "auth" in path)
            yield SweepRequest(
                caller, route.method, path, body, headers, None if unchecked_users else may, target.means_allowed
            )


def callers(world: World, target: Target, *, public: bool = False) -> Iterator[str]:
    """Yield the names of the users who send a request for the target: one for each role and set of relations, and none
    of the users named ``spare…``. Then yield ``nobody``, for a request without a token.
    """
    seen = set()
    for caller in () if public else world.people:
        alike = (
            caller if target.relations is None else (world.roles[caller], frozenset(target.relations.get(caller, ())))
        )
        if alike not in seen and not caller.startswith("spare"):
            seen.add(alike)
            yield caller
    yield "nobody"


QUERY_OF_ROUTE = {
    "events_read_or_stream": "?after={start}&wait=0",
    **dict.fromkeys(("jobs_find", "jobs_history"), "?limit=200"),
    "positions_track": "?path=true",
    "disputes_find": "?limit=200",
    "bids_find": "?limit=200",
    "offers_find": "?limit=200",
    "users_find": "?limit=200",
    "technicians_find": "?limit=200",
    "notifications_find": "?limit=200",
    "zones_read_map": "?bbox=-180,-85,180,85",
    "presence_find": "?users=usr_none",
    "audit_find": "?limit=200",
    "vault_verify": "?sha256={record_digest}",
    "slots_find": "?service={service}&lat=52.52&lon=13.40&from=2099-01-01T00:00:00Z&to=2099-01-03T00:00:00Z",
    "earnings_statement": "?month=2026-01",
    "files_upload": "?for=job:{held}",
    "audit_prove_consistency": "?from=1&to=1",
}


def op_name(op_type: type[ops.Op]) -> str:
    """Return the name of an op."""
    return str(op_type.__struct_config__.tag)


def op_messages(world: World, op_type: type[ops.Op]) -> Iterator[SweepMessage]:
    """Yield the messages of a socket op: by every user, for every object."""
    spec, name = OPS[op_type], op_name(op_type)
    policy = spec.policy
    for target in targets(world, policy, f"/{name if policy.by_blueprint else ''}"):
        for caller in callers(world, target):
            if caller == "nobody":
                continue
            may = world.roles[caller] in spec.roles and (target.allowed is None or caller in target.allowed)
            yield SweepMessage(
                caller,
                name,
                _op_arguments(world, name, caller, target),
                None if caller in target.unchecked_users else may,
                target.means_allowed,
            )
    if name == "subscribe":
        everywhere = {"channel": "map:main", "bbox": [-180, -85, 180, 85]}
        for caller, role in world.roles.items():
            yield SweepMessage(caller, name, everywhere, role in OPS_ROLES, Target._field_defaults["means_allowed"])


class SweepMessage(NamedTuple):
    """One message of a socket op, and whether the policy allows it (``allowed`` None: both results are accepted)."""

    caller: str
    op: str
    arguments: dict[str, Any]
    allowed: bool | None
    means_allowed: Callable[[str], bool]


def _op_arguments(world: World, op: str, caller: str, target: Target) -> dict[str, Any]:
    job = target.params.get("id", "")  # the id of the room, for an op about a room
    arguments_of_op: dict[str, dict[str, Any]] = {
        "claim": {"job": job, "version": UNUSED_VERSION},
        "decline": {"job": job},
        "command": {"job": job, "command": "cancel", "version": UNUSED_VERSION},
        "availability": {"online": True},
        "location": POSITION if caller == "holder" else ELSEWHERE,
        "refresh": {"token": world.people[caller].token},
        "subscribe": {"channel": f"job:{job}"},
        "presence": {"users": [world.people["holder"].user]},
        "unsubscribe": {"channel": f"job:{world.jobs['held']}"},
        "join": {"room": job},
        "leave": {"room": world.ids["room"]},
        "say": {"room": job, "text": "Good morning", "client_id": f"sweep.socket.{caller}"},
        "typing": {"room": job, "on": True},
        "read": {"room": job, "n": 1},
    }
    return arguments_of_op[op]


def _request_body(world: World, route: Route, caller: str, target: Target) -> dict[str, Any]:
    """Return the body of the route's example in the OpenAPI document, with the ids and values of this world."""
    body = {k: v for k, v in examples.REQUESTS.get(route.name, {}).items() if k not in ("version", "reference")}
    return body | _body_values(world, route.name, caller, target)


def _body_values(world: World, route_name: str, caller: str, target: Target) -> dict[str, Any]:
    unique = f"{uuid.uuid4().hex}@example.org"
    customer = world.people["spare_customer"].user
    values_of_route: dict[str, Any] = {
        "auth_register": {"email": unique},
        "users_create": {"email": unique, "password": "correct horse", "name": "New", "role": "mediator"},
        "users_patch": {"active": True},
        "blocks_create": {"user": target.params.get("id")},
        "blocks_drop": {"user": target.params.get("id")},
        "jobs_create": {"service": world.ids["spare"]}
        | ({} if world.roles.get(caller) == "customer" else {"customer": customer}),
        "choices_preview": {"service": world.ids["spare"], "customer": customer},
        "quotes_create": {"service": world.ids["spare"]}
        | ({} if world.roles.get(caller) == "customer" else {"customer": customer}),
        "jobs_commands": {"items": [{"command": "cancel", "version": UNUSED_VERSION}]},
        "jobs_edit": {"notes": "x", "version": UNUSED_VERSION},
        "rooms_say": {"client_id": f"sweep.{caller}"},
        "rooms_mark_read": {"n": 1},
        "rooms_add_member": {"user": customer},
        "plans_create": {"date": "2099-01-31", "technicians": None, "budget_s": 0.1},
        "payments_create": {"reference": "sweep", "status": "failed"},
        "services_patch": {"category": "other"},
        "technicians_availability": {"lat": None, "lon": None},
        "technicians_location": {**(POSITION if caller == "holder" else ELSEWHERE), "at": None},
    }
    if route_name == "technicians_patch":
        fits = {"capacity": 10} if caller in MANAGERS else {"name": caller}
        return fits | {
            "services": [world.ids["service" if target.params["id"] == world.people["holder"].user else "special"]]
        }
    values: dict[str, Any] = values_of_route.get(route_name, {})
    return values


async def send_request(world: World, request: SweepRequest) -> tuple[str, str]:
    """Send a request. Return the code of its refusal ("" = not refused) and the whole text of the reply."""
    client: Client = world.people.get(request.caller, world.nobody)
    reply = await client(request.method, request.path, request.body, **request.headers)
    assert reply.status_code < 500, (str(request), reply.text)
    if request.path.endswith("/commands") and reply.is_success:
        return reply.json()["items"][0].get("error", {}).get("code", ""), reply.text
    return ("" if reply.is_success else reply.json()["code"]), reply.text
