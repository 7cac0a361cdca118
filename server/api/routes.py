"""The table of routes: the roles that may call each operation over HTTP, in one place.

The table is used by the routing, the role check, the limits, the OpenAPI document, and the test that calls every route
without a token and with each wrong role. The job's blueprint decides what a role may do *to a job*, so this table
admits all roles to a job's commands. The engine checks who owns an object.

The router tries the paths in order: frequent paths come first, and fixed paths before a parameter in the same place
(``/claim`` before ``/{command}``).
"""

from __future__ import annotations

from engine.roles import (
    ADMIN_ROLE,
    ANY_ROLE,
    BOOKER_ROLES,
    CUSTOMER_ROLE,
    JOB_READER_ROLES,
    MANAGERS,
    OPS,
    PARTY_ROLES,
    REVIEWER_ROLES,
    SERVICE_ROLE,
    TECHNICIAN_ROLE,
)
from server.api.audit_routes import AUDIT_ROUTES
from server.api.choice_routes import CHOICE_ROUTES
from server.api.demand_routes import DEMAND_ROUTES
from server.api.dispute_routes import DISPUTE_ROUTES
from server.api.file_routes import FILE_ROUTES, PHOTO_ROUTES
from server.api.handlers import (
    about,
    announcements,
    auth,
    bids,
    blueprints,
    disputes,
    events,
    jobs,
    offers,
    prices,
    ratings,
    requests,
    services,
    sync,
    technicians,
    users,
)
from server.api.money_routes import MONEY_ROUTES
from server.api.own_routes import OWN_ROUTES
from server.api.payment_routes import PAYMENT_ROUTES
from server.api.person_routes import PERSON_ROUTES
from server.api.plan_routes import PLAN_ROUTES
from server.api.position_routes import POSITION_ROUTES
from server.api.quote_routes import QUOTE_ROUTES
from server.api.room_routes import ROOM_ROUTES
from server.api.route import Route, list_route, step_route
from server.api.schedule_routes import SCHEDULE_ROUTES
from server.api.share_routes import SHARE_ROUTES
from server.api.system_routes import SYSTEM_ROUTES
from server.api.vault_routes import SIGNING_ROUTES, VAULT_ROUTES
from server.api.zone_routes import ZONE_ROUTES
from server.http import policy
from server.schemas.about import About, Alive, ProblemReply, Ready
from server.schemas.announcements import AnnouncementReply, NewAnnouncement
from server.schemas.auth import Login, NewTicket, RefreshToken, Register, Ticket, TokensReply
from server.schemas.bids import Bid, BidReply, BidStep, NewBid
from server.schemas.blueprints import BlueprintReply, PublicBlueprint
from server.schemas.decode import NoBody
from server.schemas.disputes import DisputeReply, NewDispute
from server.schemas.events import EventPage, EventsQuery
from server.schemas.jobs import (
    BookingReply,
    Commands,
    CommandsReply,
    HistoryItem,
    Job,
    JobReply,
    JobsQuery,
    NewJob,
    PatchJob,
    Respond,
    StepReply,
)
from server.schemas.offers import Offer
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
from server.schemas.towns import Town
from server.schemas.users import AccountReply, NewUser, PatchUser, Suspend, User, UserReply, UsersQuery
from server.schemas.waves import Wave

ANYONE = None


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/jobs",
        jobs.create,
        BOOKER_ROLES,
        policy.OWN_DATA,
        NewJob,
        reply=BookingReply,
        status=201,
        other_statuses=(200,),
        has_key=True,
    ),
    list_route("/v1/jobs", jobs.find, JOB_READER_ROLES, policy.OWN_DATA, Job, query=JobsQuery, live=True),
    *CHOICE_ROUTES,
    *SCHEDULE_ROUTES,
    Route("GET", "/v1/jobs/{id}", jobs.read, JOB_READER_ROLES, policy.READ_JOB, reply=JobReply),
    list_route("/v1/jobs/{id}/history", jobs.history, JOB_READER_ROLES, policy.READ_FULL_JOB, HistoryItem),
    list_route("/v1/jobs/{id}/waves", jobs.waves, OPS, policy.READ_WAVES, Wave),
    *POSITION_ROUTES,
    Route(
        "POST",
        "/v1/jobs/{id}/ratings",
        ratings.create,
        PARTY_ROLES,
        policy.SIDES_OF_JOB,
        NewRating,
        reply=RatingReply,
        status=201,
        has_key=True,
    ),
    Route("PATCH", "/v1/jobs/{id}", jobs.edit, BOOKER_ROLES, policy.EDIT_JOB, PatchJob, reply=JobReply, has_key=True),
    Route("POST", "/v1/jobs/{id}/commands", jobs.commands, ANY_ROLE, policy.STEP_OF_JOB, Commands, reply=CommandsReply),
    Route(
        "POST",
        "/v1/jobs/{id}/price-proposals",
        prices.create,
        PARTY_ROLES,
        policy.PROPOSE_PRICE,
        NewProposal,
        reply=ProposalReply,
        status=201,
        has_key=True,
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/price-proposals/{proposal}/accept",
        prices.accept,
        PARTY_ROLES,
        policy.ANSWER_PROPOSAL,
        ProposalAnswer,
        reply=ProposalReply,
        has_key=True,
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/price-proposals/{proposal}/reject",
        prices.reject,
        PARTY_ROLES,
        policy.ANSWER_PROPOSAL,
        ProposalAnswer,
        reply=ProposalReply,
        has_key=True,
    ),
    *PAYMENT_ROUTES,
    Route(
        "POST",
        "/v1/jobs/{id}/disputes",
        disputes.create,
        PARTY_ROLES,
        policy.STEP_OF_JOB,
        NewDispute,
        reply=DisputeReply,
        status=201,
        has_key=True,
    ),
    step_route("/v1/jobs/{id}/respond", jobs.respond, TECHNICIAN_ROLE, Respond, limit_name="claims"),
    step_route("/v1/jobs/{id}/claim", jobs.claim, ANY_ROLE, limit_name="claims"),
    step_route("/v1/jobs/{id}/reassign", jobs.reassign, ANY_ROLE),
    list_route("/v1/jobs/{id}/bids", bids.find, JOB_READER_ROLES, policy.READ_JOB, Bid, live=True),
    Route(
        "POST",
        "/v1/jobs/{id}/bids",
        bids.create,
        TECHNICIAN_ROLE,
        policy.BID_ON_JOB,
        NewBid,
        reply=BidReply,
        status=201,
        has_key=True,
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/bids/{bid}/accept",
        bids.accept,
        CUSTOMER_ROLE,
        policy.ACCEPT_BID,
        BidStep,
        reply=StepReply,
        has_key=True,
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/bids/{bid}/withdraw",
        bids.withdraw,
        TECHNICIAN_ROLE,
        policy.WITHDRAW_BID,
        BidStep,
        reply=BidReply,
        has_key=True,
    ),
    *SIGNING_ROUTES,
    *PHOTO_ROUTES,
    *SHARE_ROUTES,
    step_route("/v1/jobs/{id}/{command}", jobs.command, ANY_ROLE),
    *ROOM_ROUTES,
    *FILE_ROUTES,
    list_route("/v1/offers", offers.find, TECHNICIAN_ROLE, policy.OWN_DATA, Offer, live=True),
    *DISPUTE_ROUTES,
    Route(
        "GET",
        "/v1/events",
        events.read_or_stream,
        ANY_ROLE,
        policy.OWN_DATA,
        query=EventsQuery,
        reply=EventPage,
        may_stream=True,
    ),
    Route("GET", "/v1/sync", sync.read, ANY_ROLE, policy.OWN_DATA, reply=Sync),
    Route(
        "POST",
        "/v1/announcements",
        announcements.create,
        OPS,
        policy.OWN_DATA,
        NewAnnouncement,
        reply=AnnouncementReply,
        has_key=True,
    ),
    Route(
        "POST",
        "/v1/auth/register",
        auth.register,
        ANYONE,
        policy.OWN_DATA,
        Register,
        reply=TokensReply,
        status=201,
        has_key=True,
    ),
    Route("POST", "/v1/auth/login", auth.login, ANYONE, policy.OWN_DATA, Login, reply=TokensReply),
    Route("POST", "/v1/auth/refresh", auth.refresh, ANYONE, policy.OWN_DATA, RefreshToken, reply=TokensReply),
    Route("POST", "/v1/auth/logout", auth.logout, ANYONE, policy.OWN_DATA, RefreshToken, status=204),
    Route("POST", "/v1/auth/tickets", auth.ticket, ANY_ROLE, policy.OWN_DATA, NewTicket, reply=Ticket),
    *OWN_ROUTES,
    list_route("/v1/users", users.find, ADMIN_ROLE, policy.OWN_DATA, User, query=UsersQuery),
    Route(
        "POST",
        "/v1/users",
        users.create,
        ADMIN_ROLE,
        policy.OWN_DATA,
        NewUser,
        reply=UserReply,
        status=201,
        has_key=True,
    ),
    Route(
        "PATCH", "/v1/users/{id}", users.patch, ADMIN_ROLE, policy.ANY_USER, PatchUser, reply=UserReply, has_key=True
    ),
    Route(
        "POST", "/v1/users/{id}/suspend", users.suspend, OPS, policy.ANY_USER, Suspend, reply=AccountReply, has_key=True
    ),
    Route(
        "POST",
        "/v1/users/{id}/reinstate",
        users.reinstate,
        ADMIN_ROLE,
        policy.ANY_USER,
        NoBody,
        reply=UserReply,
        has_key=True,
    ),
    list_route("/v1/blueprints", blueprints.find, ANY_ROLE, policy.OWN_DATA, PublicBlueprint),
    Route("GET", "/v1/blueprints/{name}", blueprints.read, ANY_ROLE, policy.ANY_BLUEPRINT, reply=BlueprintReply),
    list_route("/v1/services", services.find, ANY_ROLE, policy.OWN_DATA, Service, query=ServicesQuery),
    Route(
        "POST",
        "/v1/services",
        services.create,
        OPS,
        policy.OWN_DATA,
        NewService,
        reply=ServiceReply,
        status=201,
        has_key=True,
    ),
    Route("GET", "/v1/services/{id}", services.read, ANY_ROLE, policy.ANY_SERVICE, reply=ServiceReply),
    Route(
        "PATCH",
        "/v1/services/{id}",
        services.patch,
        OPS,
        policy.ANY_SERVICE,
        PatchService,
        reply=ServiceReply,
        has_key=True,
    ),
    list_route("/v1/technicians", technicians.find, ANY_ROLE, policy.OWN_DATA, Technician, query=TechniciansQuery),
    Route("GET", "/v1/technicians/{id}", technicians.read, ANY_ROLE, policy.ANY_TECHNICIAN, reply=TechnicianReply),
    Route(
        "PATCH",
        "/v1/technicians/{id}",
        technicians.patch,
        TECHNICIAN_ROLE | MANAGERS,
        policy.EDIT_TECHNICIAN,
        PatchTechnician,
        reply=TechnicianReply,
        has_key=True,
    ),
    Route(
        "POST",
        "/v1/technicians/{id}/review",
        technicians.review,
        REVIEWER_ROLES,
        policy.REVIEW_TECHNICIAN,
        Review,
        reply=TechnicianReply,
        has_key=True,
    ),
    Route(
        "PUT",
        "/v1/technicians/{id}/availability",
        technicians.availability,
        TECHNICIAN_ROLE,
        policy.OWN_TECHNICIAN,
        SetAvailability,
        reply=Availability,
        has_key=True,
    ),
    *PERSON_ROUTES,
    *QUOTE_ROUTES,
    *MONEY_ROUTES,
    *ZONE_ROUTES,
    *DEMAND_ROUTES,
    *PLAN_ROUTES,
    *AUDIT_ROUTES,
    *SYSTEM_ROUTES,
    *VAULT_ROUTES,
    Route("GET", "/v1/requests/{key}", requests.read, ANY_ROLE, policy.OWN_REQUEST, reply=Verdict),
    Route("GET", "/v1/meta", about.meta, ANYONE, policy.OWN_DATA, reply=About, limit_name=""),
    Route("GET", "/v1/demo/town", about.town, ANYONE, policy.ANY_TOWN, reply=Town, limit_name=""),
    Route("GET", "/healthz", about.alive, ANYONE, policy.OWN_DATA, reply=Alive, limit_name=""),
    Route("GET", "/readyz", about.ready, ANYONE, policy.OWN_DATA, reply=Ready, other_statuses=(503,), limit_name=""),
    Route("GET", "/metrics", about.counts, OPS | SERVICE_ROLE, policy.OWN_DATA, limit_name=""),
    Route("GET", "/problems/{code}", about.problem, ANYONE, policy.ANY_CODE, reply=ProblemReply, limit_name=""),
    Route("GET", "/openapi.json", about.document, ANYONE, policy.OWN_DATA, reply=dict, limit_name=""),
    Route("GET", "/asyncapi.json", about.messages, ANYONE, policy.OWN_DATA, reply=dict, limit_name=""),
)
