"""The schema of a blueprint: the declared lifecycle of a job, as users write it in TOML.

One table is the source of the target state and the from states for Lua, the permission check, the names that clients
see and the notifications. No other code contains a state's name. ``catalogue`` reads blueprints, ``linter`` checks
them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from engine.blueprint.arrival import Arrival
from engine.blueprint.audience import DEFAULT_AUDIENCES
from engine.blueprint.event_catalogue import EVENT_TYPES
from engine.blueprint.match_rule import MatchRule
from engine.blueprint.price import Price
from engine.blueprint.relation import Relation
from engine.blueprint.required_files import missing_files
from engine.blueprint.schedule_rule import ScheduleRule
from engine.events import ms_of
from engine.rules.job_document import JobView
from engine.types import Phase

UNLIMITED_WAVE_SIZE = 1_000_000_000
"""The size of a wave that includes everybody. Lua looks at 256 technicians in one call, and continues in the next call
(lua/lib/search.lua). If the wave ended after one call, each round would ask the same nearest technicians, and a crowd
of them would hide the job from all others."""

_CATALOGUE_EVENT_NOUNS = {kind.partition(".")[0] for kind in EVENT_TYPES} - {"announcement"}
ENGINE_EVENT_NOUNS = _CATALOGUE_EVENT_NOUNS | {"session", "audit", "subject", "log", "typing", "presence"}
"""The first words of the names of the engine's own events, also of internal and reserved events. An announcement cannot
begin with one of these words."""

OFFER_EVENT = "offer.created"
"""The event that invites a technician. Its notice is pushed with the offer."""

STATE_FIELD_WORDS = frozenset({"word", "says"})
"""The values in an event's ``fields`` that name a text of the job's state; all others are paths."""

Mode = Literal["broadcast", "bids", "direct", "allocate", "none"]
Effect = Literal[
    "move",  # changes the state alone
    "take",  # the caller accepts their offer and becomes the holder
    "refuse",  # the caller's offer is rejected; with `to` the job moves too
    "assign",  # a named technician becomes the holder, in place of the present one
    "release",  # the holder leaves the job and gets no further offer of it
    "bid",
    "withdraw",
    "award",  # the customer accepts a bid
    "capture",  # records that a payment was captured
    "freeze",  # a dispute: until it is resolved, only commands that thaw are allowed
    "thaw",
    "reissue",  # gives the job new codes
]


SEARCH_MODES_OF_EFFECT: dict[Effect, tuple[Mode, ...]] = {
    "take": ("broadcast", "direct"),
    "refuse": ("broadcast", "bids", "direct"),
    "bid": ("bids",),
    "award": ("bids",),
}
"""Effects that are possible only while the engine searches for a technician, and the modes of search for each."""

HOLDER_EFFECTS: frozenset[Effect] = frozenset({"take", "assign", "award"})
"""Effects that make a technician the holder."""

WORK_STARTING_EFFECTS: tuple[Effect, ...] = ("move", "take", "assign", "award")
"""Effects that can start the work. For a scheduled job such a command is refused until ``lead_s`` before its time."""


# The word in TOML for each field that has another name in the code.
_TOML_WORDS = {"from_": "from", "as_": "as", "effect": "does", "delay_s": "s", "text": "says", "search_mode": "seeks"}
_TOML_WORDS |= {"next_state": "then", "status_word": "word", "frees_holder": "frees", "is_asked": "asked"}


class Wave(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One round of offers: to at most ``size`` technicians within ``radius_m`` metres of the job (0: the whole zone).
    The next wave follows after ``interval_s`` seconds.
    """

    size: int
    radius_m: int
    interval_s: float


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The weights of the score that ranks technicians in a wave. The lowest score is the best.

    score = km × distance − rating × rating − acceptance share × acceptance − hours waiting × waiting
    + load ÷ capacity × workload.
    """

    distance: float = 1.0
    rating: float = 0.0
    acceptance: float = 0.0
    waiting: float = 0.0
    workload: float = 0.0


class HeadStart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=_TOML_WORDS):
    """A head start: the ``first`` technicians of a wave by rank may claim at once, the others ``s`` seconds later."""

    first: int
    delay_s: float


class Dispatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The numbers of the search for a technician. All fields in ``_s`` are seconds.

    - ``offer_s``, ``job_s``: the lifetimes of an offer, and of a job without a technician (0: it does not expire).
    - ``repeat_s``: the interval of the waves after the declared ones. ``grace_s``: how late an acceptance may be.
    - ``lead_s``: how long before its time a job with ``scheduled_for`` is offered.
    - ``open_offers``: the most open offers for one technician (0: no limit).
    - ``preferred_s``: the head start of the technician whom the customer prefers.
    - ``newcomers``: the share of a wave (0 to 1) for technicians who have won fewer than ``newcomer_jobs`` jobs.
    - ``radius_m``: how far ``allocate`` searches (0: the whole zone). ``match``: it assigns in windows.
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
    match: MatchRule | None = None


class Codes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of confirmation codes: the customer gives such a code to the technician, who needs it for a step of
    the job. After ``tries`` wrong codes no code is accepted; new codes can be issued ``reissues`` times.
    """

    purposes: tuple[str, ...] = ()
    tries: int = 5
    reissues: int = 3


class RoomRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The chat room of a job. It opens at the ``booking`` or at the ``acceptance`` by the technician. ``members`` are
    ``customer`` and ``holder``; a technician whom the booking names is a member from the booking on. The room closes
    ``closes_s`` seconds after the job is done, and at once if the job is closed.
    """

    opens: Literal["booking", "acceptance"] = "acceptance"
    members: tuple[str, ...] = ("customer", "holder")
    closes_s: float = 86_400.0


class Timer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An action after ``after_s`` seconds in a state: either emit ``job.late`` with the step ``warn`` or ``escalate``,
    or run ``command``.
    """

    after_s: float
    warn: str = ""
    command: str = ""


class Watch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The watchdog of a job's holder in a state. If ``still_s``, ``away_m`` or ``dark_s`` is 0, that check is off.

    The watchdog reports a holder who moved less than ``still_m`` metres in ``still_s`` seconds, who is ``away_m``
    metres farther from the job than before, or who sent no position for ``dark_s`` seconds. Ops get an event. If
    ``release`` is true, the holder loses the job after ``grace_s`` more seconds, and the job is offered to others.
    """

    still_s: float = 0.0
    still_m: int = 50
    away_m: int = 0
    dark_s: float = 0.0
    grace_s: float = 120.0
    release: bool = False


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=_TOML_WORDS):
    """A state: its phase, and in ``text`` the sentence that describes the state to a person. ``search_mode``: how the
    engine searches for a technician while the job has no holder. ``next_state``: the job enters it in the same step.
    ``status_word``: how clients of this blueprint spell the state (`OPEN`), for a blueprint that adds the status to
    its events; "" = the state's name. ``frees_holder``: the work is
    over but the job is not, so that its holder may take another job. ``is_asked``: the technician of the job has not
    accepted yet, and sees only the job's public part.
    """

    phase: Phase
    text: str
    search_mode: Mode = "none"
    next_state: str = ""
    status_word: str = ""
    frees_holder: bool = False
    is_asked: bool = False
    timers: tuple[Timer, ...] = ()
    watch: Watch | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self.phase in ("done", "closed")


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=_TOML_WORDS):
    """A command: the relations that may give it, its from states, its target state ("": no change), and its event.

    ``only`` restricts ``from`` for some of the relations in ``by``. ``code`` is the purpose of the code that the
    command requires. ``needs`` and ``unless`` are names that must, or must not, be in the job's ``at``; ``marks`` is a
    name that the command writes there. ``charges``: the command requests the job's payment, with the event
    ``payment.requested`` besides its own event, unless that is the same. ``refunds``: from these states the command
    requests a refund. ``holds``: the command gives the job to a technician and requests a hold of the job's amount. A
    command that ``charges`` names the hold, and the hold is released if the technician leaves or the job ends.
    ``resolves`` is the outcome of a dispute. ``signs``: the customer gives the command by signing the record of the
    job, and in no other way. ``needs_files``: the least numbers of files, by kind.
    """

    by: tuple[Relation, ...]
    from_: tuple[str, ...]
    event: str
    to: str = ""
    message: str | None = None
    effect: Effect = "move"
    code: str = ""
    needs: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    marks: str = ""
    locks_price: bool = False
    charges: bool = False
    holds: bool = False
    signs: bool = False
    refunds: tuple[str, ...] = ()
    resolves: str = ""
    only: dict[Relation, tuple[str, ...]] = {}
    needs_files: dict[str, int] = {}

    def from_states(self, relations: Iterable[str]) -> tuple[str, ...]:
        """Return the states in which a caller with any of these relations may give the command."""
        sets = [self.only.get(relation, self.from_) for relation in self.by if relation in relations]
        return tuple(state for state in self.from_ if any(state in each for each in sets))


class NotificationText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The text of a notification about an event, with placeholders such as ``{says}`` and ``{technician.name}``.
    ``when`` maps paths in the event's data to values: the notification is sent only if the data has these values."""

    title: str
    body: str
    when: dict[str, str] = {}


class EventRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=_TOML_WORDS):
    """The audience of an event, its name for clients (or a table with a name for each reason), and the added fields.

    A field is a path in the event's data (``job.id``), ``word`` or ``says`` of the job's state, or a literal true,
    false or number. The notice for ``offered`` (only in ``offer.created``) is sent with the push of the offer and is
    in no list of notifications.

    An ``announcement`` belongs to no job. Ops make it and choose its audience among ``to`` (any role if it is empty).
    """

    to: tuple[str, ...] = ()
    as_: str | dict[str, str] = ""
    fields: dict[str, str | bool | int] = {}
    notify: dict[Literal["customer", "holder", "offered"], NotificationText] = {}
    announcement: bool = False


class Blueprint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A blueprint: one declared lifecycle. Each job and each of its events contains the blueprint's ``key``."""

    name: str
    version: int
    title: str
    states: dict[str, State]
    commands: dict[str, Command]
    events: dict[str, EventRule]
    dispatch: Dispatch = Dispatch()
    technician: Literal["", "optional", "required"] = ""
    """Whether a booking may name its technician. With "", a named technician is only a preference."""
    named: str = ""
    """The first state of a job whose booking names its technician."""
    price: Price = Price()
    schedule: ScheduleRule = ScheduleRule()
    codes: Codes = Codes()
    room: RoomRule | None = None
    """The chat room of each job; None if jobs have no room."""
    contact_s: float = 86_400.0
    """How long after a job's end customer and technician may still read each other's phone number."""
    track_from: str = ""
    """The first state, in declared order, in which the customer sees the technician's position; "": the active ones."""
    track_lead_s: float = 3600.0
    """How long before ``scheduled_for`` the position is shared at the earliest."""
    arrival: Arrival = Arrival()
    edit: dict[str, tuple[str, ...]] = {}
    """The fields that may be edited in each state; ``*`` is all of them."""

    @property
    def key(self) -> str:
        """Name and version (``home_service@1``). A running job uses the version with which it began."""
        return f"{self.name}@{self.version}"

    @property
    def may_hold(self) -> bool:
        """Whether any command requests a hold of money."""
        return any(command.holds for command in self.commands.values())

    @property
    def initial_state(self) -> str:
        """The first state in declared order: that of a new job whose booking names no technician."""
        return next(iter(self.states))

    def phase(self, state: str) -> str:
        """Return the phase of a state; "" for ""."""
        return self.states[state].phase if state else ""

    def is_tracked(self, state: str) -> bool:
        """Return whether the customer of a job in this state may see the technician's position. False after the work is
        over, even if the job has not ended (``frees_holder``).
        """
        if state not in self.states or self.states[state].is_terminal or self.states[state].frees_holder:
            return False
        if not self.track_from:
            return self.phase(state) == "active"
        order = list(self.states)
        return order.index(state) >= order.index(self.track_from)

    def is_on_the_way(self, state: str) -> bool:
        """Return whether the technician of a job in this state travels to its place (``Arrival.states``)."""
        tracked = (name for name in self.states if self.is_tracked(name))
        return state in (self.arrival.states or (next(tracked, ""),)) and self.is_tracked(state)

    def waits_for_schedule(self, state: str) -> bool:
        """Return whether a technician cannot get a job in this state before its scheduled time, because the command by
        which they get the job also starts the work. This concerns technicians who bid, or who are asked by name. The
        lifetime of such a search begins at the job's scheduled time.
        """
        effect = {"bids": "award", "direct": "take"}.get(self.states[state].search_mode)
        return effect is not None and all(
            self.starts_work(c) for c in self.commands.values() if c.effect == effect and state in c.from_
        )

    def status_word(self, state: str) -> str:
        """Return the status word of a state for clients: ``status_word``, or else the state's name."""
        return self.states[state].status_word or state

    def audience(self, event: str) -> str:
        """Return the words for the receivers of an event, separated by spaces as scripts expect them. If the blueprint
        declares no audience for the event, return that of ``audience.DEFAULT_AUDIENCES``.
        """
        return self.declared_audience(event) or DEFAULT_AUDIENCES.get(event, "")

    def declared_audience(self, event: str) -> str:
        """Return the words for the receivers that the blueprint itself declares for an event; "" if none."""
        rule = self.events.get(event)
        return " ".join(rule.to) if rule else ""

    def starts_work(self, command: Command) -> bool:
        """Return whether a command starts the work. Such a command is refused for a scheduled job until ``lead_s``
        before its time. Commands for disputes and captured payments do not start the work, and are not refused.
        """
        return command.effect in WORK_STARTING_EFFECTS and self.phase(command.to) in ("active", "done")

    def is_too_early(self, job: JobView, now: int) -> bool:
        """Return whether it is too early (at ``now``, ms) to start the work on a job, because of its scheduled time."""
        if job.scheduled_for is None or job.phase not in ("open", "assigned"):
            return False
        return now < self.work_begins_at(ms_of(job.scheduled_for))

    def work_begins_at(self, scheduled: int) -> int:
        """Return the time (ms) from which a job scheduled for ``scheduled`` (ms) may be started: ``lead_s`` before."""
        return max(0, scheduled - round(self.dispatch.lead_s * 1000))

    def wave(self, number: int) -> tuple[Wave, bool]:
        """Return wave ``number`` (from 1), and whether the wave covers the whole zone. After the declared waves, each
        wave includes everybody.
        """
        if number <= len(self.dispatch.waves):
            declared = self.dispatch.waves[number - 1]
            return declared, declared.radius_m == 0
        return Wave(size=UNLIMITED_WAVE_SIZE, radius_m=0, interval_s=self.dispatch.repeat_s), True

    def actions(self, job: JobView, relations: Iterable[str], *, now: int) -> list[str]:
        """Return the commands that a caller with these relations to ``job`` may give at ``now`` (ms), in declared
        order. ``job`` may be the public part.
        """
        given_relations, marks, state = set(relations), set(job.at), job.status
        held, early = job.holder_id != "", self.is_too_early(job, now)
        mode = "none" if held or state not in self.states else self.states[state].search_mode
        return [
            name
            for name, c in self.commands.items()
            if state in c.from_  # the cheap check first: this runs at each claim
            and not given_relations.isdisjoint(c.by)
            and (not c.only or state in c.from_states(given_relations))
            and marks.issuperset(c.needs)
            and marks.isdisjoint(c.unless)
            and (not job.frozen or c.effect == "thaw")
            and (held or c.effect != "release")
            and not (c.needs_files and missing_files(c.needs_files, job))
            and not (early and self.starts_work(c))
            and (c.effect not in SEARCH_MODES_OF_EFFECT or mode in SEARCH_MODES_OF_EFFECT[c.effect])
        ]

    def asks_for_codes(self, names: Iterable[str]) -> bool:
        """Return whether any of these commands needs a code or issues new codes."""
        return any(self.commands[name].code or self.commands[name].effect == "reissue" for name in names)

    def unlocked_actions(self, names: Iterable[str], *, tried: int, reissued: int) -> list[str]:
        """Return ``names`` without the commands that need a code if all attempts (``tried``) are used up, and without
        the commands that issue new codes if new codes were issued (``reissued``) as often as permitted.
        """
        may_try, may_reissue = tried < self.codes.tries, reissued < self.codes.reissues
        commands = ((name, self.commands[name]) for name in names)
        return [n for n, c in commands if (may_try or not c.code) and (may_reissue or c.effect != "reissue")]
