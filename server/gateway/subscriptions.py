"""Subscriptions to channels that are not the user's own: to the live events of a job, to the presence of a user, and,
for ops, to a whole zone or its map.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from engine.domain import job_queries
from engine.errors import CalloutError, FieldError, Forbidden, Invalid, NotFound, Unavailable
from engine.rules import job_document
from engine.rules.boxes import LAYERS, MapBox
from engine.types import Principal, Zone, is_id, zone_of
from engine.zone import log
from server.gateway.gateway import Gateway
from server.gateway.map_view import ViewOptions
from server.gateway.presence_feed import PRESENCE_PREFIX
from server.gateway.session import Session
from server.gateway.zone_maps import CHANNEL_PREFIX
from server.gateway.zone_stream import MAX_WAIT_S, ZoneStream
from server.schemas import ops

MAX_MAPS = 4
"""The most maps at which one session may look."""
ADDRESSED_CHANNEL_KINDS = frozenset({"user", "role", "room"})
"""Channels that events are addressed to and nobody subscribes to."""


async def subscribe(gateway: Gateway, session: Session, op: ops.Subscribe) -> dict[str, Any]:
    """Add the channel to the session, and return the present state and the seq after which the channel's events arrive.

    The state is read again after the channel was added. So it includes every event that the session did not receive,
    and a right that was lost in between is not granted.
    """
    caller = session.caller
    if op.channel.startswith(PRESENCE_PREFIX):
        user = op.channel.removeprefix(PRESENCE_PREFIX)
        return {"channel": op.channel, "presence": await gateway.presence.watch_one(session, user)}
    tail = zone_stream_of(gateway, op.channel)
    await _read_state(gateway, caller, op.channel)
    await _wait_for_relay(gateway, tail)
    subscribed = [name for name in session.channels if not name.startswith(PRESENCE_PREFIX)]
    if len(subscribed) - len(caller.channels) >= ops.MAX_SUBS:
        raise Invalid(errors=[FieldError("/channel", f"At most {ops.MAX_SUBS} subscriptions")])
    if sum(is_map(channel) for channel in {*session.channels, op.channel}) > MAX_MAPS:
        raise Invalid(errors=[FieldError("/channel", f"At most {MAX_MAPS} maps")])
    session.subscribe(op.channel)
    received_from = tail.cursor
    try:
        state = await _read_state(gateway, caller, op.channel)
    except CalloutError:
        session.unsubscribe(op.channel)
        raise
    show_map(gateway, session, op)
    return {"channel": op.channel, "zone": tail.zone, "seq": received_from, **state}


async def unsubscribe(gateway: Gateway, session: Session, op: ops.Unsubscribe) -> dict[str, Any]:
    """Remove the channel from the session. Raises Forbidden for a channel that the user has by their role or id."""
    if op.channel in session.caller.channels:
        raise Forbidden("You receive your own channels without a subscription")
    session.unsubscribe(op.channel)
    if is_map(op.channel):
        gateway.maps.hide(session, Zone(op.channel.removeprefix(CHANNEL_PREFIX)))
    return {"channel": op.channel}


def is_map(channel: str) -> bool:
    """Return whether the channel is the map of a zone."""
    return channel.startswith(CHANNEL_PREFIX)


def show_map(gateway: Gateway, session: Session, wanted: ops.Subscription) -> None:
    """Show a connected session the part of the map that it subscribed to; do nothing for another channel."""
    if is_map(wanted.channel) and wanted.bbox is not None:
        named = wanted.layers or LAYERS
        layers = tuple(layer for layer in LAYERS if layer in named)
        every_s = wanted.every_s or ops.MAP_EVERY_S
        options = ViewOptions(MapBox(*wanted.bbox), layers, every_s, has_demand="demand" in named)
        gateway.maps.show(session, Zone(wanted.channel.removeprefix(CHANNEL_PREFIX)), options)


async def check_channels(
    gateway: Gateway, caller: Principal, wanted: Iterable[str | ops.Subscription]
) -> tuple[dict[str, ops.Subscription], list[dict[str, str]]]:
    """Return the subscriptions of ``wanted`` that ``caller`` may have, by channel, and the refused channels with their
    error codes. Of two for one channel, the later one counts.

    Raises Unavailable if a channel could not be checked.
    """
    good: dict[str, ops.Subscription] = {}
    refused: list[dict[str, str]] = []
    given = [ops.Subscription(channel=each) if isinstance(each, str) else each for each in wanted]
    for channel, subscription in {each.channel: each for each in given}.items():
        try:
            if subscription.find_errors() or (is_map(channel) and sum(map(is_map, good)) >= MAX_MAPS):
                raise Invalid
            await _check_channel(gateway, caller, channel)
        except CalloutError as error:
            if error.temporary:
                raise
            refused.append({"channel": channel, "code": error.code})
        else:
            good[channel] = subscription
    return good, refused


async def _check_channel(gateway: Gateway, caller: Principal, channel: str) -> None:
    """Raise the error with which a subscription to ``channel`` is refused, if it is."""
    if channel.startswith(PRESENCE_PREFIX):
        if not await gateway.presence.may_watch(caller, channel.removeprefix(PRESENCE_PREFIX)):
            raise NotFound
        return
    tail = zone_stream_of(gateway, channel)
    await _read_state(gateway, caller, channel)
    await _wait_for_relay(gateway, tail)


async def stream_channels(gateway: Gateway, caller: Principal, requested: Collection[str]) -> tuple[str, ...]:
    """Return the channels of a stream: the caller's own, or instead of them the channels that ops or a service name.

    Ops may receive every event of a zone, so they may name every channel that events are addressed to. A service may
    name its own channels, and jobs. Raises Forbidden, NotFound or Invalid for the first channel that the caller may not
    receive.
    """
    if not requested:
        return tuple(caller.channels)
    if not caller.is_ops and caller.role != "service":
        raise Forbidden("Only ops and services may name channels; you receive your own without a name")
    for channel in requested:
        kind, _, name = channel.partition(":")
        if channel in caller.channels or (caller.is_ops and kind in ADDRESSED_CHANNEL_KINDS and is_id(name)):
            continue
        if is_map(channel):
            raise Invalid(errors=[FieldError("/channels", "A map is sent over a WebSocket alone")])
        zone_stream_of(gateway, channel)
        await _read_state(gateway, caller, channel)
    return tuple(dict.fromkeys(requested))


async def _wait_for_relay(gateway: Gateway, tail: ZoneStream) -> None:
    """Wait until the relay has passed the log's present head, so that it has handed on every event that is older than
    the state by which the caller's right was decided. Then no older event ends the right again or is sent because of
    it. Raises Unavailable after ``MAX_WAIT_S`` seconds.
    """
    head = await log.read_head(gateway.engine.store.read_connection, tail.zone)
    if tail.cursor < head.seq:
        await tail.wait_for_seq(head.seq, MAX_WAIT_S)
    if tail.cursor < head.seq:
        raise Unavailable("The log is being read")


def zone_stream_of(gateway: Gateway, channel: str) -> ZoneStream:
    """Return the ``ZoneStream`` of the zone to which ``channel``, a job's, a zone's or a map's, belongs. Raises Invalid
    or NotFound.
    """
    kind, _, name = channel.partition(":")
    if kind not in ("job", "zone", "map"):
        raise Invalid(errors=[FieldError("/channel", "job:<id>, zone:<name> or map:<zone>")])
    zone = zone_of(name) if kind == "job" else Zone(name)
    tail = gateway.relay.tails.get(zone) if zone else None
    if tail is None and zone in gateway.engine.store.zones:
        raise NotFound(f"This gateway does not serve zone {zone}: see connect.zones")
    if tail is None:
        raise NotFound()
    return tail


async def _read_state(gateway: Gateway, caller: Principal, channel: str) -> dict[str, Any]:
    """Return the present job, or the zone's epoch, if the caller may subscribe to ``channel``. Raises Forbidden or
    NotFound.
    """
    kind, _, name = channel.partition(":")
    if kind == "job":
        return {"job": msgspec.Raw(await _read_job(gateway, caller, name))}
    if not caller.is_ops:
        raise Forbidden("Only ops may receive the events or the map of a zone")
    return {"epoch": gateway.relay.tails[Zone(name)].epoch}


async def _read_job(gateway: Gateway, caller: Principal, job: str) -> bytes:
    """Return the job as its participants, ops and services see it. Raises NotFound for everybody else, even for a
    technician who was only offered the job: they may read its public part but not follow it.
    """
    shown = await job_queries.read_job(gateway.engine, caller, job)
    if job_document.decode_job(shown).customer is None:
        raise NotFound()
    return shown


def all_channels(caller: Principal, subscribed: Collection[str]) -> tuple[str, ...]:
    """Return all channels of a session, each once: the caller's own and the subscribed ones."""
    return tuple(dict.fromkeys((*caller.channels, *subscribed)))


def logged_channels(channels: Collection[str]) -> tuple[str, ...]:
    """Return those of ``channels`` to which events of the log are addressed."""
    return tuple(name for name in channels if not name.startswith(PRESENCE_PREFIX))
