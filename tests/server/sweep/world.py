"""A world for the sweep, with users of every role and eight jobs, in which each relation between a user and a job
occurs.

Each secret of the world is a text that occurs nowhere else, with the users who may see it. The relations between users
and jobs are written here by hand, and are not read from the engine.
"""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import msgspec

from engine.process.signer import sign_token
from engine.types import Role, UserId
from server.serve import RunningServer
from tests.server.http import people
from tests.server.http.client import Client
from tests.support import live_accounts
from tests.support.socket_client import SocketClient
from tests.support.wait import wait_until

CUSTOMERS = ("customer", "other_customer", "spare_customer")
OFFERED_TECHNICIANS = ("holder", "former", "loser", "decliner")
TECHNICIANS = (*OFFERED_TECHNICIANS, "never", "spare_technician")
STAFF: dict[str, Role] = {
    "mediator": "mediator",
    "onboarding_manager": "onboarding_manager",
    "ops_manager": "ops_manager",
    "admin": "admin",
    "service": "service",
}
OPS = frozenset({"ops_manager", "admin"})
SERVICES = frozenset({"service", "other_service"})
MANAGERS = OPS | {"onboarding_manager"}
HERE = {"lat": 52.5237191, "lon": 13.4059283}
POSITION = {"lat": 52.5291117, "lon": 13.4012239}
"""The holder's position."""

Relations = dict[str, set[str]]


class Secret:
    """A text that only ``readers`` may see. Events may contain it if ``in_events``."""

    def __init__(self, text: str, readers: frozenset[str], *, in_events: bool) -> None:
        self.text, self.readers, self.in_events = text, readers, in_events


class World:
    """The users, jobs and other objects of the sweep, and the relation of each user to each job."""

    def __init__(self, server: RunningServer, http: httpx.AsyncClient) -> None:
        self.server, self.http = server, http
        self.nobody = Client(http)
        self.people: dict[str, Client] = {}
        self.roles: dict[str, Role] = {**STAFF, "other_service": "service"}
        for name in CUSTOMERS:
            self.roles[name] = "customer"
        for name in TECHNICIANS:
            self.roles[name] = "technician"
        self.sockets: dict[str, SocketClient] = {}
        self.secrets: dict[str, Secret] = {}
        self.jobs: dict[str, str] = {}
        self.blueprints: dict[str, str] = {}
        self.relations: dict[str, Relations] = {}
        """For each job: user to relations."""
        self.open_offers: dict[str, set[str]] = {}
        self.ids: dict[str, str] = {}
        self.start = ""
        self.login: dict[str, str] = {}
        self.violations: dict[str, list[str]] = {}
        """For each route and op that was called: what differed from its policy."""
        self.seen_secrets: set[str] = set()
        """The secrets that were shown to a user who may see them."""

    def add_secret(self, secret_name: str, text: str, *readers: str, in_events: bool = False) -> str:
        """Record a secret with the users who may see it, and return its text."""
        self.secrets[secret_name] = Secret(text, frozenset(readers), in_events=in_events)
        return text

    def new_secret(self, secret_name: str, *readers: str) -> str:
        """Create and record a secret that events may contain, and return its text."""
        return self.add_secret(secret_name, f"{secret_name}-{uuid.uuid4().hex[:12]}", *readers, in_events=True)

    def leaked_secrets(self, user: str, text: str, *, is_event: bool = False) -> list[str]:
        """Return the names of the secrets in ``text`` that ``user`` may not see or, in an event, that no event may
        contain.
        """
        shown = [(name, secret) for name, secret in self.secrets.items() if secret.text in text]
        wrong = [name for name, secret in shown if user not in secret.readers or (is_event and not secret.in_events)]
        self.seen_secrets |= {name for name, _ in shown} - set(wrong)
        return wrong

    # users

    async def create_users(self) -> None:
        """Create all users with an open socket each, approve the technicians, and set most of them online."""
        for name, role in STAFF.items():
            await live_accounts.put_account(self.server.engine, f"cli_{name}", role)
            token = sign_token(self.server.engine.signer, UserId(f"cli_{name}"), role)
            self.people[name] = Client(self.http, token, f"cli_{name}")
        cursor = (await self.people["admin"]("GET", "/v1/sync")).json()["cursor"]
        self.start = f"main:{cursor['main']['epoch']}:0"
        await self._create_services()
        await self._create_other_service()
        for number, name in enumerate((*CUSTOMERS, *TECHNICIANS)):
            await self._register_user(name, f"+1 555 70{number:02d} {uuid.uuid4().int % 10**6:06d}")
        for name, client in self.people.items():
            self.sockets[name] = await SocketClient(self.server.ws_url, client.token).open()
        for name in TECHNICIANS:
            service = self.ids["special" if name in ("never", "spare_technician") else "service"]
            await people.approve(self.people[name], self.people["admin"], service)
            profile_path = f"/v1/technicians/{self.people[name].user}"
            await self.request("admin", "PATCH", profile_path, {"capacity": 10})
        for name in (*OFFERED_TECHNICIANS, "never"):
            await people.go_online(self.people[name], **(POSITION if name == "holder" else {}))

    async def _create_services(self) -> None:
        for name in ("service", "special", "spare"):
            self.ids[name] = await people.make_service(self.people["admin"])

    async def _create_other_service(self) -> None:
        login = {"email": f"{uuid.uuid4().hex}@example.org", "password": "correct horse"}
        await self.request("admin", "POST", "/v1/users", {**login, "name": "Other", "role": "service"})
        login_reply = (await self.nobody("POST", "/v1/auth/login", login)).json()
        self.people["other_service"] = Client(self.http, login_reply["access_token"], login_reply["user"]["id"])

    async def _register_user(self, name: str, phone: str) -> None:
        email, password = f"{uuid.uuid4().hex}@example.org", f"pass {uuid.uuid4().hex}"
        role = self.roles[name]
        body = {"email": email, "password": password, "name": name, "role": role, "phone": phone}
        registered_user = (await self.nobody("POST", "/v1/auth/register", body)).json()
        self.people[name] = Client(self.http, registered_user["access_token"], registered_user["user"]["id"])
        # The customer's phone number is shown to the holder, and the holder's to the customer.
        others = {"customer": {"holder"}, "holder": {"customer"}}.get(name, set())
        managers = MANAGERS if role == "technician" else {"admin"}
        self.add_secret(f"phone of {name}", registered_user["user"]["phone"], name, *others, *managers)
        self.add_secret(f"email of {name}", email, name, "admin")
        self.add_secret(f"password of {name}", password)
        self.add_secret(f"refresh token of {name}", registered_user["refresh_token"])
        if name == "customer":
            self.login = {"email": email, "password": password}

    async def _log_in_again(self) -> str:
        """Log the customer in a second time, and return the id of that login, which no socket uses."""
        await self.nobody("POST", "/v1/auth/login", self.login)
        logins = (await self.request("customer", "GET", "/v1/me/sessions"))["items"]
        return self.add_secret("login of customer", str(logins[0]["id"]), "customer")

    # requests

    async def request(self, caller: str, method: str, path: str, body: Any = None) -> Any:
        """Send a request, assert that it succeeds, and return the reply (None if it has no body)."""
        answer = await self.people[caller](method, path, body)
        assert answer.is_success, (caller, method, path, answer.text)
        return answer.json() if answer.content else None

    async def run_command(self, caller: str, job: str, command: str, **body: Any) -> Any:
        """Send a command on a job, assert that it succeeds, and return the reply."""
        return await self.request(caller, "POST", f"/v1/jobs/{self.jobs[job]}/{command}", body)

    async def book(self, job: str, blueprint: str, relations: Relations, *, by: str = "", **more: Any) -> None:
        """Book a job with a secret in each text field. ``relations`` maps users to their relations to the job; those of
        `OPS` and `SERVICES`, the same for every job, are added here. ``by`` sends the request ("": the customer).
        """
        self.relations[job] = {**{name: {"ops"} for name in OPS}, **{name: {"service"} for name in SERVICES}}
        for name, has in relations.items():
            self.relations[job][name] = self.relations[job].get(name, set()) | has
        self.blueprints[job], owner = blueprint, next(n for n, has in relations.items() if "customer" in has)
        offset = len(self.jobs) / 1e4
        body = {
            "blueprint": blueprint,
            "service": self.ids["service"],
            "lat": HERE["lat"] + offset,
            "lon": HERE["lon"] + offset,
            "address": self._field_secret(job, "address"),
            "postal_code": self._field_secret(job, "postal_code"),
            "notes": self._field_secret(job, "notes"),
            "public_notes": self._field_secret(job, "public_notes", offered=True),
            "reference": self._field_secret(job, "reference"),
            "metadata": {"door": self._field_secret(job, "metadata")},
            **({"customer": self.people[owner].user} if by else {}),
            **more,
        }
        self.add_secret(f"latitude of {job}", repr(body["lat"]), *self.full_readers(job), in_events=True)
        self.add_secret(f"longitude of {job}", repr(body["lon"]), *self.full_readers(job), in_events=True)
        reply = await self.request(by or owner, "POST", "/v1/jobs", body)
        self.jobs[job] = reply["job"]["id"]

    def _field_secret(self, job: str, field: str, *, offered: bool = False) -> str:
        return self.new_secret(f"{field} of {job}", *(self.public_readers(job) if offered else self.full_readers(job)))

    def full_readers(self, job: str) -> set[str]:
        """Return the users who may see the whole job: its present and former parties and staff, but not a technician
        who is only asked to accept it.
        """
        full = {"customer", "holder", "left", "ops", "service", "mediator"}
        return {name for name, has in self.relations[job].items() if has & full}

    def public_readers(self, job: str) -> set[str]:
        """Return the users who may see at least the public part of a job."""
        return {name for name, has in self.relations[job].items() if has - {"booker"}}

    async def wait_for_offers(self, job: str, *names: str) -> None:
        """Wait until each of these technicians has an open offer of the job."""
        for name in names:
            await people.wait_for_offer(self.people[name], self.jobs[job])

    # story

    async def run_story(self) -> None:
        """Create eight jobs, each in another state or with other users."""
        self._disable_expiry()
        offered = {name: {"offered"} for name in OFFERED_TECHNICIANS}
        await self._create_held_job(offered)
        await self._create_done_job(offered)
        await self._create_awarded_job(offered)
        await self._create_bidding_job(offered)
        await self._create_disputed_job()
        await self._create_assigned_job()
        await self._create_offered_job(offered)
        await self._create_order()
        await self._create_other_secrets()

    def _disable_expiry(self) -> None:
        """Let no offer and no assignment expire during the sweep."""
        blueprints = self.server.engine.blueprints
        home, managed = blueprints.by_name["home_service"], blueprints.by_name["managed"]
        waiting = msgspec.structs.replace(managed.states["assigned"], timers=())
        for changed in (
            msgspec.structs.replace(home, dispatch=msgspec.structs.replace(home.dispatch, offer_s=3600.0)),
            msgspec.structs.replace(managed, states=managed.states | {"assigned": waiting}),
        ):
            blueprints.by_name[changed.name] = blueprints.by_key[changed.key] = changed
        blueprints.default = blueprints.by_name[blueprints.default.name]

    async def _create_held_job(self, offered: Relations) -> None:
        """Create a job that four technicians are offered, one claims, and an admin gives to another, the holder."""
        relations = {
            **offered,
            "customer": {"customer"},
            "holder": {"offered", "holder"},
            "former": {"offered", "left"},
        }
        await self.book("held", "home_service", relations | {"decliner": {"offered", "declined"}})
        await self.wait_for_offers("held", *OFFERED_TECHNICIANS)
        await self.run_command("decliner", "held", "decline", reason=self.new_secret("why declined", "decliner", *OPS))
        await self.run_command("former", "held", "claim")
        followed = await self.sockets["former"].request("subscribe", channel=f"job:{self.jobs['held']}")
        assert "ok" in followed, followed
        parties = {"customer", "holder", "former"} | OPS | SERVICES
        why = self.new_secret("why reassigned", *parties)
        await self.run_command("admin", "held", "reassign", technician=self.people["holder"].user, reason=why)
        later = self.new_secret("notes written later", *(self.full_readers("held") - {"former"}))
        await self.request("customer", "PATCH", f"/v1/jobs/{self.jobs['held']}", {"notes": later})
        await self.run_command("holder", "held", "depart")
        await self._send_position()
        self.open_offers["held"] = set()

    async def _send_position(self) -> None:
        """Send the holder's position. The customers of their jobs, ops, services and the mediator may see it."""
        location_path = f"/v1/technicians/{self.people['holder'].user}/location"
        await self.request("holder", "PUT", location_path, {**POSITION, "accuracy": 5.0})
        followers = {"holder", "customer", "mediator"} | OPS | SERVICES
        for part, number in POSITION.items():
            self.add_secret(f"{part} of the holder", repr(number), *followers)

    async def _create_done_job(self, offered: Relations) -> None:
        """Create a job that is completed and rated."""
        relations = {**offered, "customer": {"customer"}, "holder": {"offered", "holder", "took"}}
        await self.book("done", "home_service", relations)
        await self.wait_for_offers("done", "holder", "loser")
        for command in ("claim", "depart", "arrive", "start", "complete"):
            await self.run_command("holder", "done", command)
        rating = {"stars": 4, "comment": self.new_secret("comment of the rating")}
        await self.request("customer", "POST", f"/v1/jobs/{self.jobs['done']}/ratings", rating)
        self.open_offers["done"] = set()

    async def _create_awarded_job(self, offered: Relations) -> None:
        """Create a job with two bids, award it to the holder, and let the holder propose another price."""
        relations = {**offered, "customer": {"customer"}, "holder": {"offered", "holder"}}
        await self.book("awarded", "marketplace", relations, amount=9000, currency="EUR")
        await self.wait_for_offers("awarded", *OFFERED_TECHNICIANS)
        readers = {"customer"} | OPS | SERVICES
        job = f"/v1/jobs/{self.jobs['awarded']}"
        note = self.new_secret("note of the bid that lost", "loser", *readers)
        await self.request("loser", "POST", f"{job}/bids", {"amount": 8000, "note": note})
        note = self.new_secret("note of the bid that won", "holder", *readers)
        bid = await self.request("holder", "POST", f"{job}/bids", {"amount": 8100, "note": note})
        await self.request("customer", "POST", f"{job}/bids/{bid['bid']['id']}/accept", {})
        reason = self.new_secret("why another price", "holder", *readers)
        reply = await self.request("holder", "POST", f"{job}/price-proposals", {"amount": 9900, "reason": reason})
        self.ids["proposal"] = reply["proposal"]["id"]
        codes = (await self.request("customer", "GET", job))["job"]["codes"]
        for purpose, code in codes.items():
            self.add_secret(f"{purpose} code", f'"{code}"', "customer")
        self.open_offers["awarded"] = set()

    async def _create_bidding_job(self, offered: Relations) -> None:
        """Create a job that is open to bids and has one."""
        relations = {name: {"offered", "technician"} for name in offered} | {"customer": {"customer"}}
        relations["loser"] = {"offered", "technician", "bidder"}
        await self.book("bidding", "marketplace", relations, amount=9000, currency="EUR")
        await self.wait_for_offers("bidding", *OFFERED_TECHNICIANS)
        note = self.new_secret("note of the open bid", "loser", "customer", *OPS, *SERVICES)
        reply = await self.request(
            "loser", "POST", f"/v1/jobs/{self.jobs['bidding']}/bids", {"amount": 8000, "note": note}
        )
        self.ids["bid"] = reply["bid"]["id"]
        self.open_offers["bidding"] = set()

    async def _create_disputed_job(self) -> None:
        """Create a job that is frozen by a dispute."""
        relations = {"customer": {"customer"}, "holder": {"offered", "holder", "took"}, "mediator": {"mediator"}}
        await self.book("disputed", "direct_booking", relations, technician=self.people["holder"].user)
        await self.wait_for_offers("disputed", "holder")
        await self.run_command("holder", "disputed", "accept")
        reason = self.new_secret("why disputed", *self.full_readers("disputed"))
        path = f"/v1/jobs/{self.jobs['disputed']}/disputes"
        reply = await self.request("customer", "POST", path, {"reason": reason})
        self.ids["dispute"] = reply["dispute"]["id"]
        self.open_offers["disputed"] = set()

    async def _create_assigned_job(self) -> None:
        """Create a job that is assigned to a technician who has not accepted it."""
        relations = {"other_customer": {"customer"}, "never": {"asked"}}
        await self.book("asked", "managed", relations, service=self.ids["special"])

        async def is_assigned() -> bool:
            job = (await self.request("other_customer", "GET", f"/v1/jobs/{self.jobs['asked']}"))["job"]
            self.ids["quote"] = str(job["quote"]["id"])
            return bool(job["status"] == "assigned")

        await wait_until(is_assigned, what="the technician who is asked")
        self.open_offers["asked"] = set()

    async def _create_offered_job(self, offered: Relations) -> None:
        """Create a job that a service books for another customer, and that four technicians are offered."""
        relations = {**offered, "other_customer": {"customer"}, "service": {"booker"}}
        await self.book("offering", "home_service", relations, by="service")
        await self.wait_for_offers("offering", *OFFERED_TECHNICIANS)
        self.open_offers["offering"] = set(OFFERED_TECHNICIANS)

    async def _create_order(self) -> None:
        """Create a delivery order. Technicians receive its public part in an event, and may not read more of it yet."""
        relations = {name: {"recipient"} for name in OFFERED_TECHNICIANS} | {"other_customer": {"customer"}}
        await self.book("order", "delivery", relations, amount=1500, currency="EUR")
        self.open_offers["order"] = set()

    async def _create_other_secrets(self) -> None:
        """Send an announcement to mediators and review a technician. Record the ids of the customer's notification,
        login and idempotency key.
        """
        text = self.new_secret("announcement", "mediator", "admin")
        await self.request(
            "admin",
            "POST",
            "/v1/announcements",
            {"event": "announcement.x", "roles": ["mediator"], "data": {"t": text}},
        )
        why = self.new_secret("why reviewed", "spare_technician", *MANAGERS)
        spare = f"/v1/technicians/{self.people['spare_technician'].user}"
        await self.request("onboarding_manager", "POST", f"{spare}/review", {"kyc": "rejected", "reason": why})

        async def has_notification() -> bool:
            items = (await self.request("customer", "GET", "/v1/notifications"))["items"]
            self.ids["notification"] = items[0]["id"] if items else ""
            return bool(items)

        await wait_until(has_notification, what="a notification")
        self.ids |= {"login": await self._log_in_again(), "key": str(uuid.uuid4())}
        device = {"platform": "ios", "token": self.add_secret("push token of customer", uuid.uuid4().hex)}
        await self.request("customer", "PUT", "/v1/devices/phone-of-customer", device)
        edited = await self.people["customer"](
            "PATCH", f"/v1/jobs/{self.jobs['held']}", {"metadata": {}}, Idempotency_Key=self.ids["key"]
        )
        assert edited.status_code == 200, edited.text
