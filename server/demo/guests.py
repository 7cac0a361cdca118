"""The accounts for visitors of a demo. A visitor signs in with one click and takes part in the city.

No simulated person uses these accounts. A guest technician is approved and has all services. Their position is read
while somebody uses the account, so that simulated technicians leave nearby work to them (``courtesy_s``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import msgspec

from callout_client import Api, Refusal, Unreachable
from engine.types import DEFAULT_ZONE
from server.demo.control import Refused, json_answer
from server.demo.files import DemoCredentials
from server.simulation import seed
from server.simulation.account import Operator, sign_in
from server.simulation.drive import Position, distance_m
from server.web.demo_relay import Answer, Visit

COURTESY_S = 15.0
"""How much longer (s) simulated technicians wait before they claim a job near a free guest, because a person needs time
to read an offer."""
COURTESY_M = 1_200.0
WATCH_EVERY_S = 3.0
BOX_DEGREES = 0.1
"""Half the width (degrees) of the box around the town in which guests are searched."""
MAX_NUMBER = 99


class GuestRole(NamedTuple):
    """A role for visitors, the name of its account, and its text on the start page."""

    name: str
    title: str


ROLES: Mapping[str, GuestRole] = {
    "customer": GuestRole("Robin Guest", "Book a job and follow it"),
    "technician": GuestRole("Sam Guest", "Go online, take a job and do it"),
    "ops_manager": GuestRole("Olive Guest", "Run the day at the console"),
    "mediator": GuestRole("Mika Guest", "Settle disputes between customers and technicians"),
    "onboarding_manager": GuestRole("Noor Guest", "Approve new technicians"),
    "admin": GuestRole("Alex Guest", "Everything, and the faults"),
}
OTHER_NAMES = {"ops": "ops_manager"}


class LoginWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /demo/login``. ``number`` 2 is another person of the same role, for a second phone. ``cookie``
    is the app whose cookie stores the session, as at ``POST /v1/auth/login``.
    """

    role: str
    number: int = 1
    cookie: Literal["console", "book", "tech"] | None = None


class Guest(NamedTuple):
    """One guest: the first, second, … of a role."""

    role: str
    number: int = 1


class Guests:
    """The guests of one demo. ``services`` are all that a technician may do, ``place`` is where a technician begins."""

    def __init__(
        self, api: Api, operator: Operator, credentials: DemoCredentials, services: Sequence[str], place: Position
    ) -> None:
        self._api, self._operator, self._credentials = api, operator, credentials
        self._services, self._place = services, place
        self._technicians: dict[str, Position | None] = {}
        self._known: set[Guest] = set()
        self._creating = asyncio.Lock()

    async def list_logins(self, visit: Visit) -> Answer:
        """Answer ``GET /demo/logins``."""
        return json_answer([{"role": role, "name": each.name, "title": each.title} for role, each in ROLES.items()])

    async def log_in(self, visit: Visit) -> Answer:
        """Answer ``POST /demo/login`` as ``POST /v1/auth/login`` is answered. Raises Refused."""
        try:
            wish = msgspec.json.decode(visit.body, type=LoginWish)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refused("invalid", str(error)) from None
        role = OTHER_NAMES.get(wish.role, wish.role)
        if role not in ROLES or not 1 <= wish.number <= MAX_NUMBER:
            raise Refused("invalid", f"role is one of {', '.join(ROLES)}, number is at most {MAX_NUMBER}")
        if wish.cookie and visit.origin is None:
            raise Refused("forbidden", "A session in a cookie is for the pages of this server")
        signed_in = await self._sign_in(Guest(role, wish.number))
        signed_in |= {"place": {"lat": self._place[0], "lon": self._place[1]}}
        if wish.cookie is None:
            return json_answer(signed_in)
        cookie = signed_in.pop("refresh_token")
        return Answer(msgspec.json.encode(signed_in), cookie=cookie, app=wish.cookie)

    async def create_accounts(self) -> list[tuple[str, str, str]]:
        """Create the first guest of each role. Return role, e-mail and password of each. Raises Refusal or
        Unreachable.
        """
        guests = [Guest(role) for role in ROLES]
        await asyncio.gather(*(self._create(guest) for guest in guests))
        return [(guest.role, *self._credentials_of(guest)) for guest in guests]

    async def _sign_in(self, guest: Guest) -> dict[str, Any]:
        """Return a new login of the guest, after creating the account if there is none."""
        async with self._creating:
            if guest not in self._known:
                await self._create(guest)
        email, password = self._credentials_of(guest)
        return await self._api.request("POST", "/v1/auth/login", body={"email": email, "password": password})

    async def _create(self, guest: Guest) -> None:
        body = self._registration(guest)
        if guest.role == "technician":
            account = await seed.approved_technician(self._api, self._operator, self._services, body)
            self._technicians[account.id] = None
        else:
            await sign_in(self._api, body, None if guest.role == "customer" else self._operator)
        self._known.add(guest)

    def _registration(self, guest: Guest) -> dict[str, Any]:
        number = f" {guest.number}" if guest.number > 1 else ""
        body = seed.registration(guest.role, guest.number, f"guest.{self._credentials.tag}", self._credentials.password)
        return body | {"name": ROLES[guest.role].name + number}

    def _credentials_of(self, guest: Guest) -> tuple[str, str]:
        body = self._registration(guest)
        return body["email"], body["password"]

    def free_technicians(self) -> list[Position]:
        """Return the positions of guest technicians who are online and have no job."""
        return [place for place in self._technicians.values() if place is not None]

    def courtesy_s(self, place: Position) -> float:
        """Return how much longer (s) a simulated technician should wait before they claim a job at ``place``."""
        is_near = any(distance_m(guest, place) < COURTESY_M for guest in self.free_technicians())
        return COURTESY_S if is_near else 0.0

    async def watch_forever(self) -> None:
        """Read the positions of guest technicians until cancelled. Without a guest, read nothing."""
        lat, lon = self._place
        box = f"{lon - BOX_DEGREES:.4f},{lat - BOX_DEGREES:.4f},{lon + BOX_DEGREES:.4f},{lat + BOX_DEGREES:.4f}"
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            if not self._technicians:
                continue
            with suppress(Refusal, Unreachable):
                path = f"/v1/zones/{DEFAULT_ZONE}/map?bbox={box}&layers=people"
                people = (await self._operator.request("GET", path)).get("people") or []
                free = {each["id"]: (each["lat"], each["lon"]) for each in people if each["state"] == "free"}
                self._technicians = {technician: free.get(technician) for technician in self._technicians}
