"""Ops of a live session, on the real engine: what they do, what they answer, and that the push comes as well."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from engine.domain import jobs
from engine.errors import Indeterminate
from engine.process.settings import Settings
from engine.process.signer import sign_token
from engine.technicians import live
from engine.types import JobId, Principal
from server.schemas import frames as told
from tests.server.gateway.conftest import Client, Node, node_of
from tests.support import event_log, people

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@asynccontextmanager
async def connected(node: Node, who: Principal) -> AsyncIterator[Client]:
    """A live session of somebody whom the engine knows."""
    token = sign_token(node.engine.signer, who.id, who.role)
    async with node.raw() as client:
        client.hello = (await client.ask(op="connect", token=token))["ok"]  # type: ignore[attr-defined]
        yield client


async def push_of(client: Client, kind: str) -> dict[str, object]:
    """The next push of this type."""
    while True:
        push = await client.push()
        if push["type"] == kind:
            return push


class Scene:
    """A customer's job that two technicians were offered."""

    def __init__(self, node: Node, customer: Principal, tom: Principal, una: Principal, job: JobId) -> None:
        self.node, self.customer, self.tom, self.una, self.job = node, customer, tom, una, job


@pytest.fixture
async def scene(node: Node) -> Scene:
    engine = node.engine
    serves, customer = await people.service(engine), await people.customer(engine)
    fit = [await people.technician(engine, name, serves) for name in ("tom", "una")]
    for who in fit:
        await node.token(who.id, "technician")
    return Scene(node, customer, fit[0], fit[1], await people.offered(engine, customer, serves))


async def test_claim(scene: Scene) -> None:
    """A claim is answered with the job, and both sides hear of it; the other technician is told taken."""
    node = scene.node
    async with (
        connected(node, scene.tom) as tom,
        connected(node, scene.una) as una,
        connected(node, scene.customer) as customer,
    ):
        ok = (await tom.ask(op="claim", job=scene.job))["ok"]
        assert (ok["job"]["status"], ok["message"]) == ("accepted", "Job accepted")
        assert uuid.UUID(ok["key"])
        assert "repeated" not in ok
        accepted = await push_of(customer, "job.accepted")
        assert (accepted["event"], accepted["seq"]) == ("job_accepted", ok["seq"])
        assert (await push_of(una, "offer.closed"))["event"] == "job_taken"
        error = (await una.ask(op="claim", job=scene.job))["error"]
        assert (error["code"], error["status"], error["title"]) == ("taken", 409, "Booking already taken")


async def test_claim_repeated(scene: Scene) -> None:
    """The same claim with its key gives the same answer, says so, and names no key that the client knows."""
    async with connected(scene.node, scene.tom) as tom:
        key = str(uuid.uuid4())
        first = (await tom.ask(op="claim", job=scene.job, key=key))["ok"]
        again = (await tom.ask(op="claim", job=scene.job, key=key))["ok"]
        assert again == first | {"repeated": True}
        assert "key" not in first
        other = await tom.ask(op="decline", job=scene.job, key=key)
        assert other["error"]["code"] == "reused_key"


async def test_decline_and_command(scene: Scene) -> None:
    """Decline and the steps of the blueprint go through the socket as over HTTP."""
    async with connected(scene.node, scene.tom) as tom, connected(scene.node, scene.una) as una:
        assert "seq" in (await una.ask(op="decline", job=scene.job, reason="too far"))["ok"]
        await tom.ask(op="claim", job=scene.job)
        ok = (await tom.ask(op="command", job=scene.job, command="depart"))["ok"]
        assert ok["job"]["status"] == "on_the_way"
        error = (await tom.ask(op="command", job=scene.job, command="arrive", version=1))["error"]
        assert (error["code"], error["status"]) == ("version_conflict", 412)
        assert error["job"]["status"] == "on_the_way"
        error = (await tom.ask(op="command", job=scene.job, command="nonsense"))["error"]
        assert error["code"] == "not_found"


@pytest.mark.parametrize("bad", ["", "00-nonsense", TRACE.upper(), f"{TRACE}\n", 7])
async def test_a_wrong_trace_is_refused_by_name(scene: Scene, bad: object) -> None:
    """It is a wrong value, told with its pointer: nothing is done, and the session lives on."""
    async with connected(scene.node, scene.tom) as tom:
        for op in ({"op": "claim"}, {"op": "decline"}, {"op": "command", "command": "claim"}):
            error = (await tom.ask(**op, job=scene.job, trace=bad))["error"]
            assert (error["code"], [wrong["pointer"] for wrong in error["errors"]]) == ("invalid", ["/trace"])
        assert "ok" in await tom.ask(op="claim", job=scene.job)


async def test_a_trace_goes_with_the_event(scene: Scene) -> None:
    """What a claim, a decline or a command says of its trace is kept with its event; without one there is none."""
    async with connected(scene.node, scene.tom) as tom, connected(scene.node, scene.una) as una:
        asked = (
            (una, {"op": "decline", "trace": TRACE[:-1] + "2"}),
            (tom, {"op": "claim", "trace": TRACE}),
            (tom, {"op": "command", "command": "depart"}),
            (tom, {"op": "command", "command": "arrive", "trace": TRACE[:-1] + "3"}),
        )
        seqs = [(await who.ask(job=scene.job, **op))["ok"]["seq"] for who, op in asked]
    kept = {event.seq: event.trace for event in await event_log.events(scene.node.engine)}
    assert [kept[seq] for seq in seqs] == [op.get("trace", "") for _, op in asked]


async def test_availability_and_location(scene: Scene) -> None:
    """Availability answers what blocks offers; a fix without an id is taken without a word."""
    async with connected(scene.node, scene.tom) as tom:
        ok = (await tom.ask(op="availability", online=False))["ok"]
        assert (ok["online"], ok["blockers"]) == (False, ["offline"])
        heard = (await tom.ask(op="location", lat=40.75, lon=-73.99))["ok"]
        assert heard == {"online": False, "clock_offset_s": 0.0}
        gone = next(push for push in tom.pushes if push["type"] == "technician.status")
        assert (gone["data"]["online"], gone["data"]["reason"]) == (False, "self")
        ok = (await tom.ask(op="availability", online=True, lat=40.75, lon=-73.99))["ok"]
        assert ok["online"] is True
        await tom.send({"op": "location", "lat": 40.7501, "lon": -73.99})
        fixes = [{"lat": 40.7502, "lon": -73.99, "at": "2026-01-31T12:00:00.000Z"}]
        assert (await tom.ask(op="location", fixes=fixes))["ok"] == {}
    async with connected(scene.node, scene.customer) as customer:
        assert (await customer.ask(op="availability", online=True))["error"]["code"] == "forbidden"


async def test_a_technician_who_connects_is_told_whether_they_are_online(scene: Scene) -> None:
    """Asleep past the lease, they would not know otherwise; the reply keeps its promised shape, a customer's too."""
    for online in (True, False):
        await live.set_availability(scene.node.engine, scene.tom, scene.tom.id, online=online)
        async with connected(scene.node, scene.tom) as tom:
            hello = msgspec.json.decode(msgspec.json.encode(tom.hello), type=told.Connected)  # type: ignore[attr-defined]
            assert hello.online is online and hello.clock_offset_s is None
    async with connected(scene.node, scene.customer) as customer:
        hello = msgspec.json.decode(msgspec.json.encode(customer.hello), type=told.Connected)  # type: ignore[attr-defined]
        assert hello.online is None


async def test_subscribe_to_a_job(scene: Scene) -> None:
    """A participant gets the present state and the seq from which he hears; who was only offered it does not."""
    async with connected(scene.node, scene.customer) as customer, connected(scene.node, scene.una) as una:
        channel = f"job:{scene.job}"
        ok = (await customer.ask(op="subscribe", channel=channel))["ok"]
        assert (ok["channel"], ok["zone"], ok["job"]["id"]) == (channel, "main", scene.job)
        assert ok["seq"] <= scene.node.gateway.relay.tails[ok["zone"]].cursor
        assert (await una.ask(op="subscribe", channel=channel))["error"]["code"] == "not_found"
        seq = await scene.node.append(channel)
        assert (await push_of(customer, "test.event"))["seq"] == seq


async def test_a_command_outlives_its_session(scene: Scene) -> None:
    """A claim that was sent is done although its client is gone before it is answered."""
    async with connected(scene.node, scene.customer) as customer:
        async with connected(scene.node, scene.tom) as tom:
            await tom.send({"id": 1, "op": "claim", "job": scene.job})
            tom.socket.transport.abort()
        assert (await push_of(customer, "job.accepted"))["event"] == "job_accepted"


async def test_limits(settings: Settings) -> None:
    """Over its limit an op is rate_limited with the time to wait, and the session lives on."""
    async with node_of(msgspec.structs.replace(settings, limits="on")) as node, node.client("tom", "technician") as tom:
        replies = [await tom.ask(op="claim", job="job_main_" + "0" * 26) for _ in range(15)]
        codes = [reply["error"]["code"] for reply in replies]
        assert codes[:10] == ["not_found"] * 10 or "profile_incomplete" in codes
        refused = replies[codes.index("rate_limited")]["error"]
        assert (refused["status"], refused["temporary"]) == (429, True)
        assert refused["retry_after"] > 0
        assert "ok" in await tom.ask(op="ping")


async def test_a_claim_by_its_long_name_counts_as_one(settings: Settings) -> None:
    """`command claim` spends the meter of claims, like `claim`."""
    async with node_of(msgspec.structs.replace(settings, limits="on")) as node, node.client("tom", "technician") as tom:
        job = "job_main_01arz3ndektsv4rrffq69g5fav"
        for number in range(15):
            await tom.send({"id": f"c{number}", "op": "command", "command": "claim", "job": job})
        codes = [(await tom.receive())["error"]["code"] for _ in range(15)]
        assert codes.count("rate_limited") >= 3


async def test_a_key_made_here_is_named(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gives no key is told the one that was made, in each keyed reply and in a 504, so that he can repeat."""
    async with connected(scene.node, scene.tom) as tom:
        told = (await tom.ask(op="availability", online=True))["ok"]
        again = (await tom.ask(op="availability", online=True, key=told["key"]))["ok"]
        assert (again["online"], "key" in again) == (True, False)
        claimed = (await tom.ask(op="claim", job=scene.job))["ok"]
        assert (await tom.ask(op="claim", job=scene.job, key=claimed["key"]))["ok"]["repeated"] is True

        async def lost(*_: object, **__: object) -> None:
            raise Indeterminate

        monkeypatch.setattr(jobs, "run_command", lost)
        made = (await tom.ask(op="command", job=scene.job, command="depart"))["error"]
        assert (made["code"], made["key"]) == ("indeterminate", str(uuid.UUID(made["key"])))
        key = str(uuid.uuid4())
        assert (await tom.ask(op="command", job=scene.job, command="depart", key=key))["error"]["key"] == key


async def test_a_remembered_refusal_says_so(scene: Scene) -> None:
    """The first verdict given again is marked, where it was a refusal too."""
    async with connected(scene.node, scene.tom) as tom:
        key = str(uuid.uuid4())
        first, second = [await tom.ask(op="command", job=scene.job, command="depart", key=key) for _ in range(2)]
        assert first["error"]["code"] == second["error"]["code"]
        assert ("repeated" in first["error"], second["error"]["repeated"]) == (False, True)
