"""Tests of the limits on the requests of one caller, on a server whose limits are on."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from engine.identity import limits
from engine.process import datadir
from engine.process.settings import Settings
from engine.types import Role
from server.serve import RunningServer, run_server
from tests.conftest import SlowRefill
from tests.server.http import people
from tests.server.http.client import HERE, Client, code_of
from tests.support.http import open_http
from tests.support.socket_client import SocketClient

ClientOf = Callable[[Role | None], Client]

LOGIN = {"email": "ada@example.org", "password": "wrong horse"}


@pytest.fixture(scope="module")
async def limited_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """Yield a server whose limits are on."""
    data = str(tmp_path_factory.mktemp("limited"))
    async with run_server(Settings(data=data, port=0)) as server:
        yield server


@pytest.fixture(scope="module")
async def client_of(limited_server: RunningServer) -> AsyncIterator[ClientOf]:
    """Yield a function that returns a client with a token of a role, or without a token if the role is None."""
    async with open_http(limited_server.url, timeout_s=10) as http:

        def create_client(role: Role | None) -> Client:
            return Client(http) if role is None else people.principal(limited_server, http, role)

        yield create_client


def test_the_limits_are_those_of_the_protocol() -> None:
    """The limits have the counts and periods that docs/protocol.md promises. The tests below use a longer period."""
    promised = {"requests": (20, 1), "claims": (10, 1), "chat": (100, 60), "fixes": (2, 1), "login": (10, 60)}
    promised |= {
        "quotes": (10, 60),
        "preview": (1, 1),
        "slots": (10, 60),
        "files": (20, 60),
        "presence": (1, 1),
        "typing": (1, 1),
        "webhooks": (100, 1),
        "verify": (20, 60),
        "shares": (10, 3600),
        "exports": (10, 3600),
        "erasure": (10, 3600),
    }
    assert {limit.name: (limit.count, limit.period_s) for limit in limits.LIMITS.values()} == promised


async def test_quotes_are_limited(client_of: ClientOf) -> None:
    """After ten requests for a quote, the next one in the same minute is refused."""
    machine = client_of("service")
    codes = [code_of(await machine("POST", "/v1/quotes", {}))[1] for _ in range(11)]
    assert codes == ["invalid"] * 10 + ["rate_limited"]


@pytest.mark.parametrize(("verb", "body"), [("erasure", {"reason": "asked"}), ("export", {})])
async def test_erasures_and_exports_are_limited(client_of: ClientOf, verb: str, body: dict[str, str]) -> None:
    """After ten requests for an erasure or an export, the next one in the same hour is refused."""
    customer = client_of("customer")
    codes = [code_of(await customer("POST", f"/v1/users/usr_other/{verb}", body))[1] for _ in range(11)]
    assert codes == ["forbidden"] * 10 + ["rate_limited"]


async def test_links_are_limited(client_of: ClientOf) -> None:
    """After ten requests for a link to a job, the next one in the same hour is refused."""
    customer, path = client_of("customer"), "/v1/jobs/job_main_01jb4zqk3m8r5t7v9x2c6d8f0g/shares"
    codes = [code_of(await customer("POST", path, {}))[1] for _ in range(11)]
    assert codes == ["not_found"] * 10 + ["rate_limited"]


async def test_a_booking_is_previewed_once_a_second(client_of: ClientOf, slow_refill: SlowRefill) -> None:
    """A second preview of the same caller within a second is refused, even for another booking."""
    slow_refill("preview")
    backend, body = (
        client_of("service"),
        {"service": "srv_none", **HERE, "address": "Torstrasse 1", "customer": "usr_1"},
    )
    assert code_of(await backend("POST", "/v1/jobs/preview", body)) == (422, "invalid")
    assert code_of(await backend("POST", "/v1/jobs/preview", {})) == (429, "rate_limited")


async def test_checks_of_receipts_are_limited_by_address(client_of: ClientOf, slow_refill: SlowRefill) -> None:
    """Each verification of a receipt reads all its photos, and needs no token. Therefore it is limited: after twenty
    the next one is refused.
    """
    slow_refill("verify")
    anyone = client_of(None)
    for _ in range(20):
        assert (await anyone("GET", "/v1/vault/rcp_none/verify?sha256=x")).status_code != 429
    assert code_of(await anyone("GET", "/v1/vault/rcp_none/verify?sha256=x")) == (429, "rate_limited")


async def test_webhooks_are_limited_by_address(client_of: ClientOf, slow_refill: SlowRefill) -> None:
    """After a hundred webhooks of one address, the next one is refused before anything else is checked."""
    slow_refill("webhooks")
    stranger = client_of(None)
    answers = await asyncio.gather(*(stranger("POST", "/v1/payments/webhooks/stripe", {}) for _ in range(101)))
    assert sorted(code_of(answer)[1] for answer in answers) == ["not_found"] * 100 + ["rate_limited"]


async def test_presence_is_asked_once_a_second(
    limited_server: RunningServer, client_of: ClientOf, slow_refill: SlowRefill
) -> None:
    """A second request for the presence of users within a second is refused; requests over HTTP and on a socket count
    together."""
    slow_refill("presence")
    mediator = client_of("mediator")
    assert (await mediator("GET", "/v1/presence?users=usr_1")).status_code == 200
    assert code_of(await mediator("GET", "/v1/presence?users=usr_1")) == (429, "rate_limited")
    client = await SocketClient(limited_server.ws_url, mediator.token).open()
    assert (await client.request("presence", users=["usr_1"]))["error"]["code"] == "rate_limited"
    await client.close()


async def test_over_the_limit_is_429(
    limited_server: RunningServer, client_of: ClientOf, slow_refill: SlowRefill
) -> None:
    """Twenty of 25 concurrent requests are served. Five are refused with 429 and `Retry-After`, and do nothing. After
    that time one more request is served.
    """
    slow_refill("requests")
    admin = client_of("admin")
    body = {"name": "S", "category": "x", "base_amount": 1, "currency": "EUR", "pricing": "flat"}
    answers = await asyncio.gather(*(admin("POST", "/v1/services", body) for _ in range(25)))
    refused = [answer for answer in answers if answer.status_code != 201]
    assert len(refused) == 5
    for answer in refused:
        assert code_of(answer) == (429, "rate_limited")
        assert answer.json()["retry_after"] <= int(answer.headers["retry-after"]) <= 3600 / 20
        assert answer.headers["ratelimit-policy"] == '"requests";q=20;w=3600'
        assert answer.headers["ratelimit"].startswith('"requests";r=0;t=')
    redis = limited_server.engine.store.redis
    (meter,) = await redis.keys("{u:*}:limit:requests")
    await redis.decrby(meter, 3600 * 1000 // 20)  # as if so much time had passed
    assert [(await admin("POST", "/v1/services", body)).status_code for _ in range(2)] == [201, 429]


async def test_each_user_has_their_own_limit(client_of: ClientOf, slow_refill: SlowRefill) -> None:
    """The limit counts each user separately: ops are served while the mediator is refused with 429."""
    slow_refill("requests")
    mediator, ops = client_of("mediator"), client_of("ops_manager")
    answers = await asyncio.gather(*(mediator("GET", "/v1/services") for _ in range(21)))
    assert [answer.status_code for answer in answers].count(429) == 1
    assert (await ops("GET", "/v1/services")).status_code == 200


async def test_answers_contain_the_remaining_quota(client_of: ClientOf) -> None:
    """Each answer, also a refusal for another reason, has the headers `RateLimit-Policy` and `RateLimit`, with the
    allowed and the remaining number of requests.
    """
    service = client_of("service")
    for path in ("/v1/services", "/v1/services?colour=red"):
        answer = await service("GET", path)
        assert answer.headers["ratelimit-policy"] == '"requests";q=20;w=1'
        assert answer.headers["ratelimit"].startswith('"requests";r=1')


async def test_chat_has_a_limit_of_its_own(client_of: ClientOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages beyond the limit `chat` are refused with 429 and `Retry-After`."""
    monkeypatch.setitem(limits.LIMITS, "chat", limits.Limit("chat", 3, 3600))
    mediator, room = client_of("mediator"), "/v1/rooms/room_main_01jb4zqk3m8r5t7v9x2c6d8f0g"
    body = {"text": "Hello", "client_id": "c1"}
    answers = [await mediator("POST", f"{room}/messages", body) for _ in range(4)]
    assert [code_of(answer)[1] for answer in answers] == ["not_found"] * 3 + ["rate_limited"]
    assert "Retry-After" in answers[-1].headers


async def test_claims_have_a_limit_of_their_own(client_of: ClientOf, slow_refill: SlowRefill) -> None:
    """Ten of sixteen concurrent claims are within the limit of claims, with any outcome, and six are refused with
    `rate_limited`. Other requests of the technician are still served.
    """
    slow_refill("claims")
    technician = client_of("technician")
    path = "/v1/jobs/job_main_01jb4zqk3m8r5t7v9x2c6d8f0g/claim"
    answers = await asyncio.gather(*(technician("POST", path) for _ in range(16)))
    codes = [code_of(answer)[1] for answer in answers]
    assert set(codes) == {"profile_incomplete", "rate_limited"}
    assert codes.count("profile_incomplete") == 10
    assert (await technician("GET", "/v1/services")).status_code == 200


async def test_fixes_have_a_limit_of_their_own(client_of: ClientOf, slow_refill: SlowRefill) -> None:
    """Two of six concurrent fixes are accepted, and four are refused with 429."""
    slow_refill("fixes")
    technician = client_of("technician")
    path = "/v1/technicians/cli_technician/location"
    answers = await asyncio.gather(*(technician("PUT", path, HERE) for _ in range(6)))
    assert sum(answer.status_code == 429 for answer in answers) == 4


async def test_logins_are_limited_by_address_and_account(client_of: ClientOf, slow_refill: SlowRefill) -> None:
    """The server checks ten logins to one account, also with different spellings of the e-mail address, and refuses
    further ones with `rate_limited`. It still checks a login to another account.
    """
    slow_refill("login")
    nobody = client_of(None)
    codes = []
    wide = "".join(chr(ord(char) + 0xFEE0) for char in LOGIN["email"])
    spellings = (LOGIN["email"].upper(), f" {LOGIN['email']} ", wide)
    for attempt in range(12):
        email = spellings[attempt % 3]
        codes.append(code_of(await nobody("POST", "/v1/auth/login", {**LOGIN, "email": email}))[1])
    assert codes == ["unauthenticated"] * 10 + ["rate_limited"] * 2
    other = {**LOGIN, "email": f"{uuid.uuid4().hex}@example.org"}
    assert code_of(await nobody("POST", "/v1/auth/login", other)) == (401, "unauthenticated")


async def test_health_is_never_limited(client_of: ClientOf) -> None:
    """`/healthz` and `/readyz` have no limit."""
    answers = await asyncio.gather(
        *(client_of(None)("GET", path) for path in ("/healthz", "/readyz") for _ in range(40))
    )
    assert {answer.status_code for answer in answers} == {200}


async def test_a_forwarded_address_is_ignored(
    client_of: ClientOf, slow_refill: SlowRefill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server without trusted proxies ignores `X-Forwarded-For`: a client that sends another address with each login
    has ten attempts like any other.
    """
    slow_refill("login")
    # The test before sends from the same address, perhaps within this second.
    monkeypatch.setitem(limits.LIMITS, "requests", limits.Limit("requests", 1000, 1))
    codes = []
    for number in range(12):
        headers = {"X_Forwarded_For": f"198.51.100.{number}"}
        codes.append(
            (await client_of(None)("POST", "/v1/auth/login", LOGIN | {"email": "xff@x.org"}, **headers)).status_code
        )
    assert codes == [401] * 10 + [429] * 2


@pytest.fixture(scope="module")
async def proxied_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """Yield a server that trusts a proxy on 127.0.0.1 and has a separate port for its metrics."""
    data = str(tmp_path_factory.mktemp("behind") / "data")
    proxied = Settings(data=data, port=0, trusted_proxies=("127.0.0.1",), metrics_port=0)
    async with run_server(proxied) as server:
        yield server


async def test_the_address_from_a_trusted_proxy_is_limited(
    proxied_server: RunningServer, slow_refill: SlowRefill
) -> None:
    """Behind a trusted proxy, each client address has its own limit. An address that the client itself wrote into
    `X-Forwarded-For` is ignored.
    """
    slow_refill("login")
    async with open_http(proxied_server.url) as http:

        async def login(forwarded: str) -> int:
            answer = await http.post("/v1/auth/login", json=LOGIN, headers={"X-Forwarded-For": forwarded})
            return answer.status_code

        assert [await login("198.51.100.1") for _ in range(11)][-1] == 429
        assert await login("198.51.100.2") == 401
        assert await login("203.0.113.9, 198.51.100.1") == 429


async def test_metrics_have_a_port_of_their_own(proxied_server: RunningServer) -> None:
    """The metrics port is on 127.0.0.1, requires no token and serves only `/metrics`. On the public port `/metrics`
    requires a token.
    """
    async with open_http() as http:
        metrics_url = proxied_server.ready_line()["metrics"]
        assert metrics_url.startswith("http://127.0.0.1:") and metrics_url.endswith("/metrics")
        assert "callout_zone_open" in (await http.get(metrics_url)).text
        assert (await http.get(metrics_url.replace("/metrics", "/v1/meta"))).status_code == 404
        assert (await http.get(f"{proxied_server.url}/metrics")).status_code == 401


async def test_only_the_owner_may_read_the_data_directory(proxied_server: RunningServer) -> None:
    """The database, its journal, the signing key and the lock have the mode 600, and the directories 700, with any
    umask.
    """
    data = Path(proxied_server.engine.settings.data)
    assert data.stat().st_mode & 0o777 == 0o700
    names = ("callout.db", "callout.db-wal", "callout.db-shm", "signing.key", "lock")
    assert {name: oct((data / name).stat().st_mode & 0o777) for name in names} == dict.fromkeys(names, "0o600")
    assert (data / "valkey").stat().st_mode & 0o777 == 0o700
    (data / "callout.db").chmod(0o644)
    datadir.make_files_private(data, "callout.db*")
    assert (data / "callout.db").stat().st_mode & 0o777 == 0o600
