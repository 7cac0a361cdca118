"""A small world with everybody in it, and eight jobs in which they stand to each other in every way there is.

Each secret of it is a text that stands nowhere else, with those who may ever be shown it. Whom a job concerns is said
here by hand, by what happened in the story, and not asked of the engine.
"""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import msgspec

from engine.process.signer import sign_token
from engine.types import Role, UserId
from server.serve import Running
from tests.server.http import people
from tests.server.http.client import Client
from tests.support import live_accounts
from tests.support.socket_client import SocketClient
from tests.support.wait import wait_until

CUSTOMERS = ("customer", "other_customer", "spare_customer")
WORKERS = ("holder", "former", "loser", "decliner")
TECHNICIANS = (*WORKERS, "never", "spare_technician")
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
"""Where the holder is."""

Ties = dict[str, set[str]]


class Secret:
    """A text that only ``readers`` may ever be shown. ``told``: events may hold it."""

    def __init__(self, text: str, readers: frozenset[str], *, told: bool) -> None:
        self.text, self.readers, self.told = text, readers, told


class World:
    """Everybody, what they share, and how each stands to each thing."""

    def __init__(self, server: Running, http: httpx.AsyncClient) -> None:
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
        self.ties: dict[str, Ties] = {}
        """Of each job: person → ties."""
        self.open_offers: dict[str, set[str]] = {}
        self.ids: dict[str, str] = {}
        self.start = ""
        self.login: dict[str, str] = {}
        self.wrong: dict[str, list[str]] = {}
        """By route and op that were asked, what went otherwise than declared."""
        self.met: set[str] = set()
        """The secrets that somebody was shown who may see them."""

    def hide(self, name: str, text: str, *readers: str, told: bool = False) -> str:
        """Note a secret; gives its text."""
        self.secrets[name] = Secret(text, frozenset(readers), told=told)
        return text

    def secret(self, name: str, *readers: str) -> str:
        """A fresh text, which events may tell to its readers."""
        return self.hide(name, f"{name}-{uuid.uuid4().hex[:12]}", *readers, told=True)

    def shown(self, who: str, text: str, *, event: bool = False) -> list[str]:
        """The secrets in ``text`` that this person may not see, or nobody in an event."""
        found = [(name, secret) for name, secret in self.secrets.items() if secret.text in text]
        wrong = [name for name, secret in found if who not in secret.readers or (event and not secret.told)]
        self.met |= {name for name, _ in found} - set(wrong)
        return wrong

    # people

    async def settle(self) -> None:
        """Make everybody, with an open socket each."""
        for name, role in STAFF.items():
            await live_accounts.put_account(self.server.engine, f"cli_{name}", role)
            token = sign_token(self.server.engine.signer, UserId(f"cli_{name}"), role)
            self.people[name] = Client(self.http, token, f"cli_{name}")
        cursor = (await self.people["admin"]("GET", "/v1/sync")).json()["cursor"]
        self.start = f"main:{cursor['main']['epoch']}:0"
        await self._services()
        await self._other_service()
        for number, name in enumerate((*CUSTOMERS, *TECHNICIANS)):
            await self._register(name, f"+1 555 70{number:02d} {uuid.uuid4().int % 10**6:06d}")
        for name, client in self.people.items():
            self.sockets[name] = await SocketClient(self.server.ws_url, client.token).open()
        for name in TECHNICIANS:
            service = self.ids["special" if name in ("never", "spare_technician") else "service"]
            await people.approve(self.people[name], self.people["admin"], service)
            mine = f"/v1/technicians/{self.people[name].user}"
            await self.must("admin", "PATCH", mine, {"capacity": 10})
        for name in (*WORKERS, "never"):
            await people.go_online(self.people[name], **(POSITION if name == "holder" else {}))

    async def _services(self) -> None:
        for name in ("service", "special", "spare"):
            self.ids[name] = await people.make_service(self.people["admin"])

    async def _other_service(self) -> None:
        who = {"email": f"{uuid.uuid4().hex}@example.org", "password": "correct horse"}
        await self.must("admin", "POST", "/v1/users", {**who, "name": "Other", "role": "service"})
        told = (await self.nobody("POST", "/v1/auth/login", who)).json()
        self.people["other_service"] = Client(self.http, told["access_token"], told["user"]["id"])

    async def _register(self, name: str, phone: str) -> None:
        email, password = f"{uuid.uuid4().hex}@example.org", f"pass {uuid.uuid4().hex}"
        role = self.roles[name]
        body = {"email": email, "password": password, "name": name, "role": role, "phone": phone}
        told = (await self.nobody("POST", "/v1/auth/register", body)).json()
        self.people[name] = Client(self.http, told["access_token"], told["user"]["id"])
        # A customer's is for who does their work, and the holder's for whose work they do.
        others = {"customer": {"holder"}, "holder": {"customer"}}.get(name, set())
        managers = MANAGERS if role == "technician" else {"admin"}
        self.hide(f"phone of {name}", told["user"]["phone"], name, *others, *managers)
        self.hide(f"email of {name}", email, name, "admin")
        self.hide(f"password of {name}", password)
        self.hide(f"refresh token of {name}", told["refresh_token"])
        if name == "customer":
            self.login = {"email": email, "password": password}

    async def _another_login(self) -> str:
        """The customer's second one, which no socket of the story came with."""
        await self.nobody("POST", "/v1/auth/login", self.login)
        logins = (await self.must("customer", "GET", "/v1/me/sessions"))["items"]
        return self.hide("login of customer", str(logins[0]["id"]), "customer")

    # doing

    async def must(self, name: str, method: str, path: str, body: Any = None) -> Any:
        """A request that is done; what it answers."""
        answer = await self.people[name](method, path, body)
        assert answer.is_success, (name, method, path, answer.text)
        return answer.json() if answer.content else None

    async def step(self, name: str, job: str, command: str, **body: Any) -> Any:
        """One step that is taken."""
        return await self.must(name, "POST", f"/v1/jobs/{self.jobs[job]}/{command}", body)

    async def book(self, job: str, blueprint: str, ties: Ties, *, by: str = "", **more: Any) -> None:
        """A job with secrets of its own. ``ties`` are those of whom the story concerns; ops and services come along."""
        self.ties[job] = {**{name: {"ops"} for name in OPS}, **{name: {"service"} for name in SERVICES}}
        for name, has in ties.items():
            self.ties[job][name] = self.ties[job].get(name, set()) | has
        self.blueprints[job], owner = blueprint, next(n for n, has in ties.items() if "customer" in has)
        offset = len(self.jobs) / 1e4
        body = {
            "blueprint": blueprint,
            "service": self.ids["service"],
            "lat": HERE["lat"] + offset,
            "lon": HERE["lon"] + offset,
            "address": self._of(job, "address"),
            "postal_code": self._of(job, "postal_code"),
            "notes": self._of(job, "notes"),
            "public_notes": self._of(job, "public_notes", offered=True),
            "reference": self._of(job, "reference"),
            "metadata": {"door": self._of(job, "metadata")},
            **({"customer": self.people[owner].user} if by else {}),
            **more,
        }
        self.hide(f"latitude of {job}", repr(body["lat"]), *self.whole(job), told=True)
        self.hide(f"longitude of {job}", repr(body["lon"]), *self.whole(job), told=True)
        told = await self.must(by or owner, "POST", "/v1/jobs", body)
        self.jobs[job] = told["job"]["id"]

    def _of(self, job: str, field: str, *, offered: bool = False) -> str:
        return self.secret(f"{field} of {job}", *(self.known(job) if offered else self.whole(job)))

    def whole(self, job: str) -> set[str]:
        """Who may see all of a job: the parties, whoever was one, and staff. Not who is merely asked."""
        full = {"customer", "holder", "left", "ops", "service", "mediator"}
        return {name for name, has in self.ties[job].items() if has & full}

    def known(self, job: str) -> set[str]:
        """Who may know of a job at all."""
        return {name for name, has in self.ties[job].items() if has - {"booker"}}

    async def offered(self, job: str, *names: str) -> None:
        """Wait until these hold an open offer of the job."""
        for name in names:
            await people.wait_for_offer(self.people[name], self.jobs[job])

    # the story

    async def live(self) -> None:
        """Eight jobs, each as far as it goes."""
        self._slow_down()
        offered = {name: {"offered"} for name in WORKERS}
        await self._held(offered)
        await self._done(offered)
        await self._awarded(offered)
        await self._bidding(offered)
        await self._disputed()
        await self._asked()
        await self._offering(offered)
        await self._order()
        await self._word()

    def _slow_down(self) -> None:
        """Let nothing run out while the sweep asks: neither an offer nor the patience with who is asked."""
        known = self.server.engine.blueprints
        home, managed = known.by_name["home_service"], known.by_name["managed"]
        waiting = msgspec.structs.replace(managed.states["assigned"], timers=())
        for changed in (
            msgspec.structs.replace(home, dispatch=msgspec.structs.replace(home.dispatch, offer_s=3600.0)),
            msgspec.structs.replace(managed, states=managed.states | {"assigned": waiting}),
        ):
            known.by_name[changed.name] = known.by_key[changed.key] = changed
        known.default = known.by_name[known.default.name]

    async def _held(self, offered: Ties) -> None:
        """Offered to all four: one declines, one takes it and is replaced, and the holder is on the way."""
        ties = {**offered, "customer": {"customer"}, "holder": {"offered", "holder"}, "former": {"offered", "left"}}
        await self.book("held", "home_service", ties | {"decliner": {"offered", "declined"}})
        await self.offered("held", *WORKERS)
        await self.step("decliner", "held", "decline", reason=self.secret("why declined", "decliner", *OPS))
        await self.step("former", "held", "claim")
        followed = await self.sockets["former"].request("subscribe", channel=f"job:{self.jobs['held']}")
        assert "ok" in followed, followed
        parties = {"customer", "holder", "former"} | OPS | SERVICES
        why = self.secret("why reassigned", *parties)
        await self.step("admin", "held", "reassign", technician=self.people["holder"].user, reason=why)
        later = self.secret("notes written later", *(self.whole("held") - {"former"}))
        await self.must("customer", "PATCH", f"/v1/jobs/{self.jobs['held']}", {"notes": later})
        await self.step("holder", "held", "depart")
        await self._move()
        self.open_offers["held"] = set()

    async def _move(self) -> None:
        """Where the holder is, which the customers of their jobs, services and the mediator may follow."""
        mine = f"/v1/technicians/{self.people['holder'].user}/location"
        await self.must("holder", "PUT", mine, {**POSITION, "accuracy": 5.0})
        followers = {"holder", "customer", "mediator"} | OPS | SERVICES
        for part, number in POSITION.items():
            self.hide(f"{part} of the holder", repr(number), *followers)

    async def _done(self, offered: Ties) -> None:
        """Done and rated."""
        ties = {**offered, "customer": {"customer"}, "holder": {"offered", "holder", "took"}}
        await self.book("done", "home_service", ties)
        await self.offered("done", "holder", "loser")
        for command in ("claim", "depart", "arrive", "start", "complete"):
            await self.step("holder", "done", command)
        rating = {"stars": 4, "comment": self.secret("comment of the rating")}
        await self.must("customer", "POST", f"/v1/jobs/{self.jobs['done']}/ratings", rating)
        self.open_offers["done"] = set()

    async def _awarded(self, offered: Ties) -> None:
        """Bid for by two, given to the holder, who proposes another price."""
        ties = {**offered, "customer": {"customer"}, "holder": {"offered", "holder"}}
        await self.book("awarded", "marketplace", ties, amount=9000, currency="EUR")
        await self.offered("awarded", *WORKERS)
        readers = {"customer"} | OPS | SERVICES
        job = f"/v1/jobs/{self.jobs['awarded']}"
        note = self.secret("note of the bid that lost", "loser", *readers)
        await self.must("loser", "POST", f"{job}/bids", {"amount": 8000, "note": note})
        note = self.secret("note of the bid that won", "holder", *readers)
        bid = await self.must("holder", "POST", f"{job}/bids", {"amount": 8100, "note": note})
        await self.must("customer", "POST", f"{job}/bids/{bid['bid']['id']}/accept", {})
        reason = self.secret("why another price", "holder", *readers)
        told = await self.must("holder", "POST", f"{job}/price-proposals", {"amount": 9900, "reason": reason})
        self.ids["proposal"] = told["proposal"]["id"]
        codes = (await self.must("customer", "GET", job))["job"]["codes"]
        for purpose, code in codes.items():
            self.hide(f"{purpose} code", f'"{code}"', "customer")
        self.open_offers["awarded"] = set()

    async def _bidding(self, offered: Ties) -> None:
        """Open to bids, with one."""
        ties = {name: {"offered", "technician"} for name in offered} | {"customer": {"customer"}}
        ties["loser"] = {"offered", "technician", "bidder"}
        await self.book("bidding", "marketplace", ties, amount=9000, currency="EUR")
        await self.offered("bidding", *WORKERS)
        note = self.secret("note of the open bid", "loser", "customer", *OPS, *SERVICES)
        made = await self.must("loser", "POST", f"/v1/jobs/{self.jobs['bidding']}/bids", {"amount": 8000, "note": note})
        self.ids["bid"] = made["bid"]["id"]
        self.open_offers["bidding"] = set()

    async def _disputed(self) -> None:
        """Frozen, before a mediator."""
        ties = {"customer": {"customer"}, "holder": {"offered", "holder", "took"}, "mediator": {"mediator"}}
        await self.book("disputed", "direct_booking", ties, technician=self.people["holder"].user)
        await self.offered("disputed", "holder")
        await self.step("holder", "disputed", "accept")
        reason = self.secret("why disputed", *self.whole("disputed"))
        path = f"/v1/jobs/{self.jobs['disputed']}/disputes"
        told = await self.must("customer", "POST", path, {"reason": reason})
        self.ids["dispute"] = told["dispute"]["id"]
        self.open_offers["disputed"] = set()

    async def _asked(self) -> None:
        """Given to somebody who has not said yes."""
        ties = {"other_customer": {"customer"}, "never": {"asked"}}
        await self.book("asked", "managed", ties, service=self.ids["special"])

        async def assigned() -> bool:
            job = await self.must("other_customer", "GET", f"/v1/jobs/{self.jobs['asked']}")
            return bool(job["job"]["status"] == "assigned")

        await wait_until(assigned, what="the technician who is asked")
        self.open_offers["asked"] = set()

    async def _offering(self, offered: Ties) -> None:
        """Booked by a service for another customer, and on offer."""
        ties = {**offered, "other_customer": {"customer"}, "service": {"booker"}}
        await self.book("offering", "home_service", ties, by="service")
        await self.offered("offering", *WORKERS)
        self.open_offers["offering"] = set(WORKERS)

    async def _order(self) -> None:
        """Placed: technicians who may take such work are told its public part, and may not read more of it yet."""
        ties = {name: {"told"} for name in WORKERS} | {"other_customer": {"customer"}}
        await self.book("order", "delivery", ties, amount=1500, currency="EUR")
        self.open_offers["order"] = set()

    async def _word(self) -> None:
        """An announcement to mediators alone, a review, and the ids of what is one's own."""
        text = self.secret("announcement", "mediator", "admin")
        await self.must(
            "admin",
            "POST",
            "/v1/announcements",
            {"event": "announcement.x", "roles": ["mediator"], "data": {"t": text}},
        )
        why = self.secret("why reviewed", "spare_technician", *MANAGERS)
        spare = f"/v1/technicians/{self.people['spare_technician'].user}"
        await self.must("onboarding_manager", "POST", f"{spare}/review", {"kyc": "rejected", "reason": why})

        async def notified() -> bool:
            items = (await self.must("customer", "GET", "/v1/notifications"))["items"]
            self.ids["notification"] = items[0]["id"] if items else ""
            return bool(items)

        await wait_until(notified, what="a notification")
        self.ids["login"] = await self._another_login()
        self.ids["key"] = str(uuid.uuid4())
        edited = await self.people["customer"](
            "PATCH", f"/v1/jobs/{self.jobs['held']}", {"metadata": {}}, Idempotency_Key=self.ids["key"]
        )
        assert edited.status_code == 200, edited.text
