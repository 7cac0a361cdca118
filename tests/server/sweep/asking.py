"""The requests of the sweep: for each route or op, person and thing one that harms nothing, and whether it may pass.

Steps of jobs name a version that no job ever has. What has no version is asked of things that the story does not need.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from engine.blueprint.schema import Blueprint
from server.api import examples
from server.api.route import Route
from server.gateway.ops import OPS
from server.http.policy import Policy
from server.schemas import ops
from tests.server.http.client import Client
from tests.server.sweep.world import MANAGERS, POSITION, Ties, World

ELSEWHERE = {"lat": 52.5, "lon": 13.4}
NO_VERSION = 999_999_999
REFUSED = frozenset({"unauthenticated", "forbidden", "not_found", "not_offered", "taken", "kyc_not_approved"})
"""How somebody is told that a thing is not theirs. Every other answer says something of the thing."""


ACTED = frozenset({"", "version_conflict", "too_early", "duplicate"})
"""What an answer to an offer, or a bid, comes to from somebody whose it is to give. Everybody else is told how the job
stands, ahead of how they stand to it.
"""


class Thing(NamedTuple):
    """One thing that a path can name; ``may`` is who may by the policy, None is anybody. ``either``: who may be given
    again the answer that they were given first. ``ties``: those who stand alike to it are asked once.
    """

    params: dict[str, str]
    may: frozenset[str] | None
    passed: Callable[[str], bool] = lambda code: code not in REFUSED
    either: frozenset[str] = frozenset()
    ties: Ties | None = None


class Asked(NamedTuple):
    """One request and what the policy says of it."""

    who: str
    method: str
    path: str
    body: Any
    headers: dict[str, str]
    may: bool | None
    """None: it may pass or not."""
    passed: Callable[[str], bool]

    def __str__(self) -> str:
        return f"{self.who}: {self.method} {self.path}"


def things(world: World, policy: Policy, path: str) -> list[Thing]:
    """Everything of the kind that a policy names."""
    if policy.object_kind == "job":
        return [thing for job in world.jobs for thing in _of_job(world, policy, path, job)]
    params, ties = _others(world)[policy.object_kind]
    if policy.object_kind == "user" and policy.relations is not None:
        return _sides(world)
    may = None if policy.relations is None else frozenset(n for n, has in ties.items() if has & policy.relations)
    return [Thing(one, may) for one in params] if policy.object_kind != "technician" else _technicians(world, policy)


def _of_job(world: World, policy: Policy, path: str, job: str) -> Iterator[Thing]:
    params, ties = {"id": world.jobs[job]}, world.ties[job]
    if not policy.by_blueprint:
        assert policy.relations is not None
        may, bids = (
            frozenset(n for n, has in ties.items() if has & policy.relations),
            policy.relations == {"technician"},
        )
        yield Thing(params, may, ACTED.__contains__ if bids else Thing._field_defaults["passed"], ties=ties)
        return
    blueprint = world.server.engine.blueprints.by_name[world.blueprints[job]]
    for name in kinds(blueprint) if "{command}" in path else [path.rpartition("/")[2]]:
        yield _step({**params, "command": name}, world, blueprint, job, SPOKEN.get(name, name))


def kinds(blueprint: Blueprint) -> list[str]:
    """Of the commands that the same people give and that do the same, one."""
    alike = {(spec.by, spec.does): name for name, spec in blueprint.commands.items()}
    return list(alike.values())


SPOKEN = {"respond": "claim", "commands": "cancel", "command": "cancel", "disputes": "dispute"}
"""The routes that give a command under another name, as the sweep uses them."""


OF_THEIR_OWN = frozenset({"bid", "withdraw", "award", "capture"})


def _step(params: dict[str, str], world: World, blueprint: Blueprint, job: str, name: str) -> Thing:
    """A command, and whom the blueprint lets give it by how they stand to the job in the story. Of those who were ever
    offered it, only who holds an open offer may answer it.
    """
    ties = world.ties[job]
    spec = blueprint.commands.get("accept" if name == "claim" and name not in blueprint.commands else name)
    by = set(spec.by) if spec else {"customer", "holder"} if name == "dispute" else set()
    by |= {"asked"} if "holder" in by else set()
    if spec and spec.does in OF_THEIR_OWN:  # whoever may know of the job is told by which route it is given
        by |= {"offered", "holder"} if "technician" in by else set()
    if "offered" in by and not (spec and spec.does in OF_THEIR_OWN):
        either = frozenset(n for n, has in ties.items() if has & {"took", "declined"})
        return Thing(params, frozenset(world.open_offers[job]), ACTED.__contains__, either, ties)
    return Thing(params, frozenset(n for n, has in ties.items() if has & by), ties=ties)


def _technicians(world: World, policy: Policy) -> list[Thing]:
    found = []
    for name in ("holder", "never", "spare_technician"):
        ties: Ties = {name: {"self"}} | {manager: {"managers"} for manager in MANAGERS}
        may = None if policy.relations is None else frozenset(n for n, has in ties.items() if has & policy.relations)
        found.append(Thing({"id": world.people[name].user}, may))
    return found


def _sides(world: World) -> list[Thing]:
    """A customer is of technicians' other side, and a technician of customers'."""
    sides = {"spare_customer": "technician", "spare_technician": "customer"}
    return [
        Thing({"id": world.people[name].user}, frozenset(n for n, role in world.roles.items() if role == other))
        for name, other in sides.items()
    ]


def _others(world: World) -> dict[str, tuple[list[dict[str, str]], Ties]]:
    ids, jobs, people = world.ids, world.jobs, world.people
    spare = [{"id": people[name].user} for name in ("spare_customer", "spare_technician")]
    return {
        "nothing": ([{}], {}),
        "technician": ([], {}),
        "bid": ([{"id": jobs["bidding"], "bid": ids["bid"]}], world.ties["bidding"]),
        "proposal": ([{"id": jobs["awarded"], "proposal": ids["proposal"]}], {"customer": {"other_side"}}),
        "dispute": ([{"id": ids["dispute"]}], world.ties["disputed"]),
        "user": (spare, {}),
        "notification": ([{"id": ids["notification"]}], {"customer": {"self"}}),
        "login": ([{"id": ids["login"]}], {"customer": {"self"}}),
        "request": ([{"key": ids["key"]}], {"customer": {"self"}}),
        "service": ([{"id": ids["spare"]}], {}),
        "blueprint": ([{"name": "delivery"}], {}),
        "code": ([{"code": "taken"}], {}),
    }


def requests(world: World, route: Route) -> Iterator[Asked]:
    """All requests to a route, by everybody and by nobody, about everything."""
    for thing in things(world, route.policy, route.path):
        for who in askers(world, thing, public=route.roles is None):
            passes = route.roles is None or world.roles.get(who) in route.roles
            may = passes and (thing.may is None or who in thing.may)
            body = _body(world, route, who, thing) if route.body is not None else None
            path = route.path.format_map(thing.params) + QUERIES.get(route.name, "").format(start=world.start)
            headers = {"Idempotency_Key": str(uuid.uuid4())} if route.has_key else {}
            if route.is_conditional:
                headers["If_Match"] = str(NO_VERSION)
            either = who in thing.either or (route.roles is None and "auth" in path)
            yield Asked(who, route.method, path, body, headers, None if either else may, thing.passed)


def askers(world: World, thing: Thing, *, public: bool = False) -> Iterator[str]:
    """Whom a request is made as: everybody whom the story leaves in peace, of those who stand alike to the thing one;
    and nobody, without a token.
    """
    met = set()
    for who in () if public else world.people:
        alike = who if thing.ties is None else (world.roles[who], frozenset(thing.ties.get(who, ())))
        if alike not in met and not who.startswith("spare"):
            met.add(alike)
            yield who
    yield "nobody"


QUERIES = {
    "events_hear": "?after={start}&wait=0",
    "jobs_find": "?limit=200",
    "jobs_history": "?limit=200",
    "disputes_find": "?limit=200",
    "bids_find": "?limit=200",
    "offers_find": "?limit=200",
    "users_find": "?limit=200",
    "technicians_find": "?limit=200",
    "notifications_find": "?limit=200",
}


def named(kind: type[ops.Op]) -> str:
    """The name of an op."""
    return str(kind.__struct_config__.tag)


def messages(world: World, kind: type[ops.Op]) -> Iterator[Said]:
    """The same for a socket op."""
    spec, name = OPS[kind], named(kind)
    policy = spec.policy
    for thing in things(world, policy, f"/{name if policy.by_blueprint else ''}"):
        for who in askers(world, thing):
            if who == "nobody":
                continue
            may = world.roles[who] in spec.roles and (thing.may is None or who in thing.may)
            yield Said(
                who, name, _arguments(world, name, who, thing), None if who in thing.either else may, thing.passed
            )


class Said(NamedTuple):
    """One message and what the policy says of it."""

    who: str
    op: str
    arguments: dict[str, Any]
    may: bool | None
    passed: Callable[[str], bool]


def _arguments(world: World, name: str, who: str, thing: Thing) -> dict[str, Any]:
    job = thing.params.get("id", "")
    given: dict[str, dict[str, Any]] = {
        "claim": {"job": job, "version": NO_VERSION},
        "decline": {"job": job},
        "command": {"job": job, "command": "cancel", "version": NO_VERSION},
        "availability": {"online": True},
        "location": POSITION if who == "holder" else ELSEWHERE,
        "refresh": {"token": world.people[who].token},
        "subscribe": {"channel": f"job:{job}"},
        "unsubscribe": {"channel": f"job:{world.jobs['held']}"},
    }
    return given[name]


def _body(world: World, route: Route, who: str, thing: Thing) -> dict[str, Any]:
    """The example of the document, made to fit this world."""
    body = {k: v for k, v in examples.REQUESTS.get(route.name, {}).items() if k not in ("version", "reference")}
    return body | _fitting(world, route.name, who, thing)


def _fitting(world: World, name: str, who: str, thing: Thing) -> dict[str, Any]:
    unique = f"{uuid.uuid4().hex}@example.org"
    customer = world.people["spare_customer"].user
    given: dict[str, Any] = {
        "auth_register": {"email": unique},
        "users_create": {"email": unique, "password": "correct horse", "name": "New", "role": "mediator"},
        "users_patch": {"active": True},
        "blocks_create": {"user": thing.params.get("id")},
        "blocks_drop": {"user": thing.params.get("id")},
        "jobs_create": {"service": world.ids["spare"]}
        | ({} if world.roles.get(who) == "customer" else {"customer": customer}),
        "jobs_commands": {"items": [{"command": "cancel", "version": NO_VERSION}]},
        "jobs_edit": {"notes": "x", "version": NO_VERSION},
        "payments_create": {"reference": "sweep", "status": "failed"},
        "catalogue_patch": {"category": "other"},
        "technicians_availability": {"lat": None, "lon": None},
        "technicians_location": {**(POSITION if who == "holder" else ELSEWHERE), "at": None},
    }
    if name == "technicians_patch":
        fits = {"capacity": 10} if who in MANAGERS else {"name": who}
        return fits | {
            "services": [world.ids["service" if thing.params["id"] == world.people["holder"].user else "special"]]
        }
    found: dict[str, Any] = given.get(name, {})
    return found


async def answer(world: World, asked: Asked) -> tuple[str, str]:
    """The code of a request's refusal, "" for none, and all that its asker is shown."""
    client: Client = world.people.get(asked.who, world.nobody)
    reply = await client(asked.method, asked.path, asked.body, **asked.headers)
    assert reply.status_code < 500, (str(asked), reply.text)
    if asked.path.endswith("/commands") and reply.is_success:
        return reply.json()["items"][0].get("error", {}).get("code", ""), reply.text
    return ("" if reply.is_success else reply.json()["code"]), reply.text
