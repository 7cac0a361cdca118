"""Draw blueprints that have guards and effects wherever the linter allows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from hypothesis import strategies as st

from engine.blueprint.schema import Blueprint

MARKS = ("a", "b", "c")
NEEDED_PHOTOS = 2
EVENT_AUDIENCE = {"to": ["customer", "holder", "ops"]}

COMMISSIONS = (None, {"per_mille": 150}, {"per_mille": 500, "hold_s": 60}, {"per_mille": 1000})
HOLDER_COMMANDS = frozenset({"take", "assign", "award"})

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


def states_for(mode: str, *, signs: bool) -> dict[str, Any]:
    """Return the states of a random blueprint that searches in this mode: one for each phase, one more for each way
    to close the job, and the one of a signed job.
    """
    states: dict[str, Any] = {
        "wanted": {"phase": "open", "seeks": mode},
        "held": {"phase": "assigned"},
        "working": {"phase": "active", "timers": [{"after_s": 100, "command": "pause"}]},
        **({"agreed": {"phase": "active"}} if signs else {}),
        "finished": {"phase": "done"},
        "off": {"phase": "closed"},
        "late": {"phase": "closed"},
        **({"left": {"phase": "closed"}} if mode == "direct" else {}),
    }
    return {name: {"says": name, **state} for name, state in states.items()}


def commands_for(mode: str, *, signs: bool) -> dict[str, dict[str, Any]]:
    """Return a command of each kind that the search mode allows, each with its own event. If the customer ``signs``,
    only the signature leads to the end of the work and to the payment.
    """
    over = ["agreed"] if signs else ["working"]
    running, ops = ["wanted", "held", "working"], ["ops", "engine"] if mode == "allocate" else ["ops"]
    specs: dict[str, dict[str, Any]] = {
        "assign": {"does": "assign", "by": ops, "from": ["wanted", "held"], "to": "held", "event": "job.assigned"},
        "release": {"does": "release", "by": ["holder"], "from": ["held", "working"], "to": "wanted"},
        "work": {"by": ["holder"], "from": ["held"], "to": "working"},
        "pause": {"by": ["engine"], "from": ["working"], "to": "held"},
        "finish": {"by": ["customer", "holder"], "from": over, "to": "finished"},
        "cancel": {"by": ["customer", "ops"], "from": running, "to": "off", "only": {"customer": ["wanted"]}},
        "expire": {"by": ["engine"], "from": ["wanted"], "to": "late", "event": "job.expired"},
        "dispute": {"does": "freeze", "by": ["customer"], "from": ["held"]},
        "resume": {"does": "thaw", "by": ["mediator"], "from": ["held"], "resolves": "resume"},
        "capture": {"does": "capture", "by": ["service"], "from": over, "to": "finished"},
        "reissue": {"does": "reissue", "by": ["customer"], "from": ["held", "working"], "event": "job.updated"},
        **{f"mark_{mark}": {"by": ["ops"], "from": running, "marks": mark} for mark in MARKS},
    }
    specs["capture"]["event"] = "payment.received"
    if signs:
        specs["sign"] = {"by": ["customer"], "from": ["working"], "to": "agreed", "event": "job.signed", "signs": True}
    else:
        specs["bill"] = {"by": ["customer"], "from": ["working"], "event": "payment.requested", "charges": True}
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
def random_blueprint(draw: st.DrawFn, mode: str, *, signs: bool) -> Blueprint:
    """Draw a blueprint with guards and effects at each place where the linter allows them. Either its customer
    ``signs``, or any of its commands may request a payment.
    """
    specs = commands_for(mode, signs=signs)
    for name in specs.keys() & HOLDER_COMMANDS:
        specs[name]["to"] = draw(st.sampled_from(("held", "working")))
    if not signs:
        specs["capture"]["from"] = draw(st.sampled_from((["working"], ["held", "working"])))
    for name, command in specs.items():
        command.update(draw(guards_and_effects(name, command, signs=signs)))
    if signs:  # an amount that is held must be charged later
        specs["sign"]["charges"] |= any(command.get("holds") for command in specs.values())
    raw = {"name": "drawn", "version": 1, "title": "Drawn", "states": states_for(mode, signs=signs), "commands": specs}
    events = {command["event"] for command in specs.values()} | {"job.created", "job.status", "job.unassigned"}
    events |= {"payment.requested"} | ({"bid.accepted"} if mode == "bids" else set())
    events |= {"job.searching"} if mode in ("bids", "broadcast") else set()
    raw |= {"events": dict.fromkeys(events, EVENT_AUDIENCE), "codes": {"purposes": ["door"]}}
    raw |= {"price": {"commission": draw(st.sampled_from(COMMISSIONS))}}
    return msgspec.convert(raw | ({"technician": "required"} if mode == "direct" else {}), Blueprint)


@st.composite
def guards_and_effects(draw: st.DrawFn, name: str, command: Mapping[str, Any], *, signs: bool) -> dict[str, Any]:
    """Draw what the command ``name`` of a blueprint may declare in addition."""
    more = draw(GUARDS_AND_EFFECTS)
    more["unless"] = [mark for mark in more["unless"] if mark not in more["needs"]]
    if name.startswith("mark_"):
        return {}
    if command.get("does") in ("bid", "withdraw") or command["event"] == "offer.declined":
        return {"needs": more["needs"], "unless": more["unless"]}
    more["refunds"] = command["from"][:1] if more["refunds"] else []
    more["holds"] = name in HOLDER_COMMANDS and draw(st.booleans())
    may_charge = name == "sign" if signs else name != "capture" and not more["holds"]
    more["charges"] = name == "bill" or (may_charge and more["charges"])
    if name in ("work", "sign") or (name == "finish" and not signs):
        more["needs_files"] = draw(st.sampled_from(({}, {"photo": NEEDED_PHOTOS})))
    more["code"] = "door" if name == "work" else more["code"] if command["by"] == ["holder"] else ""
    if command["event"] == "job.expired":
        del more["needs"], more["unless"]
    return more
