"""Draw blueprints that have guards and effects wherever the linter allows them."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from engine.blueprint.schema import Blueprint

MARKS = ("a", "b", "c")
NEEDED_PHOTOS = 2
EVENT_AUDIENCE = {"to": ["customer", "holder", "ops"]}

MARK_OR_NONE = st.sampled_from((("a",), ("b",), ("c",), ()))
GUARDS_AND_EFFECTS = st.fixed_dictionaries(
    {
        "needs": MARK_OR_NONE,
        "unless": MARK_OR_NONE,
        "marks": st.sampled_from(("", *MARKS)),
        "locks_price": st.booleans(),
        "charges": st.booleans(),
        "refunds": st.booleans(),
        "code": st.sampled_from(("door", "")),
    }
)


def states_for(mode: str) -> dict[str, Any]:
    """Return the states of a random blueprint that searches in this mode: one for each phase, and one more for each way
    to close the job.
    """
    states: dict[str, Any] = {
        "wanted": {"phase": "open", "seeks": mode},
        "held": {"phase": "assigned"},
        "working": {"phase": "active", "timers": [{"after_s": 100, "command": "pause"}]},
        "finished": {"phase": "done"},
        "off": {"phase": "closed"},
        "late": {"phase": "closed"},
        **({"left": {"phase": "closed"}} if mode == "direct" else {}),
    }
    return {name: {"says": name, **state} for name, state in states.items()}


def commands_for(mode: str) -> dict[str, dict[str, Any]]:
    """Return a command of each kind that the search mode allows, each with its own event."""
    running, ops = ["wanted", "held", "working"], ["ops", "engine"] if mode == "allocate" else ["ops"]
    specs: dict[str, dict[str, Any]] = {
        "assign": {"does": "assign", "by": ops, "from": ["wanted", "held"], "to": "held", "event": "job.assigned"},
        "release": {"does": "release", "by": ["holder"], "from": ["held", "working"], "to": "wanted"},
        "work": {"by": ["holder"], "from": ["held"], "to": "working"},
        "pause": {"by": ["engine"], "from": ["working"], "to": "held"},
        "finish": {"by": ["customer", "holder"], "from": ["working"], "to": "finished"},
        "cancel": {"by": ["customer", "ops"], "from": running, "to": "off", "only": {"customer": ["wanted"]}},
        "expire": {"by": ["engine"], "from": ["wanted"], "to": "late", "event": "job.expired"},
        "dispute": {"does": "freeze", "by": ["customer"], "from": ["held"]},
        "resume": {"does": "thaw", "by": ["mediator"], "from": ["held"], "resolves": "resume"},
        "bill": {"by": ["customer"], "from": ["working"], "event": "payment.requested"},
        "capture": {"does": "capture", "by": ["service"], "from": ["working"], "to": "finished"},
        "reissue": {"does": "reissue", "by": ["customer"], "from": ["held", "working"], "event": "job.updated"},
        **{f"mark_{mark}": {"by": ["ops"], "from": running, "marks": mark} for mark in MARKS},
    }
    specs["capture"]["event"] = "payment.received"
    if mode in ("broadcast", "direct"):
        specs["take"] = {"does": "take", "by": ["offered"], "from": ["wanted", "held"], "to": "held"}
        specs["take"]["event"] = "job.accepted"
    if mode == "bids":
        specs["bid"] = {"does": "bid", "by": ["technician"], "from": ["wanted"], "event": "bid.created"}
        specs["withdraw"] = {"does": "withdraw", "by": ["technician"], "from": ["wanted"], "event": "bid.closed"}
        specs["award"] = {"does": "award", "by": ["customer"], "from": ["wanted", "held"], "to": "held"}
    if mode != "allocate":
        moves = {"to": "left"} if mode == "direct" else {"event": "offer.declined"}
        specs["no"] = {"does": "refuse", "by": ["offered"], "from": ["wanted", "held"], **moves}
    return {name: {"event": f"job.{name}", **command} for name, command in specs.items()}


@st.composite
def random_blueprint(draw: st.DrawFn, mode: str) -> Blueprint:
    """Draw a blueprint with guards and effects at each place where the linter allows them."""
    specs = commands_for(mode)
    for name in specs.keys() & {"take", "assign", "award"}:
        specs[name]["to"] = draw(st.sampled_from(("held", "working")))
    specs["capture"]["from"] = draw(st.sampled_from((["working"], ["held", "working"])))
    for name, command in specs.items():
        more = draw(GUARDS_AND_EFFECTS)
        more["unless"] = [mark for mark in more["unless"] if mark not in more["needs"]]
        if name.startswith("mark_"):
            continue
        if command.get("does") in ("bid", "withdraw") or command["event"] == "offer.declined":
            more = {"needs": more["needs"], "unless": more["unless"]}
        else:
            more["refunds"] = command["from"][:1] if more["refunds"] else []
            more["charges"] = more["charges"] or name == "bill"
            if command.get("does", "move") == "move" and name in ("work", "finish"):
                more["needs_files"] = draw(st.sampled_from(({}, {"photo": NEEDED_PHOTOS})))
            more["code"] = "door" if name == "work" else more["code"] if command["by"] == ["holder"] else ""
        if command["event"] == "job.expired":
            del more["needs"], more["unless"]
        command.update(more)
    raw = {"name": "drawn", "version": 1, "title": "Drawn", "states": states_for(mode), "commands": specs}
    events = {command["event"] for command in specs.values()} | {"job.created", "job.status", "job.unassigned"}
    events |= {"payment.requested"} | ({"bid.accepted"} if mode == "bids" else set())
    events |= {"job.searching"} if mode in ("bids", "broadcast") else set()
    raw |= {"events": dict.fromkeys(events, EVENT_AUDIENCE), "codes": {"purposes": ["door"]}}
    return msgspec.convert(raw | ({"technician": "required"} if mode == "direct" else {}), Blueprint)
