"""How much one caller may ask, on a server whose limits are on."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from engine.identity import limits
from engine.process import datadir
from engine.process.settings import Settings
from engine.types import Role
from server.serve import Running, running
from tests.conftest import SlowRefill
from tests.server.http import people
from tests.server.http.client import HERE, Client, code_of
from tests.support import clock

Somebody = Callable[[Role | None], Client]

LOGIN = {"email": "ada@example.org", "password": "wrong horse"}


@pytest.fixture(scope="module")
async def has_limits(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A server with limits."""
    data = str(tmp_path_factory.mktemp("limited"))
    async with running(Settings(data=data, port=0)) as server:
        yield server


@pytest.fixture(scope="module")
async def somebody(limited: Running) -> AsyncIterator[Somebody]:
    """Makes a principal of a role on that server; without a role, nobody."""
    async with httpx.AsyncClient(base_url=limited.url, timeout=10, trust_env=False) as http:

        def of(role: Role | None) -> Client:
            return Client(http) if role is None else people.principal(limited, http, role)

        yield of


def test_what_may_be_asked() -> None:
    """The rates that docs/protocol.md promises; the tests below stretch them."""
    promised = {"requests": (20, 1), "claims": (10, 1), "chat": (100, 60), "fixes": (2, 1), "login": (10, 60)}
    assert {limit.name: (limit.count, limit.per_s) for limit in limits.LIMITS.values()} == promised


async def test_over_the_limit_is_429(limited: Running, somebody: Somebody, slow_refill: SlowRefill) -> None:
    """A burst of 20 requests passes; more are refused with when to come back, and acted on by nobody. Then one may."""
    slow_refill("requests")
    admin = somebody("admin")
    body = {"name": "S", "category": "x", "base_amount": 1, "currency": "EUR", "pricing": "flat"}
    answers = await asyncio.gather(*(admin("POST", "/v1/services", body) for _ in range(25)))
    refused = [answer for answer in answers if answer.status_code != 201]
    assert len(refused) == 5
    for answer in refused:
        assert code_of(answer) == (429, "rate_limited")
        assert answer.json()["retry_after"] <= int(answer.headers["retry-after"]) <= 3600 / 20
        assert answer.headers["ratelimit-policy"] == '"requests";q=20;w=3600'
        assert answer.headers["ratelimit"].startswith('"requests";r=0;t=')
    await clock.advance(limited.engine, 3600 / 20)
    assert [(await admin("POST", "/v1/services", body)).status_code for _ in range(2)] == [201, 429]


async def test_one_caller_does_not_spend_anothers(somebody: Somebody, slow_refill: SlowRefill) -> None:
    """Meters are by user: ops go on while the mediator is refused."""
    slow_refill("requests")
    mediator, ops = somebody("mediator"), somebody("ops_manager")
    answers = await asyncio.gather(*(mediator("GET", "/v1/services") for _ in range(21)))
    assert [answer.status_code for answer in answers].count(429) == 1
    assert (await ops("GET", "/v1/services")).status_code == 200


async def test_answers_say_what_is_left(somebody: Somebody) -> None:
    """Good answers and refusals of other kinds carry the quota and the rest."""
    service = somebody("service")
    for path in ("/v1/services", "/v1/services?colour=red"):
        answer = await service("GET", path)
        assert answer.headers["ratelimit-policy"] == '"requests";q=20;w=1'
        assert answer.headers["ratelimit"].startswith('"requests";r=1')


async def test_claims_have_a_meter_of_their_own(somebody: Somebody, slow_refill: SlowRefill) -> None:
    """Ten claims at once, counted apart from other requests, whatever becomes of them."""
    slow_refill("claims")
    technician = somebody("technician")
    path = "/v1/jobs/job_main_01jb4zqk3m8r5t7v9x2c6d8f0g/claim"
    answers = await asyncio.gather(*(technician("POST", path) for _ in range(16)))
    codes = [code_of(answer)[1] for answer in answers]
    assert set(codes) == {"profile_incomplete", "rate_limited"}
    assert codes.count("profile_incomplete") == 10
    assert (await technician("GET", "/v1/services")).status_code == 200


async def test_fixes_have_a_meter_of_their_own(somebody: Somebody, slow_refill: SlowRefill) -> None:
    """Two fixes at once."""
    slow_refill("fixes")
    technician = somebody("technician")
    path = "/v1/technicians/cli_technician/location"
    answers = await asyncio.gather(*(technician("PUT", path, HERE) for _ in range(6)))
    assert sum(answer.status_code == 429 for answer in answers) == 4


async def test_logins_are_limited_by_address_and_account(somebody: Somebody, slow_refill: SlowRefill) -> None:
    """Ten attempts at one account, however its name is spelt; another account is not touched."""
    slow_refill("login")
    nobody = somebody(None)
    codes = []
    wide = "".join(chr(ord(char) + 0xFEE0) for char in LOGIN["email"])
    spellings = (LOGIN["email"].upper(), f" {LOGIN['email']} ", wide)
    for n in range(12):
        email = spellings[n % 3]
        codes.append(code_of(await nobody("POST", "/v1/auth/login", {**LOGIN, "email": email}))[1])
    assert codes == ["unauthenticated"] * 10 + ["rate_limited"] * 2
    other = {**LOGIN, "email": f"{uuid.uuid4().hex}@example.org"}
    assert code_of(await nobody("POST", "/v1/auth/login", other)) == (401, "unauthenticated")


async def test_health_is_never_limited(somebody: Somebody) -> None:
    """Probes may come as often as they like."""
    answers = await asyncio.gather(
        *(somebody(None)("GET", path) for path in ("/healthz", "/readyz") for _ in range(40))
    )
    assert {answer.status_code for answer in answers} == {200}


async def test_an_address_in_a_header_is_not_believed(somebody: Somebody, slow_refill: SlowRefill) -> None:
    """Who writes another ``X-Forwarded-For`` into each guess has ten all the same."""
    slow_refill("login")
    codes = []
    for number in range(12):
        here = {"X_Forwarded_For": f"198.51.100.{number}"}
        codes.append(
            (await somebody(None)("POST", "/v1/auth/login", LOGIN | {"email": "xff@x.org"}, **here)).status_code
        )
    assert codes == [401] * 10 + [429] * 2


@pytest.fixture(scope="module")
async def behind(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A server behind a proxy on this machine, with a port for its metrics."""
    data = str(tmp_path_factory.mktemp("behind") / "data")
    proxied = Settings(data=data, port=0, trusted_proxies=("127.0.0.1",), metrics_port=0)
    async with running(proxied) as server:
        yield server


async def test_the_address_that_a_trusted_proxy_gives_is_metered(behind: Running, slow_refill: SlowRefill) -> None:
    """Each of its clients has a limit of its own; an address that the client itself wrote before it counts nothing."""
    slow_refill("login")
    async with httpx.AsyncClient(base_url=behind.url, trust_env=False) as http:

        async def login(forwarded: str) -> int:
            answer = await http.post("/v1/auth/login", json=LOGIN, headers={"X-Forwarded-For": forwarded})
            return answer.status_code

        assert [await login("198.51.100.1") for _ in range(11)][-1] == 429
        assert await login("198.51.100.2") == 401
        assert await login("203.0.113.9, 198.51.100.1") == 429


async def test_metrics_have_a_port_of_their_own(behind: Running) -> None:
    """There, on this machine alone, they need no token, and nothing else is served; on the public port they do."""
    async with httpx.AsyncClient(trust_env=False) as http:
        told = behind.ready_line()["metrics"]
        assert told.startswith("http://127.0.0.1:") and told.endswith("/metrics")
        assert "callout_zone_open" in (await http.get(told)).text
        assert (await http.get(told.replace("/metrics", "/v1/meta"))).status_code == 404
        assert (await http.get(f"{behind.url}/metrics")).status_code == 401


async def test_what_is_in_the_data_directory_is_its_owners_alone(behind: Running) -> None:
    """Database, its journal, key, append-only file and logs: nobody else reads them, whatever the umask."""
    data = Path(behind.engine.settings.data)
    assert data.stat().st_mode & 0o777 == 0o700
    names = ("callout.db", "callout.db-wal", "callout.db-shm", "signing.key", "lock")
    assert {name: oct((data / name).stat().st_mode & 0o777) for name in names} == dict.fromkeys(names, "0o600")
    assert (data / "valkey").stat().st_mode & 0o777 == 0o700
    (data / "callout.db").chmod(0o644)
    datadir.make_files_private(data, "callout.db*")
    assert (data / "callout.db").stat().st_mode & 0o777 == 0o600
