"""Every route is called without a token and with each wrong role, and refuses the call."""

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
from engine.blueprint.relation import relations
from engine.process.signer import Signer
from engine.rules.job_document import EventJob, Party
from engine.types import ROLES, JobId, Principal, Role, UserId, room_of
from server.api.route import Route
from server.api.routes import ROUTES
from server.gateway.ops import OPS
from server.serve import RunningServer
from tests.server.http.client import Client, code_of
from tests.support.socket_client import SocketClient

GUARDED_ROUTES = [route for route in ROUTES if route.roles is not None]
PUBLIC_ROUTES = {
    "payment_webhooks_create",
    "auth_register",
    "auth_login",
    "auth_refresh",
    "auth_logout",
    "about_meta",
    "about_town",
    "about_alive",
    "about_ready",
    "about_problem",
    "about_document",
    "about_messages",
    "audit_read_head",
    "audit_prove",
    "audit_prove_consistency",
    "audit_find_keys",
    "vault_verify",
    "shares_follow",
}


def example_path(route: Route) -> str:
    """Return the route's path with an example value for each parameter."""
    parameters = {
        "id": "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g",
        "key": str(uuid.uuid4()),
        "command": "depart",
        "bid": "bid_1",
    }
    return route.path.format_map(
        {
            **parameters,
            "proposal": "prp_1",
            "name": "delivery",
            "code": "taken",
            "user": "usr_1",
            "zone": "main",
            "adapter": "stripe",
            "seq": "1",
            "share": "shr_1",
            "token": "none",
        }
    )


def test_no_route_is_public_by_accident() -> None:
    """The routes without a role are exactly the ones in `PUBLIC_ROUTES`."""
    assert {route.name for route in ROUTES if route.roles is None} == PUBLIC_ROUTES


def test_operation_ids_are_unique() -> None:
    """No two routes have the same name, or the same method and path."""
    assert len({route.name for route in ROUTES}) == len(ROUTES)
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


def test_the_linter_knows_the_names_of_other_routes() -> None:
    """`RESERVED_ROUTE_WORDS`, the names that no command of a blueprint may have, lists every POST route of a job.
    `claim`, `reassign` and `sign` are commands and may be named.
    """
    post_paths = [route.path for route in ROUTES if route.method == "POST"]
    names = {found[1] for path in post_paths if (found := re.fullmatch(r"/v1/jobs/\{id\}/([a-z_]+)", path))}
    assert names - {"claim", "reassign", "sign"} == vocabulary.RESERVED_ROUTE_WORDS


@pytest.mark.parametrize("route", GUARDED_ROUTES, ids=lambda route: route.name)
async def test_a_guarded_route_requires_a_token(route: Route, nobody: Client) -> None:
    """A request without a token to a guarded route is refused with 401 and a challenge."""
    answer = await nobody(route.method, example_path(route))
    assert code_of(answer) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="callout"'


@pytest.mark.parametrize("authorization", ["Basic YTpi", "Bearer", "Bearer x.y.z", "nonsense"])
async def test_an_invalid_token_is_refused(authorization: str, nobody: Client) -> None:
    """A malformed or forged token is refused with 401."""
    answer = await nobody("GET", "/v1/me", Authorization=authorization)
    assert code_of(answer) == (401, "unauthenticated")


@pytest.mark.parametrize("route", GUARDED_ROUTES, ids=lambda route: route.name)
async def test_the_wrong_role_is_forbidden(route: Route, staff: dict[Role, Client]) -> None:
    """Each role that a route does not name is refused with 403, before the body is read."""
    for role in sorted(set(ROLES) - (route.roles or frozenset())):
        answer = await staff[role](route.method, example_path(route), b"not even JSON")
        assert code_of(answer) == (403, "forbidden"), role


NEW_ROLE = cast("Role", "auditor")
JOB_ID = "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g"
ROOM_ID = room_of(JobId(JOB_ID))
OP_ARGUMENTS: dict[str, dict[str, Any]] = {
    "claim": {"job": JOB_ID},
    "decline": {"job": JOB_ID},
    "command": {"job": JOB_ID, "command": "cancel"},
    "availability": {"online": False},
    "location": {"lat": 52.5, "lon": 13.4},
    "refresh": {"token": "auditor"},
    "subscribe": {"channel": "zone:main"},
    "unsubscribe": {"channel": "zone:main"},
    "presence": {"users": ["usr_1"]},
    "join": {"room": ROOM_ID},
    "leave": {"room": ROOM_ID},
    "say": {"room": ROOM_ID, "text": "Good morning", "client_id": "1"},
    "typing": {"room": ROOM_ID, "on": True},
    "read": {"room": ROOM_ID, "n": 1},
}
"""Valid arguments for each op."""


@pytest.fixture
def auditor(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Return a client with a valid token of a role that is in `ROLES` and in no other set of roles."""
    who, verify = Principal(UserId(f"cli_{NEW_ROLE}"), NEW_ROLE, expires=time.time() + 3600), Signer.verify
    monkeypatch.setattr(types, "ROLES", (*ROLES, NEW_ROLE))
    monkeypatch.setattr(Signer, "verify", lambda self, token: who if token == NEW_ROLE else verify(self, token))
    return Client(http, NEW_ROLE, who.id)


async def test_a_new_role_is_refused_by_every_guarded_route(auditor: Client) -> None:
    """Every guarded route refuses a new role with 403, before the body is read."""
    for route in GUARDED_ROUTES:
        answer = await auditor(route.method, example_path(route), b"not even JSON")
        assert code_of(answer) == (403, "forbidden"), route.name


async def test_a_new_role_is_refused_by_every_op(
    auditor: Client, staff: dict[Role, Client], site: RunningServer
) -> None:
    """A new role may not connect. If a connected session had this role, each op would refuse it."""
    refused = SocketClient(site.ws_url, NEW_ROLE)
    assert (await refused.connect())["error"]["code"] == "forbidden"
    await refused.close()
    assert refused.close_code == 4502
    assert {str(kind.__struct_config__.tag) for kind in OPS} == set(OP_ARGUMENTS)
    socket = await SocketClient(site.ws_url, staff["mediator"].token).open()
    assert site.gateway
    session = next(candidate for candidate in site.gateway.sessions if candidate.id == socket.connected["session"])
    session.principal = Principal(UserId(auditor.user), NEW_ROLE)
    for op, arguments in OP_ARGUMENTS.items():
        assert (await socket.request(op, **arguments))["error"]["code"] == "forbidden", op
    await socket.close()


@pytest.mark.usefixtures("auditor")
def test_no_set_of_roles_contains_a_new_role() -> None:
    """If a role is added to `ROLES`, no set in `engine.roles` contains the role, and it has no relation to any job."""
    sets = {name: roles for name, roles in runpy.run_path(authority.__file__).items() if name.isupper()}
    assert len(sets) > 10
    assert all(roles <= set(ROLES) for roles in sets.values())
    who = Party(UserId("u1"))
    job = EventJob(customer=who, technician=who, frozen=True)
    assert relations(Principal(who.id, NEW_ROLE), job, offered=True, bids=True) == []


@pytest.mark.parametrize("route", [r for r in GUARDED_ROUTES if r.body], ids=lambda route: route.name)
async def test_every_body_is_bounded_and_checked(route: Route, staff: dict[Role, Client]) -> None:
    """Every route with a body refuses 1 MiB with 413, broken JSON with 400 and an unknown field with 422."""
    role = sorted(route.roles or ())[0]
    send = staff[role]
    assert code_of(await send(route.method, example_path(route), b"x" * 2**20)) == (413, "too_large")
    assert code_of(await send(route.method, example_path(route), b'{"a":')) == (400, "invalid")
    answer = await send(route.method, example_path(route), {"no such field": 1})
    assert code_of(answer) == (422, "invalid")
    assert "/no such field" in {wrong["pointer"] for wrong in answer.json()["errors"]}


@pytest.mark.parametrize("route", [r for r in GUARDED_ROUTES if r.has_key], ids=lambda route: route.name)
async def test_an_idempotency_key_must_be_a_uuid(route: Route, staff: dict[Role, Client]) -> None:
    """An idempotency key that is not a UUID is refused with 422 and not stored."""
    send = staff[sorted(route.roles or ())[0]]
    body = None if route.body is None else b"{}"
    answer = await send(route.method, example_path(route), body, Idempotency_Key="{main}:log")
    assert code_of(answer)[0] == 422


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_unknown_query_parameters_are_refused(route: Route, staff: dict[Role, Client]) -> None:
    """An unknown query parameter is refused with 422, so that a misspelling is not ignored."""
    roles: frozenset[Role] = route.roles or frozenset({"admin"})
    send = staff[sorted(roles)[0]]
    answer = await send(route.method, example_path(route) + "?colour=red")
    assert code_of(answer) == (422, "invalid")


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/jobs/", "/v1/file", "/v2/jobs", "/v1/jobs/a/b/c", "/v1//me"])
async def test_an_unknown_path_is_not_found(path: str, admin: Client) -> None:
    """A path that is not in the route table is refused with 404 and a problem object."""
    assert code_of(await admin("GET", path)) == (404, "not_found")


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/v1/jobs"), ("GET", "/v1/auth/login"), ("OPTIONS", "/v1/me")])
async def test_a_wrong_method_is_405(method: str, path: str, admin: Client) -> None:
    """A known path with another method is refused with 405 and `Allow`."""
    answer = await admin(method, path)
    assert code_of(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"]


@pytest.mark.parametrize("name", ["a b", "x" * 65, "%7Bmain%7D:log", "job:1", "..%2F..%2Fme", "%00", "é"])
async def test_an_invalid_id_is_not_found(name: str, admin: Client) -> None:
    """An id with characters that could change a Redis key is answered with 404."""
    for path in ("/v1/jobs/", "/v1/technicians/", "/v1/services/"):
        assert code_of(await admin("GET", path + name))[0] == 404
