"""All Redis keys, built from typed ids; no other module builds a key (connection_keys.py has those of users and their
connections; import them from here). ``a → b``: the hash or zset has a ``b`` for each ``a``. The keys of a zone carry
its hash tag, so that a script runs in one slot. Each key has a TTL or is in ``PERMANENT``."""

from __future__ import annotations

from engine.store import connection_keys
from engine.types import JobId, RoomId, ServiceId, TechnicianId, UserId, Zone

_ZONE_KEYS = ("meta", "epochs", "log", "due", "seen", "jobs", "push", "summaries", "disputes", "large_rooms", "paths")
_OBJECT_KEYS = ("account", "tech:*", "user:*", "ref:*", "job:*", "dispute:*", "room:*")
PERMANENT = (*_ZONE_KEYS, *_OBJECT_KEYS, "people", "places", "supply:*", "demand:*", "wide:*", "open:*")
"""Keys without a TTL. Those of a job or room get one when it is over and archived, a dispute's when it is resolved."""

account, presence, rate_limit = connection_keys.account, connection_keys.presence, connection_keys.rate_limit
socket_slots, stream_slots, ticket = connection_keys.socket_slots, connection_keys.stream_slots, connection_keys.ticket
booking_note, booking_reference_note = connection_keys.booking_note, connection_keys.booking_reference_note
booking_references, idempotency_record = connection_keys.booking_references, connection_keys.idempotency_record
process_samples = connection_keys.process_samples


def zone_pattern(zone: Zone) -> str:
    """Return the pattern (of SCAN) of all keys of the zone."""
    return f"{{{zone}}}:*"


def zone_meta(zone: Zone) -> str:
    """Return the key of a hash: epoch (or ``closed`` with the reason ``why``), seq, run_id (of Redis at the opening),
    opened_at, archived (seq), database (id of the paired SQL database); the zone's clock: now and offset (ms), and
    skew, which only tests set; look (where the scan of ``due`` continues). While the zone is rebuilt: token (of the
    process that writes it), done, total."""
    return f"{{{zone}}}:meta"


def epochs(zone: Zone) -> str:
    """Return the key of a hash: epoch → its first seq."""
    return f"{{{zone}}}:epochs"


def log(zone: Zone) -> str:
    """Return the key of a stream: the zone's events, entry id ``<seq>-0``."""
    return f"{{{zone}}}:log"


def due_tasks(zone: Zone) -> str:
    """Return the key of a zset: scheduled task → due time (ms)."""
    return f"{{{zone}}}:due"


def last_seen(zone: Zone) -> str:
    """Return the key of a zset: technician → last sign of life (ms). The presence lease has no other record."""
    return f"{{{zone}}}:seen"


def jobs(zone: Zone) -> str:
    """Return the key of a zset: live and not yet archived jobs → creation time (ms), for the list of jobs of ops."""
    return f"{{{zone}}}:jobs"


def runner_lease(zone: Zone, role: str) -> str:
    """Return the key of a string with a short TTL: the process that does this work of the zone (``role``)."""
    return f"{{{zone}}}:runner:{role}"


def runner_candidates(zone: Zone, role: str) -> str:
    """Return the key of a zset with a short TTL: processes that can do this work → last sign of life (ms)."""
    return f"{{{zone}}}:runners:{role}"


def push_cursor(zone: Zone) -> str:
    """Return the key of a string: the seq up to which notifications have been derived and pushed."""
    return f"{{{zone}}}:push"


def job(zone: Zone, job_id: JobId) -> str:
    """Return the key of a hash: the job."""
    return f"{{{zone}}}:job:{job_id}"


def job_offers(zone: Zone, job_id: JobId) -> str:
    """Return the key of a hash: technician → ``status wave opens_at expires_at distance_m``."""
    return f"{{{zone}}}:job:{job_id}:offers"


def job_causes(zone: Zone, job_id: JobId) -> str:
    """Return the key of a list: idempotency keys and outcomes of the job's last 16 changes."""
    return f"{{{zone}}}:job:{job_id}:causes"


def job_bids(zone: Zone, job_id: JobId) -> str:
    """Return the key of a hash: technician → their latest bid, ``status id at amount rest`` (lua/lib/bids.lua)."""
    return f"{{{zone}}}:job:{job_id}:bids"


def job_waves(zone: Zone, job_id: JobId) -> str:
    """Return the key of a list: JSON of each wave: the technicians in it, and those left out with the reason."""
    return f"{{{zone}}}:job:{job_id}:waves"


def job_payments(zone: Zone, job_id: JobId) -> str:
    """Return the key of a hash: ``charge`` or ``refund`` and reference → the payment (lua/lib/payment.lua)."""
    return f"{{{zone}}}:job:{job_id}:payments"


def quote(zone: Zone, quote_id: str) -> str:
    """Return the key of a hash with a TTL: a quote, its customer, its end (ms), and the job that used it up."""
    return f"{{{zone}}}:quote:{quote_id}"


def room(zone: Zone, room_id: RoomId) -> str:
    """Return the key of a hash: the room and its members (lua/lib/room.lua)."""
    return f"{{{zone}}}:room:{room_id}"


def room_messages(zone: Zone, room_id: RoomId) -> str:
    """Return the key of a stream: the messages of a room, entry id ``<n>-0`` (lua/lib/messages.lua)."""
    return f"{{{zone}}}:room:{room_id}:messages"


def room_reads(zone: Zone, room_id: RoomId) -> str:
    """Return the key of a hash: user → number read, ``told:<user>`` → ms and number, ``noticed:<user>`` → number."""
    return f"{{{zone}}}:room:{room_id}:read"


def room_sent(zone: Zone, room_id: RoomId) -> str:
    """Return the key of a hash: ``<user>:<client_id>`` → ``n seq digest`` of the message (lua/lib/messages.lua)."""
    return f"{{{zone}}}:room:{room_id}:sent"


def disputes(zone: Zone) -> str:
    """Return the key of a zset: jobs frozen by a dispute → the time of the freeze (ms)."""
    return f"{{{zone}}}:disputes"


def dispute(zone: Zone, dispute_id: str) -> str:
    """Return the key of a string: the job that a dispute is about."""
    return f"{{{zone}}}:dispute:{dispute_id}"


def technician(zone: Zone, technician_id: TechnicianId) -> str:
    """Return the key of a hash: eligibility, capacity, load, rating, last fix, and the indexes that contain them."""
    return f"{{{zone}}}:tech:{technician_id}"


def technician_summaries(zone: Zone) -> str:
    """Return the key of a hash: technician in the supply index → what a search compares (lua/lib/summaries.lua)."""
    return f"{{{zone}}}:summaries"


def technician_jobs(zone: Zone, technician_id: TechnicianId) -> str:
    """Return the key of a set: the jobs that the technician holds."""
    return f"{{{zone}}}:tech:{technician_id}:jobs"


def technician_schedule(zone: Zone, technician_id: TechnicianId) -> str:
    """Return the key of a zset: ``<end> <job> <lat> <lon>`` of each visit → its start (ms; lua/lib/schedule.lua)."""
    return f"{{{zone}}}:tech:{technician_id}:plan"


def technician_tracked(zone: Zone, technician_id: TechnicianId) -> str:
    """Return the key of a set: the jobs of the technician whose position is shared now (lua/lib/tracking.lua)."""
    return f"{{{zone}}}:tech:{technician_id}:tracked"


def technician_offers(zone: Zone, technician_id: TechnicianId) -> str:
    """Return the key of a zset: the technician's open offers → deadline (ms), for the list of offers."""
    return f"{{{zone}}}:tech:{technician_id}:offers"


def path(zone: Zone, job_id: JobId, technician_id: TechnicianId) -> str:
    """Return the key of a list with a TTL: the points of a path that are not in SQL yet (lua/lib/path.lua)."""
    return f"{{{zone}}}:path:{job_id}:{technician_id}"


def paths(zone: Zone) -> str:
    """Return the key of a zset: ``<job>:<technician>`` of each path in Redis → when it is to be moved to SQL (ms)."""
    return f"{{{zone}}}:paths"


def user_jobs(zone: Zone, user: UserId) -> str:
    """Return the key of a zset: the live jobs of a user → creation time (ms)."""
    return f"{{{zone}}}:user:{user}:jobs"


def user_rooms(zone: Zone, user: UserId) -> str:
    """Return the key of a zset: the rooms of a user → the number from which they read (lua/room_close.lua)."""
    return f"{{{zone}}}:user:{user}:rooms"


def large_rooms(zone: Zone) -> str:
    """Return the key of a set: the rooms that have so many members that their events have a channel of their own."""
    return f"{{{zone}}}:large_rooms"


def live_channel(zone: Zone) -> str:
    """Return the pub/sub channel of positions of technicians who hold jobs. Messages may be lost. This is not a key."""
    return f"{{{zone}}}:live"


def technician_supply(zone: Zone, service: ServiceId) -> str:
    """Return the key of a geo index: the technicians who can probably take a job of ``service`` now."""
    return f"{{{zone}}}:supply:{service}"


def job_demand(zone: Zone, service: ServiceId) -> str:
    """Return the key of a geo index: open jobs of this service whose dispatch is broadcast."""
    return f"{{{zone}}}:demand:{service}"


def demand_pulse(zone: Zone, kind: str) -> str:
    """Return the key of a hash with a TTL of 2 h: area → AreaPulse (engine/rules/pulse.py); "" → as of (ms)."""
    return f"{{{zone}}}:pulse:{kind}"


def waiting_jobs(zone: Zone, service: ServiceId) -> str:
    """Return the key of a geo index: jobs of this service that wait for a matching window (lua/lib/window.lua)."""
    return f"{{{zone}}}:open:{service}"


def wide_jobs(zone: Zone, service: ServiceId) -> str:
    """Return the key of a geo index: open broadcast jobs whose wave covers the whole zone; some may have ended."""
    return f"{{{zone}}}:wide:{service}"


def map_people(zone: Zone) -> str:
    """Return the key of a geo index: who has had a position in the last hour (lua/lib/map_index.lua)."""
    return f"{{{zone}}}:people"


def map_places(zone: Zone) -> str:
    """Return the key of a geo index: the live jobs, for the map."""
    return f"{{{zone}}}:places"


def user_blocks(zone: Zone, user: UserId) -> str:
    """Return the key of a set: the users whom a user has blocked or who have blocked them."""
    return f"{{{zone}}}:user:{user}:blocks"


def write_probe(zone: Zone) -> str:
    """Return the key of a string with a short TTL, written to check that the server accepts writes."""
    return f"{{{zone}}}:probe"


def day_plan(zone: Zone, plan: str) -> str:
    """Return the key of a hash with a TTL: a day plan and how far it is applied (lua/lib/day_plan.lua)."""
    return f"{{{zone}}}:dayplan:{plan}"
