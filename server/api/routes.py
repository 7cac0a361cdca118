"""The table of routes: who may do what over HTTP, in one place.

It drives the routing, the role check, the limits, the OpenAPI document, and the test that walks every route
without a token and with each wrong role. What a role may do *to a job* stands in the job's blueprint, so
all roles pass here to its commands; whose a thing is, the engine knows.

The router tries the paths in turn: what is called most stands in front, and fixed paths before a parameter in the
same place (``/claim`` before ``/{command}``).
"""

from __future__ import annotations

from typing import Any

from engine.roles import (
    ADMIN,
    BOOKERS,
    CUSTOMER,
    JOB_READERS,
    MANAGERS,
    MEDIATOR,
    OPS,
    REVIEWERS,
    SERVICE,
    SIDES,
    TECHNICIAN,
    USERS,
)
from engine.types import Role
from server.api.endpoint import Handler, Route
from server.api.handlers import (
    about,
    announcements,
    auth,
    bids,
    blocks,
    blueprints,
    catalogue,
    disputes,
    events,
    jobs,
    logins,
    notifications,
    offers,
    payments,
    positions,
    prices,
    ratings,
    requests,
    sync,
    technicians,
    users,
)
from server.http import policy
from server.schemas.about import About, Alive, ProblemReply, Ready
from server.schemas.announcements import AnnouncementReply, NewAnnouncement
from server.schemas.auth import Login, Logon, NewTicket, RefreshToken, Register, Signed, Ticket
from server.schemas.bids import Bid, BidReply, BidStep, NewBid
from server.schemas.blocks import Block, Blocked, BlockReply
from server.schemas.blueprints import Declared, DeclaredReply
from server.schemas.decode import Body, Nothing
from server.schemas.disputes import Dispute, DisputeReply, NewDispute, Resolution
from server.schemas.events import EventsQuery, Heard
from server.schemas.jobs import (
    Commands,
    CommandsReply,
    HistoryItem,
    Job,
    JobReply,
    JobsQuery,
    NewJob,
    PatchJob,
    Respond,
    Step,
    StepReply,
)
from server.schemas.lists import Items, ListQuery, LiveItems
from server.schemas.notifications import Notification
from server.schemas.offers import Offer
from server.schemas.payments import NewPayment, Payment, PaymentReply
from server.schemas.positions import FixHeard, Location, Track
from server.schemas.prices import NewProposal, ProposalAnswer, ProposalReply
from server.schemas.ratings import NewRating, RatingReply
from server.schemas.requests import Verdict
from server.schemas.services import NewService, PatchService, Service, ServiceReply, ServicesQuery
from server.schemas.sync import Sync
from server.schemas.technicians import (
    Availability,
    PatchTechnician,
    Review,
    SetAvailability,
    Technician,
    TechnicianReply,
    TechniciansQuery,
)
from server.schemas.users import AccountReply, Me, NewUser, PatchUser, Suspend, User, UserReply, UsersQuery
from server.schemas.waves import Wave

ANYONE = None


def listing(
    path: str,
    handler: Handler,
    roles: frozenset[Role],
    ties: policy.Policy,
    item: Any,
    *,
    query: type[ListQuery] = ListQuery,
    live: bool = False,
) -> Route:
    """A list. It comes in pages, so that whatever else its ``query`` takes, it takes `limit` and `cursor`."""
    reply = LiveItems[item] if live else Items[item]
    return Route("GET", path, handler, roles, ties, query=query, reply=reply)


def step(
    path: str,
    handler: Handler,
    roles: frozenset[Role],
    body: type[Body] = Step,
    *,
    meter: str = "requests",
) -> Route:
    """A step of a job, which its blueprint allows."""
    return Route("POST", path, handler, roles, policy.STEP, body, reply=StepReply, keyed=True, meter=meter)


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/jobs",
        jobs.create,
        BOOKERS,
        policy.OWN,
        NewJob,
        reply=StepReply,
        status=201,
        also=(200,),
        keyed=True,
    ),
    listing("/v1/jobs", jobs.find, JOB_READERS, policy.OWN, Job, query=JobsQuery, live=True),
    Route("GET", "/v1/jobs/{id}", jobs.read, JOB_READERS, policy.KNOWN, reply=JobReply),
    listing("/v1/jobs/{id}/history", jobs.history, JOB_READERS, policy.WHOLE, HistoryItem),
    listing("/v1/jobs/{id}/waves", jobs.waves, OPS, policy.LOOKED, Wave),
    Route("GET", "/v1/jobs/{id}/track", positions.track, JOB_READERS, policy.WHOLE, reply=Track),
    Route(
        "POST",
        "/v1/jobs/{id}/ratings",
        ratings.create,
        SIDES,
        policy.SIDES,
        NewRating,
        reply=RatingReply,
        status=201,
        keyed=True,
    ),
    Route("PATCH", "/v1/jobs/{id}", jobs.edit, BOOKERS, policy.EDITED, PatchJob, reply=JobReply, keyed=True),
    Route("POST", "/v1/jobs/{id}/commands", jobs.commands, USERS, policy.STEP, Commands, reply=CommandsReply),
    Route(
        "POST",
        "/v1/jobs/{id}/price-proposals",
        prices.create,
        SIDES,
        policy.TALKED_OF,
        NewProposal,
        reply=ProposalReply,
        status=201,
        keyed=True,
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/price-proposals/{proposal}/accept",
        prices.accept,
        SIDES,
        policy.PROPOSED,
        ProposalAnswer,
        reply=ProposalReply,
        keyed=True,
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/price-proposals/{proposal}/reject",
        prices.reject,
        SIDES,
        policy.PROPOSED,
        ProposalAnswer,
        reply=ProposalReply,
        keyed=True,
    ),
    listing("/v1/jobs/{id}/payments", payments.find, OPS | SERVICE, policy.PAID, Payment),
    Route(
        "POST",
        "/v1/jobs/{id}/payments",
        payments.create,
        SERVICE,
        policy.PAID,
        NewPayment,
        reply=PaymentReply,
        status=201,
        keyed=True,
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/disputes",
        disputes.create,
        SIDES,
        policy.STEP,
        NewDispute,
        reply=DisputeReply,
        status=201,
        keyed=True,
    ),
    step("/v1/jobs/{id}/respond", jobs.respond, TECHNICIAN, Respond, meter="claims"),
    step("/v1/jobs/{id}/claim", jobs.claim, USERS, meter="claims"),
    step("/v1/jobs/{id}/reassign", jobs.reassign, USERS),
    listing("/v1/jobs/{id}/bids", bids.find, JOB_READERS, policy.KNOWN, Bid, live=True),
    Route(
        "POST",
        "/v1/jobs/{id}/bids",
        bids.create,
        TECHNICIAN,
        policy.BID_FOR,
        NewBid,
        reply=BidReply,
        status=201,
        keyed=True,
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/bids/{bid}/accept",
        bids.accept,
        CUSTOMER,
        policy.AWARDED,
        BidStep,
        reply=StepReply,
        keyed=True,
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/bids/{bid}/withdraw",
        bids.withdraw,
        TECHNICIAN,
        policy.WITHDRAWN,
        BidStep,
        reply=BidReply,
        keyed=True,
    ),
    step("/v1/jobs/{id}/{command}", jobs.command, USERS),
    listing("/v1/offers", offers.find, TECHNICIAN, policy.OWN, Offer, live=True),
    listing("/v1/disputes", disputes.find, SIDES | OPS | MEDIATOR, policy.OWN, Dispute, live=True),
    Route(
        "POST",
        "/v1/disputes/{id}/resolve",
        disputes.resolve,
        MEDIATOR,
        policy.SETTLED,
        Resolution,
        reply=DisputeReply,
        keyed=True,
    ),
    Route("GET", "/v1/events", events.hear, USERS, policy.OWN, query=EventsQuery, reply=Heard, streams=True),
    Route("GET", "/v1/sync", sync.read, USERS, policy.OWN, reply=Sync),
    Route(
        "POST",
        "/v1/announcements",
        announcements.create,
        OPS,
        policy.OWN,
        NewAnnouncement,
        reply=AnnouncementReply,
        keyed=True,
    ),
    Route(
        "POST",
        "/v1/auth/register",
        auth.register,
        ANYONE,
        policy.OWN,
        Register,
        reply=Signed,
        status=201,
        keyed=True,
    ),
    Route("POST", "/v1/auth/login", auth.login, ANYONE, policy.OWN, Login, reply=Signed),
    Route("POST", "/v1/auth/refresh", auth.refresh, ANYONE, policy.OWN, RefreshToken, reply=Signed),
    Route("POST", "/v1/auth/logout", auth.logout, ANYONE, policy.OWN, RefreshToken, status=204),
    Route("POST", "/v1/auth/tickets", auth.ticket, USERS, policy.OWN, NewTicket, reply=Ticket),
    Route("GET", "/v1/me", users.me, USERS, policy.OWN, reply=Me),
    listing("/v1/me/blocks", blocks.find, SIDES, policy.OWN, Block),
    Route("POST", "/v1/me/blocks", blocks.create, SIDES, policy.BLOCKED, Blocked, reply=BlockReply, keyed=True),
    Route("DELETE", "/v1/me/blocks", blocks.drop, SIDES, policy.BLOCKED, Blocked, status=204, keyed=True),
    Route("PUT", "/v1/me/blocks/{id}", blocks.put, SIDES, policy.BLOCKED, Nothing, reply=BlockReply, keyed=True),
    Route("DELETE", "/v1/me/blocks/{id}", blocks.lift, SIDES, policy.BLOCKED, Nothing, status=204, keyed=True),
    listing("/v1/me/sessions", logins.find, USERS, policy.OWN, Logon),
    Route("DELETE", "/v1/me/sessions/{id}", logins.end, USERS, policy.LOGIN, Nothing, status=204, keyed=True),
    listing("/v1/users", users.find, ADMIN, policy.OWN, User, query=UsersQuery),
    Route(
        "POST",
        "/v1/users",
        users.create,
        ADMIN,
        policy.OWN,
        NewUser,
        reply=UserReply,
        status=201,
        keyed=True,
    ),
    Route(
        "PATCH",
        "/v1/users/{id}",
        users.patch,
        ADMIN,
        policy.ANY_USER,
        PatchUser,
        reply=UserReply,
        keyed=True,
    ),
    Route(
        "POST",
        "/v1/users/{id}/suspend",
        users.suspend,
        OPS,
        policy.ANY_USER,
        Suspend,
        reply=AccountReply,
        keyed=True,
    ),
    Route(
        "POST",
        "/v1/users/{id}/reinstate",
        users.reinstate,
        ADMIN,
        policy.ANY_USER,
        Nothing,
        reply=UserReply,
        keyed=True,
    ),
    listing("/v1/blueprints", blueprints.find, USERS, policy.OWN, Declared),
    Route("GET", "/v1/blueprints/{name}", blueprints.read, USERS, policy.ANY_BLUEPRINT, reply=DeclaredReply),
    listing("/v1/services", catalogue.find, USERS, policy.OWN, Service, query=ServicesQuery),
    Route(
        "POST",
        "/v1/services",
        catalogue.create,
        OPS,
        policy.OWN,
        NewService,
        reply=ServiceReply,
        status=201,
        keyed=True,
    ),
    Route("GET", "/v1/services/{id}", catalogue.read, USERS, policy.ANY_SERVICE, reply=ServiceReply),
    Route(
        "PATCH",
        "/v1/services/{id}",
        catalogue.patch,
        OPS,
        policy.ANY_SERVICE,
        PatchService,
        reply=ServiceReply,
        keyed=True,
    ),
    listing("/v1/technicians", technicians.find, USERS, policy.OWN, Technician, query=TechniciansQuery),
    Route("GET", "/v1/technicians/{id}", technicians.read, USERS, policy.ANY_TECHNICIAN, reply=TechnicianReply),
    Route(
        "PATCH",
        "/v1/technicians/{id}",
        technicians.patch,
        TECHNICIAN | MANAGERS,
        policy.PROFILE,
        PatchTechnician,
        reply=TechnicianReply,
        keyed=True,
    ),
    Route(
        "POST",
        "/v1/technicians/{id}/review",
        technicians.review,
        REVIEWERS,
        policy.REVIEWED,
        Review,
        reply=TechnicianReply,
        keyed=True,
    ),
    Route(
        "PUT",
        "/v1/technicians/{id}/availability",
        technicians.availability,
        TECHNICIAN,
        policy.THEMSELVES,
        SetAvailability,
        reply=Availability,
        keyed=True,
    ),
    Route(
        "PUT",
        "/v1/technicians/{id}/location",
        technicians.location,
        TECHNICIAN,
        policy.THEMSELVES,
        Location,
        status=204,
        perhaps=FixHeard,
        meter="fixes",
    ),
    listing("/v1/notifications", notifications.find, USERS, policy.OWN, Notification),
    Route("POST", "/v1/notifications/{id}/read", notifications.read, USERS, policy.NOTICE, Nothing, status=204),
    Route("GET", "/v1/requests/{key}", requests.read, USERS, policy.VERDICT, reply=Verdict),
    Route("GET", "/v1/meta", about.meta, ANYONE, policy.OWN, reply=About, meter=""),
    Route("GET", "/healthz", about.alive, ANYONE, policy.OWN, reply=Alive, meter=""),
    Route("GET", "/readyz", about.ready, ANYONE, policy.OWN, reply=Ready, also=(503,), meter=""),
    Route("GET", "/metrics", about.counts, OPS | SERVICE, policy.OWN, meter=""),
    Route("GET", "/problems/{code}", about.problem, ANYONE, policy.ANY_CODE, reply=ProblemReply, meter=""),
    Route("GET", "/openapi.json", about.document, ANYONE, policy.OWN, reply=dict, meter=""),
    Route("GET", "/asyncapi.json", about.messages, ANYONE, policy.OWN, reply=dict, meter=""),
)
