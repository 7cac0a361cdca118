"""Web Push with a real push service on loopback: what a browser decrypts, what is refused, and what is tried again."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import trustme
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from engine.clock import now_ms
from engine.identity import devices
from engine.identity.push_subscriptions import Subscription, parse_subscription
from engine.process.vapid import open_vapid_key
from engine.runtime import Engine
from engine.sql.database import Archive
from engine.types import Principal
from engine.workers import push_delivery, web_push_client
from engine.workers.public_network import is_public
from engine.workers.push_delivery import PushMessage
from engine.workers.push_devices import PushQueue
from engine.workers.push_sender import PushSender
from engine.workers.web_push_client import shown_text
from engine.workers.web_push_encryption import MAX_TEXT_BYTES, encrypt_text
from engine.workers.web_push_sender import WebPushSender
from tests.faults.receiver import running_receiver
from tests.support import people
from tests.support.postgres import on_both_databases
from tests.support.push_service import (
    CREATED,
    Answer,
    PushService,
    Subscriber,
    from_base64url,
    running_push_service,
    to_base64url,
)
from tests.support.wait import wait_until

CONTACT = "mailto:ops@example.org"
AT = "2026-01-01T00:00:00.000Z"
NOTIFICATION = json.dumps({"at": AT, "notification": {"id": "ntf_1", "title": "Hi", "body": "Zoë", "job": "job_1"}})


@pytest.fixture(autouse=True)
def shorten_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_delivery, "RETRY_PAUSE_S", 0.01)


@asynccontextmanager
async def running_browsers(
    engine: Engine, answer: Callable[[int], Answer | None] = lambda _: CREATED, *, trusted: bool = True
) -> AsyncIterator[tuple[Engine, PushService, WebPushSender]]:
    """Run a push service and a sender that may reach it on loopback, if it is `trusted`."""
    async with running_push_service(answer) as service:
        origins = (service.origin,) if trusted else ()
        own = replace(engine, settings=msgspec.structs.replace(engine.settings, web_push_origins=origins))
        async with WebPushSender(own, CONTACT) as sender:
            yield own, service, sender


def message(to: Subscriber | str, kind: str = "notification", deadline: int = 0) -> PushMessage:
    """Return a push to one browser."""
    token = to if isinstance(to, str) else to.token
    return PushMessage(kind, NOTIFICATION.encode(), deadline, token=token)  # type: ignore[arg-type]


async def send(sender: WebPushSender, *messages: PushMessage) -> None:
    """Send the messages, and wait until each was sent or given up."""
    for each in messages:
        sender.queue_message(each)
    await sender.wait_until_sent()


def counted(engine: Engine, kind: str = "notification") -> dict[str, float]:
    """Return how many pushes to browsers had each outcome."""
    samples = (sample for family in engine.metrics.web_pushes.collect() for sample in family.samples)
    return {
        sample.labels["outcome"]: sample.value
        for sample in samples
        if sample.name.endswith("_total") and sample.labels["kind"] == kind
    }


def changed(**changes: str) -> str:
    """Return a subscription with wrong members."""
    right = json.loads(Subscriber("https://push.example/a").token)
    keys = {name: changes.get(name, value) for name, value in right["keys"].items()}
    return json.dumps({"endpoint": changes.get("endpoint", right["endpoint"]), "keys": keys})


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        ("tok:1", "no push subscription"),
        ('{"endpoint":"https://push.example/a"}', "no push subscription"),
        (changed(endpoint="http://push.example/a"), "no https"),
        (changed(endpoint="ftp://push.example/a"), "no https"),
        (changed(endpoint="https://user@push.example/a"), "no https"),
        (changed(endpoint="https://push.example/a#b"), "no https"),
        (changed(endpoint="https://push.example"), "no https"),
        (changed(endpoint="https://push.example:70000/"), "no https"),
        (changed(endpoint="https://push.example:0/"), "no https"),
        (changed(endpoint="https://pu\\sh.example/"), "no https"),
        (changed(endpoint="https://push.example/" + "a" * 2_048), "no https"),
        (changed(endpoint="http://127.0.0.1:99/a"), "no https"),
        (changed(auth=to_base64url(b"a" * 15)), "auth"),
        (changed(auth="é"), "auth"),
        (changed(p256dh=to_base64url(b"\x04" + b"a" * 64)), "p256dh"),
        (changed(p256dh=to_base64url(b"\x02" + b"a" * 32)), "p256dh"),
        (changed(p256dh=""), "p256dh"),
    ],
    ids=itertools.count(),  # the keys are random, and every worker must collect the same names
)
def test_a_wrong_subscription_is_refused(token: str, problem: str) -> None:
    """A subscription whose endpoint is no https address, or whose keys are none, is refused with the reason. A trusted
    origin excuses only itself.
    """
    with pytest.raises(ValueError, match=problem):
        parse_subscription(token, ("http://127.0.0.1:9",))
    assert parse_subscription(changed(endpoint="http://127.0.0.1:9/a"), ("http://127.0.0.1:9",)).origin


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "2001:0:1::1",
        "::a00:1",
    ],
)
def test_only_public_addresses_are_public(address: str) -> None:
    """Loopback, private, link-local, shared, multicast and embedded addresses are not public."""
    assert not is_public(address)
    assert (
        is_public("8.8.8.8")
        and is_public("64:ff9b::808:808")
        and is_public("2606:4700::1111")
        and is_public("::ffff:8.8.8.8")
    )


async def test_a_private_address_gets_no_connection(engine: Engine) -> None:
    """An endpoint at a private address, or whose name resolves to one, is refused before a connection is opened."""
    async with running_browsers(engine, trusted=False) as (own, service, sender):
        names = ("127.0.0.1", "localhost", "[::1]", "2130706433", "[::ffff:127.0.0.1]")
        await send(sender, *[message(Subscriber(f"https://{name}:{service.port}/a")) for name in names])
        await send(sender, message(service.subscribe()), message("tok:1"))
        await send(sender, *[message(Subscriber(f"https://{name}/a")) for name in ("a..b", "x" * 64 + ".example", "-")])
    assert (counted(own), service.connections) == ({"refused": 7, "failed": 3}, 0)


async def test_what_is_not_taken_is_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirect is not followed; 5xx and 429 are tried three times; a `Retry-After` that is too long ends the
    attempts; an endless reply is cut; an expired offer is not sent. A log line has no endpoint.
    """
    answers: list[Answer] = [
        (302, "Location: http://127.0.0.1:1/\r\nContent-Length: 0\r\n"),
        (429, "Retry-After: 60\r\nContent-Length: 0\r\n"),
        *[(503, "")] * 3,
        (413, ""),
    ]
    monkeypatch.setattr(push_delivery, "WORKER_COUNT", 1)
    with capture_logs() as logs:
        async with running_browsers(engine, lambda number: answers[number]) as (own, service, sender):
            async with asyncio.timeout(30):  # less than the pause that the service requests
                await send(sender, *[message(service.subscribe("secret"))] * 4)
            await send(sender, message(service.subscribe(), "offer", now_ms() - 1))
    assert (counted(own), len(service.arrived)) == ({"refused": 2, "failed": 2}, 6)
    assert counted(own, "offer") == {"late": 1} and "secret" not in repr(logs)
    endless = (201, "Transfer-Encoding: chunked\r\n")
    async with running_browsers(engine, lambda _: endless) as (own, service, sender):
        await send(sender, *[message(service.subscribe())] * 2)
    assert (counted(own)["sent"], service.connections) == (2, 2)


async def test_a_slow_push_service_delays_no_other(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push service that never answers delays one push to another service at most by one attempt. Once it answers, it
    is served like the others.
    """
    monkeypatch.setattr(push_delivery, "WORKER_COUNT", 1)
    monkeypatch.setattr(push_delivery, "TIMEOUT_S", 0.3)
    async with running_push_service() as other, running_browsers(engine, lambda _: None) as (own, silent, _):
        origins = (silent.origin, other.origin)
        both = replace(own, settings=msgspec.structs.replace(own.settings, web_push_origins=origins))
        async with WebPushSender(both, CONTACT) as sender:
            sender.queue_message(message(silent.subscribe()))
            await wait_until(lambda: len(silent.arrived) == 2, what="the second attempt")
            for to in (*[silent.subscribe()] * 20, other.subscribe()):
                sender.queue_message(message(to))
            await wait_until(lambda: counted(own).get("sent"), what="the push of the other service")
            assert counted(own).get("failed", 0) <= 1 and len(silent.arrived) <= 3
            silent.answer = lambda _: CREATED
            await sender.wait_until_sent()
    assert counted(own)["sent"] >= 20


async def test_the_certificate_of_a_push_service_is_checked(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A push service without a valid certificate for its name gets no push."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(tls)
    async with running_push_service(tls=tls) as service:
        names = [f"https://{host}:{service.port}" for host in ("127.0.0.1", "localhost")]
        own = replace(engine, settings=msgspec.structs.replace(engine.settings, web_push_origins=tuple(names)))
        async with WebPushSender(own, CONTACT) as sender:
            await send(sender, message(Subscriber(f"{names[1]}/a")))
        assert (counted(own), service.arrived) == ({"failed": 1}, [])
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        async with WebPushSender(own, CONTACT) as sender:
            await send(sender, message(Subscriber(f"{names[0]}/a")), message(Subscriber(f"{names[1]}/a")))
    assert (counted(own), len(service.arrived)) == ({"failed": 2, "sent": 1}, 1)


@on_both_databases
async def test_a_browser_that_has_ended_is_removed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a push service answers 404 or 410, that device is removed and no other one of the user, also if the database
    needs longer than an attempt.
    """
    monkeypatch.setattr(push_delivery, "TIMEOUT_S", 1.0)
    remove = devices.remove_ended_device

    async def remove_slowly(archive: Archive, token: str) -> None:
        await asyncio.sleep(1.1)
        await remove(archive, token)

    monkeypatch.setattr(devices, "remove_ended_device", remove_slowly)
    carla = await people.customer(engine)
    async with running_browsers(engine, lambda number: [CREATED, (410, ""), (404, ""), CREATED][number]) as running:
        own, service, sender = running
        for name in ("a", "b", "c"):
            token = service.subscribe(name).token
            await devices.put_device(own, carla, name, platform="webpush", token=token)
        async with PushQueue(own, None, sender) as queue:
            for _ in range(2):
                queue.queue_messages([PushMessage("notification", NOTIFICATION.encode(), user=carla.id)])
                await queue.wait_until_sent()
    to = (await devices.find_push_addresses(own.archive, [carla.id]))[carla.id]
    assert len(to.devices) == 1 and len(service.arrived) == 4
    assert counted(own) == {"sent": 2, "gone": 2}


async def test_a_browser_decrypts_its_push(engine: Engine) -> None:
    """A subscribed browser decrypts its push; no other one can. The token names the push service, the contact and an
    end within a day, and is signed by the key that the pages have. The receiver of pushes does not get the browser.
    """
    carla: Principal = await people.customer(engine)
    async with (
        running_receiver() as receiver,
        running_browsers(engine, lambda number: CREATED if number else (503, "")) as (own, service, sender),
        PushSender(receiver.url, "s", engine.metrics) as others,
        PushQueue(own, others, sender) as queue,
    ):
        browser = service.subscribe("x")
        await devices.put_device(own, carla, "browser", platform="webpush", token=browser.token)
        await devices.put_device(own, carla, "phone", platform="ios", token="t")
        body = json.loads(NOTIFICATION) | {"user": carla.id}
        queue.queue_messages([PushMessage("notification", json.dumps(body).encode(), user=carla.id)])
        await queue.wait_until_sent()
    assert [each["id"] for each in receiver.messages[0]["devices"]] == ["phone"]
    _, arrived = service.arrived
    shown = {"kind": "notification", "title": "Hi", "body": "Zoë", "job": "job_1", "at": AT}
    assert json.loads(browser.decrypt(arrived.body)) == shown and arrived.path == "/push/x"
    with pytest.raises(InvalidTag):
        service.subscribe().decrypt(arrived.body)
    claims = arrived.claims(service.origin, open_vapid_key(engine.signer, CONTACT).public_key)
    assert claims["sub"] == CONTACT and 0 < claims["exp"] - time.time() <= 86_400
    named = [arrived.headers[name] for name in ("content-encoding", "ttl", "urgency")]
    assert named == ["aes128gcm", "86400", "normal"] and counted(own) == {"sent": 1}


def test_an_offer_is_shown_short_enough() -> None:
    """A browser gets an offer's job, end and text; texts are cut, so that each push fits one record."""
    offer = {"job": {"id": "job_" + "a" * 26, "address": "x"}, "expires_at": AT}
    body = json.dumps({"at": AT, "offer": offer, "notice": {"title": "\x01" * 999, "body": "\x01" * 999}}).encode()
    text = shown_text(body)
    shown = json.loads(text)
    assert (shown["kind"], shown["job"], shown["until"]) == ("offer", offer["job"]["id"], AT)  # type: ignore[index]
    assert "address" not in shown and len(text) <= MAX_TEXT_BYTES
    assert (len(shown["title"]), len(shown["body"])) == (web_push_client.MAX_TITLE, web_push_client.MAX_TEXT)
    with pytest.raises(ValueError, match="bytes"):
        encrypt_text(b"a" * (MAX_TEXT_BYTES + 1), parse_subscription(changed()))
    assert len(encrypt_text(b"a" * MAX_TEXT_BYTES, parse_subscription(changed()))) == 4_096


def test_the_example_of_rfc_8291() -> None:
    """The encryption gives the body of RFC 8291, appendix A."""
    scalar = int.from_bytes(from_base64url("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), "big")
    theirs = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
    to = Subscription("", from_base64url(theirs), from_base64url("BTBZMqHH6r4Tts7J_aSIgg"))
    body = encrypt_text(
        b"When I grow up, I want to be a watermelon",
        to,
        key=ec.derive_private_key(scalar, ec.SECP256R1()),
        salt=from_base64url("DGv6ra1nlYgDCS1FRnbzlw"),
    )
    assert to_base64url(body) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl"
        "7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )
