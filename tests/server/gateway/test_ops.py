"""The ops of a session on the real engine: their effect, their reply, and the event that follows."""

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
from server.schemas import frames
from tests.server.gateway.conftest import Client, Node, running_node
from tests.support import event_log, people

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@asynccontextmanager
async def connect_as(node: Node, who: Principal) -> AsyncIterator[Client]:
    """Open a socket and connect it as ``who``, whom the engine knows."""
    token = sign_token(node.engine.signer, who.id, who.role)
    async with node.open_socket() as client:
        client.hello = (await client.request(op="connect", token=token))["ok"]  # type: ignore[attr-defined]
        yield client


async def next_push_of(client: Client, push_type: str) -> dict[str, object]:
    """Return the next push of this type. Other pushes before it are dropped."""
    while True:
        push = await client.next_push()
        if push["type"] == push_type:
            return push


class OfferedJob:
    """A job of a customer that was offered to the two technicians ``tom`` and ``una``."""

    def __init__(self, node: Node, customer: Principal, tom: Principal, una: Principal, job: JobId) -> None:
        self.node, self.customer, self.tom, self.una, self.job = node, customer, tom, una, job


@pytest.fixture
async def offered_job(node: Node) -> OfferedJob:
    """Create the customer, the two technicians and the offered job."""
    engine = node.engine
    service, customer = await people.service(engine), await people.customer(engine)
    fit = [await people.technician(engine, name, service) for name in ("tom", "una")]
    for who in fit:
        await node.token(who.id, "technician")
    return OfferedJob(node, customer, fit[0], fit[1], await people.offered_job(engine, customer, service))


async def test_claim(offered_job: OfferedJob) -> None:
    """A claim is answered with the job. The customer receives `job.accepted`, and the claim of the other technician is
    refused with `taken`.
    """
    node = offered_job.node
    async with (
        connect_as(node, offered_job.tom) as tom,
        connect_as(node, offered_job.una) as una,
        connect_as(node, offered_job.customer) as customer,
    ):
        ok = (await tom.request(op="claim", job=offered_job.job))["ok"]
        assert (ok["job"]["status"], ok["message"]) == ("accepted", "Job accepted")
        assert uuid.UUID(ok["key"])
        assert "repeated" not in ok
        accepted = await next_push_of(customer, "job.accepted")
        assert (accepted["event"], accepted["seq"]) == ("job_accepted", ok["seq"])
        assert (await next_push_of(una, "offer.closed"))["event"] == "job_taken"
        error = (await una.request(op="claim", job=offered_job.job))["error"]
        assert (error["code"], error["status"], error["title"]) == ("taken", 409, "Booking already taken")


async def test_claim_repeated(offered_job: OfferedJob) -> None:
    """A claim that is repeated with its key gets the same reply with `repeated`. The reply has no `key`, because the
    client sent it. Another op under that key is refused with `reused_key`.
    """
    async with connect_as(offered_job.node, offered_job.tom) as tom:
        key = str(uuid.uuid4())
        first = (await tom.request(op="claim", job=offered_job.job, key=key))["ok"]
        again = (await tom.request(op="claim", job=offered_job.job, key=key))["ok"]
        assert again == first | {"repeated": True}
        assert "key" not in first
        other = await tom.request(op="decline", job=offered_job.job, key=key)
        assert other["error"]["code"] == "reused_key"


async def test_decline_and_command(offered_job: OfferedJob) -> None:
    """The ops `decline` and `command` have the same effect and the same refusals as over HTTP."""
    async with (
        connect_as(offered_job.node, offered_job.tom) as tom,
        connect_as(offered_job.node, offered_job.una) as una,
    ):
        assert "seq" in (await una.request(op="decline", job=offered_job.job, reason="too far"))["ok"]
        await tom.request(op="claim", job=offered_job.job)
        ok = (await tom.request(op="command", job=offered_job.job, command="depart"))["ok"]
        assert ok["job"]["status"] == "on_the_way"
        error = (await tom.request(op="command", job=offered_job.job, command="arrive", version=1))["error"]
        assert (error["code"], error["status"]) == ("version_conflict", 412)
        assert error["job"]["status"] == "on_the_way"
        error = (await tom.request(op="command", job=offered_job.job, command="nonsense"))["error"]
        assert error["code"] == "not_found"


@pytest.mark.parametrize("bad", ["", "00-nonsense", TRACE.upper(), f"{TRACE}\n", 7])
async def test_a_wrong_trace_is_refused_with_its_pointer(offered_job: OfferedJob, bad: object) -> None:
    """A wrong `trace` is refused with `invalid` and the pointer `/trace`. Nothing is done, and the session remains
    open.
    """
    async with connect_as(offered_job.node, offered_job.tom) as tom:
        for op in ({"op": "claim"}, {"op": "decline"}, {"op": "command", "command": "claim"}):
            error = (await tom.request(**op, job=offered_job.job, trace=bad))["error"]
            assert (error["code"], [wrong["pointer"] for wrong in error["errors"]]) == ("invalid", ["/trace"])
        assert "ok" in await tom.request(op="claim", job=offered_job.job)


async def test_a_trace_is_stored_with_the_event(offered_job: OfferedJob) -> None:
    """The `trace` of a claim, a decline or a command is stored with its event. Without a trace the event has
    none ("").
    """
    async with (
        connect_as(offered_job.node, offered_job.tom) as tom,
        connect_as(offered_job.node, offered_job.una) as una,
    ):
        sent_ops = (
            (una, {"op": "decline", "trace": TRACE[:-1] + "2"}),
            (tom, {"op": "claim", "trace": TRACE}),
            (tom, {"op": "command", "command": "depart"}),
            (tom, {"op": "command", "command": "arrive", "trace": TRACE[:-1] + "3"}),
        )
        seqs = [(await who.request(job=offered_job.job, **op))["ok"]["seq"] for who, op in sent_ops]
    trace_of_seq = {event.seq: event.trace for event in await event_log.events(offered_job.node.engine)}
    assert [trace_of_seq[seq] for seq in seqs] == [op.get("trace", "") for _, op in sent_ops]


async def test_availability_and_location(offered_job: OfferedJob) -> None:
    """The reply to `availability` contains the reasons that block offers. A fix without an id gets no reply. A customer
    may not use `availability`.
    """
    async with connect_as(offered_job.node, offered_job.tom) as tom:
        ok = (await tom.request(op="availability", online=False))["ok"]
        assert (ok["online"], ok["blockers"]) == (False, ["offline"])
        reply = (await tom.request(op="location", lat=40.75, lon=-73.99))["ok"]
        assert reply == {"online": False, "clock_offset_s": 0.0}
        status_push = next(push for push in tom.pushes if push["type"] == "technician.status")
        assert (status_push["data"]["online"], status_push["data"]["reason"]) == (False, "self")
        ok = (await tom.request(op="availability", online=True, lat=40.75, lon=-73.99))["ok"]
        assert ok["online"] is True
        await tom.send({"op": "location", "lat": 40.7501, "lon": -73.99})
        fixes = [{"lat": 40.7502, "lon": -73.99, "at": "2026-01-31T12:00:00.000Z"}]
        assert (await tom.request(op="location", fixes=fixes))["ok"] == {}
    async with connect_as(offered_job.node, offered_job.customer) as customer:
        assert (await customer.request(op="availability", online=True))["error"]["code"] == "forbidden"


async def test_the_connect_reply_says_whether_a_technician_is_online(offered_job: OfferedJob) -> None:
    """The reply to `connect` contains `online` for a technician, whose lease may have ended without notice. For a
    customer `online` is missing.
    """
    for online in (True, False):
        await live.set_availability(offered_job.node.engine, offered_job.tom, offered_job.tom.id, online=online)
        async with connect_as(offered_job.node, offered_job.tom) as tom:
            hello = msgspec.json.decode(msgspec.json.encode(tom.hello), type=frames.ConnectReply)  # type: ignore[attr-defined]
            assert hello.online is online and hello.clock_offset_s is None
    async with connect_as(offered_job.node, offered_job.customer) as customer:
        hello = msgspec.json.decode(msgspec.json.encode(customer.hello), type=frames.ConnectReply)  # type: ignore[attr-defined]
        assert hello.online is None


async def test_subscribe_to_a_job(offered_job: OfferedJob) -> None:
    """A participant who subscribes to a job gets its present state, and the seq after which its events arrive. A
    technician who only has an offer is refused with `not_found`.
    """
    async with (
        connect_as(offered_job.node, offered_job.customer) as customer,
        connect_as(offered_job.node, offered_job.una) as una,
    ):
        channel = f"job:{offered_job.job}"
        ok = (await customer.request(op="subscribe", channel=channel))["ok"]
        assert (ok["channel"], ok["zone"], ok["job"]["id"]) == (channel, "main", offered_job.job)
        assert ok["seq"] <= offered_job.node.gateway.relay.tails[ok["zone"]].cursor
        assert (await una.request(op="subscribe", channel=channel))["error"]["code"] == "not_found"
        seq = await offered_job.node.append(channel)
        assert (await next_push_of(customer, "test.event"))["seq"] == seq


async def test_a_command_outlives_its_session(offered_job: OfferedJob) -> None:
    """A claim is executed even if its client disconnects before the reply."""
    async with connect_as(offered_job.node, offered_job.customer) as customer:
        async with connect_as(offered_job.node, offered_job.tom) as tom:
            await tom.send({"id": 1, "op": "claim", "job": offered_job.job})
            tom.socket.transport.abort()
        assert (await next_push_of(customer, "job.accepted"))["event"] == "job_accepted"


async def test_too_many_claims_are_rate_limited(settings: Settings) -> None:
    """An op over its limit is refused with `rate_limited` and `retry_after`, and the session remains open."""
    async with (
        running_node(msgspec.structs.replace(settings, limits="on")) as node,
        node.connect("tom", "technician") as tom,
    ):
        replies = [await tom.request(op="claim", job="job_main_" + "0" * 26) for _ in range(15)]
        codes = [reply["error"]["code"] for reply in replies]
        assert codes[:10] == ["not_found"] * 10 or "profile_incomplete" in codes
        refused = replies[codes.index("rate_limited")]["error"]
        assert (refused["status"], refused["temporary"]) == (429, True)
        assert refused["retry_after"] > 0
        assert "ok" in await tom.request(op="ping")


async def test_the_command_claim_counts_as_a_claim(settings: Settings) -> None:
    """The op `command` with the command `claim` counts towards the limit of claims."""
    async with (
        running_node(msgspec.structs.replace(settings, limits="on")) as node,
        node.connect("tom", "technician") as tom,
    ):
        job = "job_main_01arz3ndektsv4rrffq69g5fav"
        for number in range(15):
            await tom.send({"id": f"c{number}", "op": "command", "command": "claim", "job": job})
        codes = [(await tom.receive())["error"]["code"] for _ in range(15)]
        assert codes.count("rate_limited") >= 3


async def test_a_generated_key_is_returned(offered_job: OfferedJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a client sends no key, each reply of a keyed op, also the refusal `indeterminate` (504), contains the
    generated key, so that the client can repeat the op.
    """
    async with connect_as(offered_job.node, offered_job.tom) as tom:
        reply = (await tom.request(op="availability", online=True))["ok"]
        again = (await tom.request(op="availability", online=True, key=reply["key"]))["ok"]
        assert (again["online"], again["repeated"], "key" in again, "repeated" in reply) == (True, True, False, False)
        claimed = (await tom.request(op="claim", job=offered_job.job))["ok"]
        assert (await tom.request(op="claim", job=offered_job.job, key=claimed["key"]))["ok"]["repeated"] is True

        async def lose_reply(*_: object, **__: object) -> None:
            raise Indeterminate

        monkeypatch.setattr(jobs, "run_command", lose_reply)
        error = (await tom.request(op="command", job=offered_job.job, command="depart"))["error"]
        assert (error["code"], error["key"]) == ("indeterminate", str(uuid.UUID(error["key"])))
        key = str(uuid.uuid4())
        assert (await tom.request(op="command", job=offered_job.job, command="depart", key=key))["error"]["key"] == key


async def test_a_repeated_refusal_is_marked(offered_job: OfferedJob) -> None:
    """A refusal that is returned again for the same key has `repeated`."""
    async with connect_as(offered_job.node, offered_job.tom) as tom:
        key = str(uuid.uuid4())
        first, second = [
            await tom.request(op="command", job=offered_job.job, command="depart", key=key) for _ in range(2)
        ]
        assert first["error"]["code"] == second["error"]["code"]
        assert ("repeated" in first["error"], second["error"]["repeated"]) == (False, True)
