"""The five shipped blueprints as they are specified, written by hand: states, commands, events, fields and audiences.

A line of ``commands`` is ``name: who may send it: from states > to state: event: message of the reply``. A line of
``events`` is ``type > name that clients see: audience: who is notified``; it has ``type (reason)`` where the name
depends on the reason, and ``-`` for nobody. The engine alone chooses the audience of an event with ``-``.
"""

from __future__ import annotations

import msgspec


class ExpectedBlueprint(msgspec.Struct, frozen=True):
    """The specification of one shipped blueprint."""

    states: str
    commands: str
    events: str
    search_modes: dict[str, str]
    """The search mode of each state in which a technician is searched for."""
    unaccepted_states: tuple[str, ...]
    """The states in which a technician is named or assigned and has not accepted yet."""
    track_from: str
    """The state from which the customer sees the technician's position."""
    tracked_states: str
    """All states in which the customer sees the technician's position."""
    editable_fields: dict[str, str]
    """The fields of the job that may be changed in each state; `*` is all."""
    dispatch: dict[str, float]
    status_words: dict[str, str] = {}
    """The word that clients see instead of each state's name."""
    added_fields: dict[str, dict[str, str | bool]] = {}
    """For each event, the fields that clients receive besides the engine's."""
    waves: tuple[tuple[int, int, float], ...] | None = None
    """Size, radius in metres and interval in seconds of each wave."""
    states_of_role: dict[str, dict[str, tuple[str, ...]]] = {}
    """For a command and a role, the only states in which this role may send the command."""
    timers: tuple[tuple[str, float, str], ...] = ()
    """State, seconds after its start, and the command that the engine then sends."""


HOME_SERVICE = ExpectedBlueprint(
    states="broadcasted accepted on_the_way reached in_progress completed cancelled expired",
    commands="""
        claim: offered: broadcasted > accepted: job.accepted: Job accepted
        decline: offered: broadcasted > : offer.declined: Offer declined
        depart: holder: accepted > on_the_way: job.status: On the way
        arrive: holder: on_the_way > reached: job.status: Arrived
        start: holder: reached > in_progress: job.status: Work started
        complete: holder: in_progress > completed: job.status: Work completed
        cancel: customer ops: broadcasted accepted on_the_way reached > cancelled: job.cancelled: Booking cancelled
        unassign: holder ops: accepted on_the_way reached > broadcasted: job.unassigned: Offered anew
        reassign: ops: accepted on_the_way reached > accepted: job.assigned: Reassigned
        expire: engine: broadcasted > expired: job.expired: -""",
    events="""
        job.created > job.created: customer ops: -
        job.updated > job.updated: customer holder ops: -
        job.searching > job.searching: customer ops: -
        offer.created > new_job_broadcast: -: offered
        offer.closed (taken) > job_taken: -: -
        offer.declined > offer.declined: ops: -
        job.accepted > job_accepted: customer holder ops: customer
        job.status > job.status: customer holder ops: customer
        job.assigned > job.assigned: customer holder ops: customer holder
        job.unassigned > job.unassigned: customer holder ops: customer
        job.cancelled > job.cancelled: customer holder ops: holder
        job.expired > job.expired: customer ops: customer""",
    search_modes={"broadcasted": "broadcast"},
    unaccepted_states=(),
    track_from="on_the_way",
    tracked_states="on_the_way reached in_progress",
    editable_fields={
        "broadcasted": "notes public_notes scheduled_for metadata",
        "accepted": "notes public_notes metadata",
        "on_the_way": "notes public_notes metadata",
    },
    dispatch={"offer_s": 60, "job_s": 900, "repeat_s": 60, "open_offers": 0, "preferred_s": 0, "newcomers": 0},
    added_fields={"offer.closed": {"bookingId": "job.id"}},
    waves=((10, 3000, 10), (20, 7000, 10), (40, 15000, 10)),
)

MARKETPLACE = ExpectedBlueprint(
    states="open requested scheduled in_progress completed_by_technician paid cancelled expired awaiting_confirmation",
    commands="""
        bid: technician: open > : bid.created: Bid received
        withdraw: technician: open > : bid.closed: Bid withdrawn
        award: customer: open > scheduled: job.assigned: Bid accepted
        accept: offered: requested > scheduled: job.assigned: Job accepted
        decline: offered: requested > open: job.status: Job declined
        start: holder: scheduled > in_progress: job.started: Work started
        complete: holder: in_progress > completed_by_technician: job.completed: Work completed
        confirm: customer engine: awaiting_confirmation > : payment.requested: Confirmed
        capture: service: awaiting_confirmation > paid: payment.received: Paid
        reissue: customer: scheduled in_progress > : job.updated: New codes
        cancel: customer ops: open requested awaiting_confirmation > cancelled: job.cancelled: Job cancelled
        unassign: customer holder ops: scheduled > open: job.unassigned: Open for bids again
        expire: engine: open requested > expired: job.expired: -""",
    events="""
        job.created > job.created: customer ops: -
        job.updated > job.updated: customer holder ops: -
        job.searching > job.searching: customer ops: -
        bid.created > bid.created: customer ops: -
        bid.accepted > bid.accepted: customer holder ops: -
        bid.closed > bid.closed: customer ops: -
        job.assigned > JOB_ASSIGNED: customer holder ops: customer holder
        job.started > JOB_STARTED: customer holder ops: customer
        job.completed > JOB_COMPLETED: customer holder ops: -
        job.status > job.status: customer holder ops: customer holder
        job.cancelled > JOB_CANCELLED: customer holder ops: holder
        job.unassigned > job.unassigned: customer holder ops: customer
        job.expired > job.expired: customer ops: customer
        job.late > job.late: ops: -
        price.proposed > price.proposed: customer holder ops: -
        price.rejected > price.rejected: customer holder ops: -
        price.changed > PRICE_CHANGED: customer holder ops service: -
        payment.requested > payment.requested: customer holder ops service: holder
        payment.received > PAYMENT_CAPTURED: customer holder ops service: holder
        payment.refunded > payment.refunded: customer holder ops service: -
        payment.failed > payment.failed: customer holder ops service: -
        code.failed > code.failed: ops: -
        code.locked > code.locked: customer ops: -""",
    search_modes={"open": "bids", "requested": "direct"},
    unaccepted_states=("requested",),
    track_from="scheduled",
    tracked_states="scheduled in_progress",
    editable_fields={
        "open": "*",
        "requested": "*",
        "scheduled": "service lat lon address postal_code notes public_notes scheduled_for duration_min metadata",
    },
    dispatch={"open_offers": 0, "preferred_s": 0},
    status_words={
        **{"open": "OPEN", "requested": "REQUESTED", "scheduled": "SCHEDULED", "in_progress": "IN_PROGRESS"},
        **{"completed_by_technician": "COMPLETED_BY_TECHNICIAN", "awaiting_confirmation": "AWAITING_CUSTOMER_CONFIRM"},
        **{"paid": "PAID", "cancelled": "CANCELLED", "expired": "EXPIRED"},
    },
    added_fields={
        "job.assigned": {"jobId": "job.id", "status": "word", "technicianId": "technician.id"},
        "job.started": {"jobId": "job.id", "status": "word", "startedAt": "job.at.in_progress"},
        "job.completed": {"jobId": "job.id", "status": "word"},
        "job.cancelled": {"jobId": "job.id", "status": "word"},
        "payment.received": {"jobId": "job.id", "status": "word", "paymentId": "payment.reference"},
        "price.changed": {"jobId": "job.id", "newAmount": "job.amount", "paymentIntentUpdated": "payment_requested"},
    },
    states_of_role={"cancel": {"customer": ("open", "requested")}},
    timers=(("awaiting_confirmation", 48 * 3600, "confirm"),),
)

DIRECT_BOOKING = ExpectedBlueprint(
    states="requested accepted in_progress completed declined cancelled expired",
    commands="""
        accept: offered: requested > accepted: job.accepted: Booking accepted
        decline: offered: requested > declined: job.status: Booking declined
        start: holder: accepted > in_progress: job.status: Work started
        complete: holder: in_progress > completed: job.status: Work completed
        cancel: customer ops: requested accepted in_progress > cancelled: job.cancelled: Booking cancelled
        dispute: customer holder: accepted in_progress > : job.disputed: Dispute opened
        resolve_resume: mediator: accepted in_progress > : job.resolved: The booking goes on
        resolve_cancel: mediator: accepted in_progress > cancelled: job.cancelled: Booking cancelled
        resolve_complete: mediator: accepted in_progress > completed: job.resolved: Booking completed
        expire: engine: requested > expired: job.expired: -""",
    events="""
        job.created > job.created: customer ops: -
        job.updated > job.updated: customer holder ops: -
        job.accepted > job.accepted: customer holder ops: customer
        job.status > job.status: customer holder ops: customer
        job.cancelled > job.cancelled: customer holder ops: holder
        job.expired > job.expired: customer ops: customer
        job.disputed > job.disputed: customer holder ops mediator: customer holder
        job.resolved > job.resolved: customer holder ops mediator: customer holder
        room.joined > user_joined: -: -
        message.created > new_message: -: -
        mediator.invited > mediator_invited: -: -""",
    search_modes={"requested": "direct"},
    unaccepted_states=("requested",),
    track_from="accepted",
    tracked_states="accepted in_progress",
    editable_fields={
        "requested": "notes public_notes scheduled_for metadata",
        "accepted": "notes public_notes metadata",
    },
    dispatch={"open_offers": 0},
    states_of_role={"cancel": {"customer": ("requested", "accepted")}},
)

MANAGED = ExpectedBlueprint(
    states="requested assigned accepted on_the_way in_progress work_done disputed signed paid cancelled expired",
    commands="""
        assign: engine ops: requested > assigned: job.assigned: Technician assigned
        accept: holder: assigned > accepted: job.accepted: Job accepted
        decline: holder engine: assigned > requested: job.status: Job declined
        depart: holder: accepted > on_the_way: job.status: On the way
        start: holder: on_the_way > in_progress: job.status: Work started
        finish: holder: in_progress > work_done: job.status: Waiting for the signature
        sign: customer: work_done > signed: job.signed: Signed
        capture: service: signed > paid: payment.received: Paid
        dispute: customer: work_done > disputed: job.disputed: Dispute opened
        resolve_resume: mediator: disputed > work_done: job.resolved: Back to the signature
        resolve_cancel: mediator: disputed > cancelled: job.resolved: Booking cancelled
        cancel: customer ops: requested assigned accepted on_the_way > cancelled: job.cancelled: Booking cancelled
        unassign: ops: assigned accepted on_the_way > requested: job.unassigned: Another technician is looked for
        reassign: ops: assigned accepted on_the_way > assigned: job.assigned: Reassigned
        expire: engine: requested > expired: job.expired: -""",
    events="""
        job.created > booking_update: customer ops: -
        job.updated > booking_update: customer holder ops: -
        job.searching > booking_update: customer ops: -
        job.assigned > booking_update: customer holder ops: holder
        job.accepted > booking_update: customer holder ops: customer
        job.status > booking_update: customer holder ops: customer
        job.signed > booking_update: customer holder ops: customer
        job.disputed > booking_update: customer holder ops mediator: customer holder
        job.resolved > booking_update: customer holder ops mediator: customer holder
        job.cancelled > booking_update: customer holder ops: customer holder
        job.unassigned > booking_update: customer holder ops: customer
        job.expired > booking_update: customer ops: customer
        job.late > booking_update: ops: -
        job.stalled > booking_update: ops: -
        job.dark > booking_update: ops: -
        job.unfilled > booking_update: ops: -
        payment.requested > payment.requested: customer holder ops service: -
        payment.received > payment.received: customer holder ops service: holder
        payment.refunded > payment.refunded: customer holder ops service: -
        payment.failed > payment.failed: customer holder ops service: -""",
    search_modes={"requested": "allocate"},
    unaccepted_states=("assigned",),
    track_from="on_the_way",
    tracked_states="on_the_way in_progress",
    editable_fields={
        "requested": "address notes public_notes metadata service lat lon postal_code scheduled_for",
        "assigned": "notes public_notes metadata",
        "accepted": "notes public_notes metadata",
    },
    dispatch={"open_offers": 0},
    timers=(("assigned", 60, "decline"),),
)

DELIVERY = ExpectedBlueprint(
    states="placed confirmed preparing ready on_the_way delivered cancelled",
    commands="""
        confirm: ops: placed > confirmed: job.status: Order confirmed
        prepare: ops: confirmed > preparing: job.status: Order in preparation
        ready: ops: preparing > ready: job.status: Order ready
        claim: offered: ready > : job.accepted: Order taken
        decline: offered: ready > : offer.declined: Offer declined
        assign: ops: confirmed preparing ready > : job.assigned: Driver assigned
        reassign: ops: confirmed preparing ready > : job.assigned: Driver assigned
        unassign: ops: ready on_the_way > ready: job.unassigned: Offered anew
        depart: holder: ready > on_the_way: job.status: On the way
        deliver: holder: on_the_way > delivered: job.status: Order delivered
        cancel: customer ops: placed confirmed preparing ready > cancelled: job.cancelled: Order cancelled""",
    events="""
        job.created > order:new: ops technicians: -
        job.updated > job.updated: customer holder ops: -
        job.searching > job.searching: ops: -
        offer.declined > offer.declined: ops: -
        job.accepted > job.accepted: customer holder ops: customer
        job.assigned > job.assigned: customer holder ops: customer holder
        job.unassigned > job.unassigned: customer holder ops: -
        job.status > order:status:update: customer holder ops: customer
        job.cancelled > order:cancelled: customer holder ops technicians: customer holder
        job.late > job.late: ops: -
        job.stalled > job.stalled: ops: -
        job.dark > job.dark: ops: -
        technician.status > delivery:status:update: ops: -
        position > delivery:location:update: customer ops: -
        payment.received > payment:received: customer ops: -
        notification > notification:new: -: -
        business.status > business:status:update: customers ops technicians: -
        promotion > offer:new: customers: -""",
    search_modes={"ready": "broadcast"},
    unaccepted_states=(),
    track_from="on_the_way",
    tracked_states="on_the_way",
    editable_fields={
        "placed": "address notes public_notes metadata",
        "confirmed": "notes public_notes metadata",
    },
    dispatch={"job_s": 0, "open_offers": 0},
    states_of_role={"cancel": {"customer": ("placed", "confirmed")}},
)

EXPECTED_BLUEPRINTS = {
    "delivery": DELIVERY,
    "direct_booking": DIRECT_BOOKING,
    "home_service": HOME_SERVICE,
    "managed": MANAGED,
    "marketplace": MARKETPLACE,
}
