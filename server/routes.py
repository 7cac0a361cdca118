"""The table of routes: who may do what over HTTP, in one place.

It drives the routing, the role check, the limits, the OpenAPI document, and the test that walks every route
without a token and with each wrong role. What a role may do *to a job* stands in the job's blueprint, so
all roles pass here to its commands; whose a thing is, the engine knows.

The router tries the paths in turn: what is called most stands in front, and fixed paths before a parameter in the
same place (``/claim`` before ``/{command}``).
"""

from __future__ import annotations

from engine.authority import ADMIN, MANAGERS, OPS, REVIEWERS
from engine.types import ROLES, Role
from server import shapes, wire
from server.endpoint import Route
from server.http import (
    about,
    announcements,
    auth,
    catalogue,
    events,
    jobs,
    notifications,
    offers,
    requests,
    sync,
    technicians,
    users,
)

ANYONE = None
USERS: frozenset[Role] = frozenset(ROLES)
TECHNICIAN: frozenset[Role] = frozenset({"technician"})
BOOKERS: frozenset[Role] = OPS | {"customer", "service"}
JOB_READERS: frozenset[Role] = USERS - {"onboarding_manager"}

ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/jobs", jobs.create, BOOKERS, wire.NewJob, reply=shapes.StepReply, status=201, keyed=True),
    Route("GET", "/v1/jobs", jobs.find, JOB_READERS, query=wire.JobsQuery, reply=shapes.LiveItems[shapes.Job]),
    Route("GET", "/v1/jobs/{id}", jobs.read, JOB_READERS, reply=shapes.JobReply),
    Route("GET", "/v1/jobs/{id}/history", jobs.history, JOB_READERS, reply=shapes.Items[shapes.HistoryItem]),
    Route("GET", "/v1/jobs/{id}/waves", jobs.waves, OPS, reply=shapes.Items[shapes.Wave]),
    Route(
        "POST",
        "/v1/jobs/{id}/respond",
        jobs.respond,
        TECHNICIAN,
        wire.Respond,
        reply=shapes.StepReply,
        keyed=True,
        meter="claims",
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/claim",
        jobs.claim,
        USERS,
        wire.Step,
        reply=shapes.StepReply,
        keyed=True,
        meter="claims",
    ),
    Route("POST", "/v1/jobs/{id}/{command}", jobs.command, USERS, wire.Step, reply=shapes.StepReply, keyed=True),
    Route(
        "GET",
        "/v1/offers",
        offers.find,
        TECHNICIAN,
        query=wire.ListQuery,
        reply=shapes.LiveItems[shapes.Offer],
    ),
    Route("GET", "/v1/events", events.hear, USERS, query=wire.EventsQuery, reply=shapes.Heard, streams=True),
    Route("GET", "/v1/sync", sync.read, USERS, reply=shapes.Sync),
    Route(
        "POST",
        "/v1/announcements",
        announcements.create,
        OPS,
        wire.NewAnnouncement,
        reply=shapes.AnnouncementReply,
        keyed=True,
    ),
    Route(
        "POST", "/v1/auth/register", auth.register, ANYONE, wire.Register, reply=shapes.Signed, status=201, keyed=True
    ),
    Route("POST", "/v1/auth/login", auth.login, ANYONE, wire.Login, reply=shapes.Signed),
    Route("POST", "/v1/auth/refresh", auth.refresh, ANYONE, wire.RefreshToken, reply=shapes.Signed),
    Route("POST", "/v1/auth/logout", auth.logout, ANYONE, wire.RefreshToken, status=204),
    Route("POST", "/v1/auth/tickets", auth.ticket, USERS, wire.NewTicket, reply=shapes.Ticket),
    Route("GET", "/v1/me", users.me, USERS, reply=shapes.Me),
    Route("GET", "/v1/users", users.find, ADMIN, query=wire.UsersQuery, reply=shapes.Items[shapes.User]),
    Route("POST", "/v1/users", users.create, ADMIN, wire.NewUser, reply=shapes.UserReply, status=201, keyed=True),
    Route("PATCH", "/v1/users/{id}", users.patch, ADMIN, wire.PatchUser, reply=shapes.UserReply, keyed=True),
    Route("POST", "/v1/users/{id}/suspend", users.suspend, OPS, wire.Suspend, reply=shapes.UserReply, keyed=True),
    Route(
        "POST",
        "/v1/users/{id}/reinstate",
        users.reinstate,
        ADMIN,
        wire.Nothing,
        reply=shapes.UserReply,
        keyed=True,
    ),
    Route(
        "GET",
        "/v1/services",
        catalogue.find,
        USERS,
        query=wire.ServicesQuery,
        reply=shapes.Items[shapes.Service],
    ),
    Route(
        "POST",
        "/v1/services",
        catalogue.create,
        OPS,
        wire.NewService,
        reply=shapes.ServiceReply,
        status=201,
        keyed=True,
    ),
    Route("GET", "/v1/services/{id}", catalogue.read, USERS, reply=shapes.ServiceReply),
    Route(
        "PATCH",
        "/v1/services/{id}",
        catalogue.patch,
        OPS,
        wire.PatchService,
        reply=shapes.ServiceReply,
        keyed=True,
    ),
    Route(
        "GET",
        "/v1/technicians",
        technicians.find,
        USERS,
        query=wire.TechniciansQuery,
        reply=shapes.Items[shapes.Technician],
    ),
    Route("GET", "/v1/technicians/{id}", technicians.read, USERS, reply=shapes.TechnicianReply),
    Route(
        "PATCH",
        "/v1/technicians/{id}",
        technicians.patch,
        TECHNICIAN | MANAGERS,
        wire.PatchTechnician,
        reply=shapes.TechnicianReply,
        keyed=True,
    ),
    Route(
        "POST",
        "/v1/technicians/{id}/review",
        technicians.review,
        REVIEWERS,
        wire.Review,
        reply=shapes.TechnicianReply,
        keyed=True,
    ),
    Route(
        "PUT",
        "/v1/technicians/{id}/availability",
        technicians.availability,
        TECHNICIAN,
        wire.SetAvailability,
        reply=shapes.Availability,
        keyed=True,
    ),
    Route(
        "PUT",
        "/v1/technicians/{id}/location",
        technicians.location,
        TECHNICIAN,
        wire.Location,
        status=204,
        meter="fixes",
    ),
    Route(
        "GET",
        "/v1/notifications",
        notifications.find,
        USERS,
        query=wire.ListQuery,
        reply=shapes.Items[shapes.Notification],
    ),
    Route("POST", "/v1/notifications/{id}/read", notifications.read, USERS, wire.Nothing, status=204),
    Route("GET", "/v1/requests/{key}", requests.read, USERS, reply=shapes.Verdict),
    Route("GET", "/v1/meta", about.meta, ANYONE, reply=shapes.About, meter=""),
    Route("GET", "/healthz", about.alive, ANYONE, reply=shapes.Alive, meter=""),
    Route("GET", "/readyz", about.ready, ANYONE, reply=shapes.Ready, meter=""),
    Route("GET", "/metrics", about.counts, ANYONE, meter=""),
    Route("GET", "/openapi.json", about.document, ANYONE, reply=dict, meter=""),
    Route("GET", "/asyncapi.json", about.messages, ANYONE, reply=dict, meter=""),
)
