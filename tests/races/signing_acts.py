"""Acts of users besides the commands of a job: the holder adds the photos that a step needs, and the customer signs."""

from __future__ import annotations

from collections import Counter

import msgspec

from engine.blueprint.schema import Blueprint
from engine.domain import signing
from engine.domain.signing import Signature
from engine.runtime import Engine
from engine.types import JobId, Principal
from tests.support.reference_model import Facts, refusal_code
from tests.support.signatures import make_png

ADD_PHOTOS, SIGN = "add photos", "sign with a signature"


async def sign(engine: Engine, who: Principal, job: JobId, key: str) -> None:
    """Sign the record that the job has now."""
    shown = await signing.read_record(engine, who, job)
    await signing.sign_job(engine, who, job, Signature(shown.sha256, "Carla", make_png(), "png"), key=key)


def signing_code(blueprint: Blueprint, facts: Facts) -> str:
    """Return the expected outcome code of the customer's signature; "not_found" if no command signs."""
    for command in blueprint.commands.values():
        if command.signs:
            return refusal_code(blueprint, command, ["customer"], facts, signature=True)
    return "not_found"


def other_acts(blueprint: Blueprint, facts: dict[str, Facts], ids: dict[str, str]) -> list[tuple[str, str]]:
    """Return the acts that are allowed now, each with the user who may do it. ``ids`` are the technicians, by name; so
    are ``facts``, which has the customer too.
    """
    acts, steps = [], [command for command in blueprint.commands.values() if "holder" in command.by]
    for name, technician in ids.items():
        refusals = {refusal_code(blueprint, step, ["holder"], facts[name]) for step in steps}
        acts += [(ADD_PHOTOS, name)] * (facts[name].holder == technician and "files_missing" in refusals)
    return acts + [(SIGN, "customer")] * (signing_code(blueprint, facts["customer"]) == "")


def facts_of_record(row: dict[str, str]) -> Facts:
    """Return the facts of a job from its record in Redis, without what depends on the caller."""
    return Facts(
        status=row["status"],
        holder=row["holder"],
        customer=row["customer"],
        at=frozenset(msgspec.json.decode("{" + row["at"] + "}")),
        frozen=row["frozen"] != "",
        files=Counter(photo["kind"] for photo in msgspec.json.decode(row.get("photos", "[]"))),
        signed=row.get("signed", "") != "",
    )


def leads_on(blueprint: Blueprint, status: str, act: str) -> bool:
    """Return whether a command leads to a later state, in declared order, or is an act of this module."""
    order, command = list(blueprint.states), blueprint.commands.get(act)
    return command is None or (command.to != "" and order.index(command.to) > order.index(status))
