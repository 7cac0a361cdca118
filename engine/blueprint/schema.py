"""A job's life as a declared thing: the words of the blueprint language, as they stand in TOML.

From one such table come the target and the states passed to Lua, the permission check, the names clients see and
the notifications. Nothing else in the code knows a state by name. Reading them: ``blueprint``; what is wrong with
one: ``checking``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from engine.blueprint.audience import DEFAULTS
from engine.types import OPS, Phase, Role

EVERYBODY = 1_000_000_000
"""The size of a wave that leaves nobody out. It is made in turns of 256 (lua/lib/search.lua); bounded to one turn,
rounds would ask the nearest over and over, and a crowd of them would keep the job from everybody else."""

NOUNS = frozenset(
    (
        *("session", "job", "offer", "bid", "price", "payment", "code", "room", "message", "mediator", "technician"),
        *("notification", "position", "typing", "presence", "token", "fix"),
    )
)
"""What the engine's own events begin with: nobody may announce such a one."""

OFFER = "offer.created"
"""The event that invites a technician: its notice is pushed with the offer."""

STATE_WORDS = frozenset({"word", "says"})
"""What of the job's state may stand among an event's fields, beside paths."""

Mode = Literal["broadcast", "bids", "direct", "allocate", "none"]
Relation = Literal["offered", "holder", "customer", "ops", "service", "mediator", "technician", "engine"]
Does = Literal[
    "move",  # the state alone
    "take",  # the caller becomes the holder, from his offer
    "refuse",  # the caller's offer is rejected; with `to` the job moves too
    "assign",  # a named technician becomes the holder, in place of the present one
    "release",  # the holder leaves, and is not asked again
    "bid",
    "withdraw",
    "award",  # the customer accepts a bid
    "capture",  # a payment was captured
    "freeze",  # a dispute: only what thaws goes on
    "thaw",
    "reissue",  # new codes
]


ANSWERS: dict[Does, tuple[Mode, ...]] = {
    "take": ("broadcast", "direct"),
    "refuse": ("broadcast", "bids", "direct"),
    "bid": ("bids",),
    "award": ("bids",),
}
"""What can be done only while somebody is looked for, and in which of these ways."""

GIVES: frozenset[Does] = frozenset({"take", "assign", "award"})
"""What makes somebody the holder."""

STARTING: tuple[Does, ...] = ("move", "take", "assign", "award")
"""What can bring a job to work, and waits for its time then."""


class Wave(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One round: at most ``size`` offers within ``radius_m`` (0: the whole zone), the next ``interval_s`` later."""

    size: int
    radius_m: int
    interval_s: float


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """score = km × distance − rating × rating − acceptance share × acceptance − hours waiting × waiting
    + load ÷ capacity × workload; the lowest is the best.
    """

    distance: float = 1.0
    rating: float = 0.0
    acceptance: float = 0.0
    waiting: float = 0.0
    workload: float = 0.0


class HeadStart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``first`` of a wave by rank may claim at once, the others ``s`` seconds later."""

    first: int
    s: float


class Dispatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The numbers of looking for a technician. Lifetimes in seconds; ``job_s`` 0 means that the job does not expire.

    ``lead_s``: a job with ``scheduled_for`` is put on offer this long before. ``grace_s``: how late an acceptance may
    be by the server's clock. ``open_offers``: the cap of open offers a technician (0: none). ``preferred_s``: the head
    start of the technician whom the customer prefers. ``newcomers``: the share of a wave kept for who has won fewer
    than ``newcomer_jobs`` jobs. ``radius_m``: how far ``allocate`` looks (0: the whole zone).
    """

    offer_s: float = 60.0
    job_s: float = 900.0
    repeat_s: float = 60.0
    waves: tuple[Wave, ...] = ()
    weights: Weights = Weights()
    lead_s: float = 3600.0
    grace_s: float = 0.0
    open_offers: int = 0
    head_start: HeadStart | None = None
    preferred_s: float = 0.0
    newcomers: float = 0.0
    newcomer_jobs: int = 5
    radius_m: int = 0


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the price comes from, and in which states another may be proposed. ``hours`` are the two names in ``at``
    between which work by the hour is counted.

    ``source`` says to readers whose price it is as a rule. A booking may name an amount under either, and is at the
    service's where it names none. ``quote`` is kept for prices that are promised beforehand: no blueprint may say so
    yet (checking.py), but older ones, which jobs may run by, did.
    """

    source: Literal["catalogue", "customer", "quote"] = "catalogue"
    propose: tuple[str, ...] = ()
    hours: tuple[str, ...] = ()


class Codes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the customer tells the technician at the door; ``tries`` wrong ones lock him out of the job."""

    purposes: tuple[str, ...] = ()
    tries: int = 5
    reissues: int = 3


class Timer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens ``after_s`` seconds in a state: ops are told (``warn``, ``escalate``), or a command is given."""

    after_s: float
    warn: str = ""
    command: str = ""


class Watch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The watchdog over a holder in a state, each part off at 0: he moved less than ``still_m`` in ``still_s``, went
    ``away_m`` farther than he was, or was not heard of for ``dark_s``. Ops are told, and after ``grace_s`` more the
    job is offered anew without him where ``release`` says so.
    """

    still_s: float = 0.0
    still_m: int = 50
    away_m: int = 0
    dark_s: float = 0.0
    grace_s: float = 120.0
    release: bool = False


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A state: the phase it belongs to and the sentence that tells a person of it.

    ``seeks`` is how a technician is looked for while the job is here without one; ``then`` the state it passes on to
    at once, in the same step; ``word`` what clients of this blueprint call it, for the ``fields`` of events. ``frees``:
    the work is over, though the job is not: its holder has room for another. ``asked``: a technician named here has not
    accepted yet, and sees the public part alone.
    """

    phase: Phase
    says: str
    seeks: Mode = "none"
    then: str = ""
    word: str = ""
    frees: bool = False
    asked: bool = False
    timers: tuple[Timer, ...] = ()
    watch: Watch | None = None

    @property
    def terminal(self) -> bool:
        """Whether nothing follows."""
        return self.phase in ("done", "closed")


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """A step: who may take it, from where, to where (nowhere: the state stays), and the event that tells of it.

    ``only`` narrows ``from`` for some of those who may. ``code`` is the purpose of the code it asks for. ``needs`` and
    ``unless`` are names that must, or must not, stand in the job's ``at``; ``marks`` is one that it writes there.
    ``charges``: the job's payment is asked for, by an event of its own unless the command's is that one; ``refunds``:
    from these states it is asked back. ``resolves`` is the outcome of a dispute it stands for.
    """

    by: tuple[Relation, ...]
    from_: tuple[str, ...]
    event: str
    to: str = ""
    message: str | None = None
    does: Does = "move"
    code: str = ""
    needs: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    marks: str = ""
    locks_price: bool = False
    charges: bool = False
    refunds: tuple[str, ...] = ()
    resolves: str = ""
    only: dict[Relation, tuple[str, ...]] = {}

    def states(self, relations: Iterable[str]) -> tuple[str, ...]:
        """From where somebody in these relations to the job may give it; of several the widest counts."""
        sets = [self.only.get(relation, self.from_) for relation in self.by if relation in relations]
        return tuple(state for state in self.from_ if any(state in each for each in sets))


class Notice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person is notified of; ``{says}`` and ``{technician.name}`` are filled in. ``when`` restricts it to events
    in whose data these paths hold these words.
    """

    title: str
    body: str
    when: dict[str, str] = {}


class EventRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"as_": "as"}):
    """Who hears of an event, under which name (by reason, where it is a table), with which fields added: by path in
    its data (``job.id``), ``word`` or ``says`` of the job's state, or true, false or a number as it stands. The notice
    for ``offered`` (of ``offer.created`` alone) goes out with the push of the offer and stands in no list.

    An ``announcement`` is of no job: ops make it, and say to which of those in ``to`` (anybody, where it is empty).
    """

    to: tuple[str, ...] = ()
    as_: str | dict[str, str] = ""
    fields: dict[str, str | bool | int] = {}
    notify: dict[Literal["customer", "holder", "offered"], Notice] = {}
    announcement: bool = False


class Blueprint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One declared lifecycle. ``key`` (``home_service@1``) is what a job and its events carry."""

    name: str
    version: int
    title: str
    states: dict[str, State]
    commands: dict[str, Command]
    events: dict[str, EventRule]
    dispatch: Dispatch = Dispatch()
    technician: Literal["", "optional", "required"] = ""
    """Whether a booking may name who is to do it; otherwise a name is a preference."""
    named: str = ""
    """The first state of a job that names one."""
    price: Price = Price()
    codes: Codes = Codes()
    contact_s: float = 86_400.0
    """How long after a job's end its two sides may still read each other's phone."""
    track_from: str = ""
    """From which state on, in declared order, the customer sees where the technician is; "": while it is active."""
    track_lead_s: float = 3600.0
    """How long before ``scheduled_for`` that begins at the earliest."""
    edit: dict[str, tuple[str, ...]] = {}
    """Which fields may be changed in which state; ``*`` is all of them."""

    @property
    def key(self) -> str:
        """Name and version: a running job keeps the blueprint it began with."""
        return f"{self.name}@{self.version}"

    @property
    def initial(self) -> str:
        """The first state declared."""
        return next(iter(self.states))

    def phase(self, state: str) -> str:
        """The phase of a state; "" for no state."""
        return self.states[state].phase if state else ""

    def tracks(self, state: str) -> bool:
        """Whether the customer of a job in this state may see where its technician is: never once the work is over,
        though the job is not (``frees``).
        """
        if state not in self.states or self.states[state].terminal or self.states[state].frees:
            return False
        if not self.track_from:
            return self.phase(state) == "active"
        order = list(self.states)
        return order.index(state) >= order.index(self.track_from)

    def waits(self, state: str) -> bool:
        """Whether those who are asked in this state (for bids, or by name) cannot be given the job before its time,
        since that brings it to work at once: then its lifetime counts from there.
        """
        does = {"bids": "award", "direct": "take"}.get(self.states[state].seeks)
        return does is not None and all(
            self.starts(c) for c in self.commands.values() if c.does == does and state in c.from_
        )

    def word(self, state: str) -> str:
        """What clients call a state: its own name, unless it has a word for them."""
        return self.states[state].word or state

    def audience(self, event: str) -> str:
        """The words for who receives an event, separated by spaces as scripts take them. An event that the blueprint
        does not address goes to ``audience.DEFAULTS``.
        """
        return self.declared_audience(event) or DEFAULTS.get(event, "")

    def declared_audience(self, event: str) -> str:
        """The same without the defaults: "" for an event that the blueprint does not address."""
        rule = self.events.get(event)
        return " ".join(rule.to) if rule else ""

    def starts(self, command: Command) -> bool:
        """Whether a command brings a job that waits to work, which has its time: DESIGN §5, ``lead_s``. Disputes and
        captured payments wait for no time.
        """
        return command.does in STARTING and self.phase(command.to) in ("active", "done")

    def is_early(self, scheduled: int | None, now: int) -> bool:
        """Whether the time of a job (ms) is farther off than ``lead_s``."""
        return scheduled is not None and now < self.begins(scheduled)

    def begins(self, scheduled: int) -> int:
        """From when on (ms) a job that is to be done at ``scheduled`` is at hand."""
        return max(0, scheduled - round(self.dispatch.lead_s * 1000))

    def wave(self, number: int) -> tuple[Wave, bool]:
        """Wave ``number`` (from 1) and whether it walks the zone: after the last one declared, everybody else."""
        if number <= len(self.dispatch.waves):
            declared = self.dispatch.waves[number - 1]
            return declared, declared.radius_m == 0
        return Wave(size=EVERYBODY, radius_m=0, interval_s=self.dispatch.repeat_s), True

    def actions(
        self,
        state: str,
        relations: Iterable[str],
        *,
        at: Iterable[str] = (),
        frozen: bool = False,
        held: bool = True,
        early: bool = False,
    ) -> list[str]:
        """The commands that somebody in these relations to a job may give now, in declared order; ``held``: somebody
        has it, so that nobody is looked for, and can be taken off it; ``early``: its time is
        farther off than ``lead_s``.
        """
        stands, marks = set(relations), set(at)
        sought = "none" if held or state not in self.states else self.states[state].seeks
        return [
            name
            for name, c in self.commands.items()
            if state in c.from_  # the cheap question first: this is asked at each claim
            and not stands.isdisjoint(c.by)
            and (not c.only or state in c.states(stands))
            and marks.issuperset(c.needs)
            and marks.isdisjoint(c.unless)
            and (not frozen or c.does == "thaw")
            and (held or c.does != "release")
            and not (early and self.phase(state) in ("open", "assigned") and self.starts(c))
            and (c.does not in ANSWERS or sought in ANSWERS[c.does])
        ]

    def asks_codes(self, names: Iterable[str]) -> bool:
        """Whether any of these commands needs a code, or new ones."""
        return any(self.commands[name].code or self.commands[name].does == "reissue" for name in names)

    def unlocked(self, names: Iterable[str], *, tried: int, reissued: int) -> list[str]:
        """Those of these commands that the codes let be given: none that needs one by who has ``tried`` as many wrong
        ones as he may, and no new ones after the last that may be ``reissued``.
        """
        may_try, may_reissue = tried < self.codes.tries, reissued < self.codes.reissues
        given = ((name, self.commands[name]) for name in names)
        return [n for n, c in given if (may_try or not c.code) and (may_reissue or c.does != "reissue")]


def relations(
    role: Role, user: str, *, customer: str, holder: str, offered: bool, frozen: bool = False, bids: bool = False
) -> list[Relation]:
    """How a caller stands to a job. None at all means that he may not know of it. ``bids``: it is open to bids, and he
    has the service it needs; ``frozen``: there is a dispute about it.
    """
    stands: list[tuple[bool, Relation]] = [
        (role in OPS, "ops"),
        (role == "service", "service"),
        (role == "customer" and user == customer, "customer"),
        (role == "technician" and user == holder, "holder"),
        (role == "technician" and offered, "offered"),
        (role == "technician" and bids, "technician"),
        (role == "mediator" and frozen, "mediator"),
    ]
    return [name for holds, name in stands if holds]
