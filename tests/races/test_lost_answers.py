"""The network between a client and the server loses a reply, and the client repeats the request with its key (G2)."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from websockets.exceptions import ConnectionClosed

from server.serve import RunningServer
from tests.support import event_log, people
from tests.support.http import open_http
from tests.support.proxy import Proxy
from tests.support.socket_client import SocketClient, token


async def test_a_claim_whose_reply_is_lost_has_the_same_reply_on_any_transport(server: RunningServer) -> None:
    """A claim whose reply is lost on the socket, and which is repeated with the same key on a new socket and by HTTP,
    has the same reply each time and one event.
    """
    engine = server.engine
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    bearer, key = await token(engine, tom), str(uuid.uuid4())
    follower = await SocketClient(server.ws_url, await token(engine, carla)).open()
    async with Proxy(server.url) as between:
        socket = await SocketClient(between.url.replace("redis", "ws") + "/v1/ws", bearer).open()
        job = people.id_of(await people.job(engine, carla, service))
        await socket.wait_for("new_job_broadcast", job)
        between.drop_next = b'"message":"Job accepted"'
        with pytest.raises((asyncio.CancelledError, ConnectionClosed)):
            await socket.claim(job, key)
        assert between.dropped == 1
        await socket.open()
        again = await socket.claim(job, key)
        await socket.close()
    assert again["repeated"] is True and again["ok"]["message"] == "Job accepted"
    async with open_http(server.url) as http:
        headers = {"Authorization": f"Bearer {bearer}", "Idempotency-Key": key}
        by_http = await http.post(f"/v1/jobs/{job}/claim", json={}, headers=headers)
    assert by_http.status_code == 200 and by_http.headers["idempotency-replayed"] == "true"
    assert by_http.json()["job"] == again["ok"]["job"]
    await follower.wait_for("job_accepted", job)
    assert len(await event_log.events(engine, "job.accepted", job)) == 1
    assert len(follower.received("job_accepted", job)) == 1 and len(socket.received("job_accepted", job)) == 1
    await follower.close()
