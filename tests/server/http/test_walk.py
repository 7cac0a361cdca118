"""Every route of the table, walked without a token and with each wrong role: none forgets who may."""

from __future__ import annotations

import re
import runpy
import time
import uuid
from typing import Any, cast

import httpx
import pytest

from engine import roles as authority
from engine import types
from engine.blueprint import vocabulary
from engine.blueprint.schema import relations
from engine.process.signer import Signer
from engine.types import ROLES, Principal, Role, UserId
from server.api.route import Route
from server.api.routes import ROUTES
from server.gateway.ops import OPS
from server.serve import Running
from tests.server.http.client import Client, code_of
from tests.support.socket_client import SocketClient

GUARDED = [route for route in ROUTES if route.roles is not None]
PUBLIC = {
    "auth_register",
    "auth_login",
    "auth_refresh",
    "auth_logout",
    "about_meta",
    "about_alive",
    "about_ready",
    "about_problem",
    "about_document",
    "about_messages",
}


def address(route: Route) -> str:
    """The route's path with something in the place of each parameter."""
    given = {"id": "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g", "key": str(uuid.uuid4()), "command": "depart", "bid": "bid_1"}
    return route.path.format_map({**given, "proposal": "prp_1", "name": "delivery", "code": "taken"})


def test_no_route_is_public_by_accident() -> None:
    """The routes for anyone are exactly those that must be."""
    assert {route.name for route in ROUTES if route.roles is None} == PUBLIC


def test_operation_ids_are_unique() -> None:
    """No two lines of the table share a name, nor method and path."""
    assert len({route.name for route in ROUTES}) == len(ROUTES)
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


def test_the_linter_knows_the_routes_beside_the_commands() -> None:
    """No blueprint may name a command like a route of its own; `claim` and `reassign` are routes of commands."""
    posted = [route.path for route in ROUTES if route.method == "POST"]
    names = {found[1] for path in posted if (found := re.fullmatch(r"/v1/jobs/\{id\}/([a-z_]+)", path))}
    assert names - {"claim", "reassign"} == vocabulary.RESERVED_ROUTE_WORDS


@pytest.mark.parametrize("route", GUARDED, ids=lambda route: route.name)
async def test_without_a_token_nothing(route: Route, nobody: Client) -> None:
    """Without a token each guarded route answers 401 with a challenge."""
    answer = await nobody(route.method, address(route))
    assert code_of(answer) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="callout"'


@pytest.mark.parametrize("given", ["Basic YTpi", "Bearer", "Bearer x.y.z", "nonsense"])
async def test_with_a_bad_token_nothing(given: str, nobody: Client) -> None:
    """What is no token of ours is no token."""
    answer = await nobody("GET", "/v1/me", Authorization=given)
    assert code_of(answer) == (401, "unauthenticated")


@pytest.mark.parametrize("route", GUARDED, ids=lambda route: route.name)
async def test_the_wrong_role_is_forbidden(route: Route, staff: dict[Role, Client]) -> None:
    """Each role that a route does not name is refused with 403, before anything of the request is looked at."""
    for role in sorted(set(ROLES) - (route.roles or frozenset())):
        answer = await staff[role](route.method, address(route), b"not even JSON")
        assert code_of(answer) == (403, "forbidden"), role


NEW = cast("Role", "auditor")
JOB = "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g"
SAID: dict[str, dict[str, Any]] = {
    "claim": {"job": JOB},
    "decline": {"job": JOB},
    "command": {"job": JOB, "command": "cancel"},
    "availability": {"online": False},
    "location": {"lat": 52.5, "lon": 13.4},
    "refresh": {"token": "auditor"},
    "subscribe": {"channel": "zone:main"},
    "unsubscribe": {"channel": "zone:main"},
}
"""Each op with arguments that are well formed."""


@pytest.fixture
def auditor(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Somebody with a good token of a role that was added to `ROLES` and is named nowhere else."""
    who, verify = Principal(UserId(f"cli_{NEW}"), NEW, expires=time.time() + 3600), Signer.verify
    monkeypatch.setattr(types, "ROLES", (*ROLES, NEW))
    monkeypatch.setattr(Signer, "verify", lambda self, token: who if token == NEW else verify(self, token))
    return Client(http, NEW, who.id)


async def test_a_new_role_is_admitted_by_no_route(auditor: Client) -> None:
    """Every route that is not for anyone refuses it, before anything of the request is looked at."""
    for route in GUARDED:
        answer = await auditor(route.method, address(route), b"not even JSON")
        assert code_of(answer) == (403, "forbidden"), route.name


async def test_a_new_role_is_admitted_by_no_op(auditor: Client, staff: dict[Role, Client], site: Running) -> None:
    """It may not connect; and were it connected, each op that there is would refuse it."""
    refused = SocketClient(site.ws_url, NEW)
    assert (await refused.connect())["error"]["code"] == "forbidden"
    await refused.close()
    assert refused.close_code == 4502
    assert {str(kind.__struct_config__.tag) for kind in OPS} == set(SAID)
    socket = await SocketClient(site.ws_url, staff["mediator"].token).open()
    assert site.gateway
    session = next(one for one in site.gateway.sessions if one.id == socket.connected["session"])
    session.principal = Principal(UserId(auditor.user), NEW)
    for op, arguments in SAID.items():
        assert (await socket.request(op, **arguments))["error"]["code"] == "forbidden", op
    await socket.close()


@pytest.mark.usefixtures("auditor")
def test_no_set_of_roles_takes_in_a_new_one() -> None:
    """Made anew with one role more, the sets of roles are what they were; to a job it stands in no relation."""
    sets = {name: found for name, found in runpy.run_path(authority.__file__).items() if name.isupper()}
    assert len(sets) > 10
    assert all(found <= set(ROLES) for found in sets.values())
    assert relations(NEW, "u1", customer="u1", holder="u1", offered=True, frozen=True, bids=True) == []


@pytest.mark.parametrize("route", [r for r in GUARDED if r.body], ids=lambda route: route.name)
async def test_every_body_is_bounded_and_checked(route: Route, staff: dict[Role, Client]) -> None:
    """1 MiB is 413, broken JSON 400, an unknown field 422: on every route that takes a body."""
    role = sorted(route.roles or ())[0]
    send = staff[role]
    assert code_of(await send(route.method, address(route), b"x" * 2**20)) == (413, "too_large")
    assert code_of(await send(route.method, address(route), b'{"a":')) == (400, "invalid")
    told = await send(route.method, address(route), {"no such field": 1})
    assert code_of(told) == (422, "invalid")
    assert "/no such field" in {wrong["pointer"] for wrong in told.json()["errors"]}


@pytest.mark.parametrize("route", [r for r in GUARDED if r.has_key], ids=lambda route: route.name)
async def test_every_key_is_a_uuid(route: Route, staff: dict[Role, Client]) -> None:
    """A request key that is no UUID is refused, not stored."""
    send = staff[sorted(route.roles or ())[0]]
    body = None if route.body is None else b"{}"
    answer = await send(route.method, address(route), body, Idempotency_Key="{main}:log")
    assert code_of(answer)[0] == 422


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_unknown_query_parameters_are_refused(route: Route, staff: dict[Role, Client]) -> None:
    """A misspelt parameter is told, not ignored."""
    roles: frozenset[Role] = route.roles or frozenset({"admin"})
    send = staff[sorted(roles)[0]]
    answer = await send(route.method, address(route) + "?colour=red")
    assert code_of(answer) == (422, "invalid")


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/jobs/", "/v1/rooms", "/v2/jobs", "/v1/jobs/a/b/c", "/v1//me"])
async def test_an_unknown_route_is_a_problem(path: str, admin: Client) -> None:
    """What is not in the table is 404, as the same object as every refusal."""
    assert code_of(await admin("GET", path)) == (404, "not_found")


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/v1/jobs"), ("GET", "/v1/auth/login"), ("OPTIONS", "/v1/me")])
async def test_a_wrong_method_is_405(method: str, path: str, admin: Client) -> None:
    """A path under another method is 405 and says what is allowed."""
    answer = await admin(method, path)
    assert code_of(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"]


@pytest.mark.parametrize("name", ["a b", "x" * 65, "%7Bmain%7D:log", "job:1", "..%2F..%2Fme", "%00", "é"])
async def test_what_cannot_be_an_id_is_not_found(name: str, admin: Client) -> None:
    """Nothing that could break out of a Redis key is looked up."""
    for path in ("/v1/jobs/", "/v1/technicians/", "/v1/services/"):
        assert code_of(await admin("GET", path + name))[0] == 404
