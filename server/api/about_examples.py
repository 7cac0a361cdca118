"""Examples of replies about the server and its blueprints. They are a part of the table in server/api/examples.py."""

from __future__ import annotations

from typing import Any

AT_NOON = "2026-01-31T12:00:00.000Z"
_BLUEPRINT: dict[str, Any] = {
    "name": "home_service",
    "version": 4,
    "title": "Home service",
    "default": True,
    "technician": "no",
    "initial": "broadcasted",
    "states": [
        {"name": "broadcasted", "word": "broadcasted", "phase": "open", "says": "Asking", "seeks": "broadcast"},
        {"name": "accepted", "word": "accepted", "phase": "assigned", "says": "Accepted", "seeks": "none"},
    ],
    "commands": [
        {"name": "claim", "from": {"technician": ["broadcasted"]}, "event": "job_accepted", "to": "accepted"},
        {"name": "cancel", "from": {"customer": ["broadcasted", "accepted"]}, "event": "job_cancelled"},
    ],
    "edit": {"notes": ["broadcasted", "accepted"]},
    "price_source": "catalogue",
    "propose": ["accepted"],
    "events": [{"type": "job.accepted", "event": "job_accepted"}],
}

REPLIES: dict[str, Any] = {
    "about_alive": {"ok": True},
    "about_ready": {
        "ready": False,
        "problems": ["the zone main is closed"],
        "durability": {"level": "fast", "checks": ["appendonly is on"], "warnings": []},
    },
    "about_meta": {
        "name": "callout",
        "version": "1.0.0",
        "now": AT_NOON,
        "zones": ["main"],
        "blueprint": "home_service",
        "socket": "/v1/ws",
        "subprotocols": ["callout.v1.json", "callout.v1.msgpack"],
        "poll": {"connected": 60, "disconnected": 15},
        "map": {"tiles": "https://tiles.example/{z}/{x}/{y}.png", "attribution": "© the makers of the map"},
        "demo": False,
    },
    "about_document": {"openapi": "3.1.0", "info": {"title": "Callout"}, "paths": {}},
    "about_messages": {"asyncapi": "3.0.0", "info": {"title": "Callout"}, "channels": {}},
    "about_town": {
        "type": "FeatureCollection",
        "centre": [13.4, 52.5],
        "features": [
            {
                "type": "Feature",
                "properties": {"kind": "street", "name": "Mill Street"},
                "geometry": {"type": "LineString", "coordinates": [[13.4, 52.5], [13.41, 52.51]]},
            }
        ],
    },
    "blueprints_find": {"items": [_BLUEPRINT], "next": None},
    "blueprints_read": {"blueprint": _BLUEPRINT},
}
