"""The caller's devices, to which pushes are sent."""

from __future__ import annotations

from engine.identity import devices
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import NoBody, NoQuery
from server.schemas.devices import PutDevice


async def put(call: RequestContext[PutDevice, NoQuery]) -> Response:
    """Store a device with its push token; pushes to the caller contain it from now on. The id is the client's own name
    for the device. A token that another user or device had is taken from it. A user has at most 20 devices: one more
    replaces the device whose token was sent longest ago. On the platform `webpush` the token is the JSON of a browser's
    push subscription.
    """
    body = call.body
    done = await devices.put_device(
        call.engine, call.caller, call.id, platform=body.platform, token=body.token, key=call.key
    )
    return responses.stored_response("device", done)


async def remove(call: RequestContext[NoBody, NoQuery]) -> Response:
    """Remove one of the caller's devices: no later push contains its token."""
    done = await devices.remove_device(call.engine, call.caller, call.id, key=call.key)
    return Response(headers=responses.replay_headers(done))
