"""Every Redis key, built here and nowhere else, from typed ids.

All keys of a zone carry its hash tag, so that a script runs in one slot and a cluster spreads zones over
nodes. Each key has a TTL or is named in ``PERMANENT``; a test holds the store to that.
"""

from __future__ import annotations

from engine.types import JobId, ServiceId, TechnicianId, UserId, Zone

PERMANENT = (
    "meta",
    "epochs",
    "log",
    "due",
    "seen",
    "jobs",
    "push",
    "tech:*",
    "user:*",
    "supply:*",
    "demand:*",
    "wide:*",
    "account",
    "ref:*",
    "job:*",
    "disputes",
    "dispute:*",
)
"""Keys without a TTL of their own. A job's keys get one (a day) once the job is finished and archived, a dispute's once
it is resolved."""


def meta(zone: Zone) -> str:
    """Hash: epoch (or ``closed``, with why), seq, run_id, opened_at, archived, now, offset, look, database (the id of
    the one it belongs to), and skew, set by tests alone.
    """
    return f"{{{zone}}}:meta"


def epochs(zone: Zone) -> str:
    """Hash: epoch → its first seq."""
    return f"{{{zone}}}:epochs"


def log(zone: Zone) -> str:
    """Stream: the zone's events, entry id ``<seq>-0``."""
    return f"{{{zone}}}:log"


def due(zone: Zone) -> str:
    """Zset: what must happen → when (ms)."""
    return f"{{{zone}}}:due"


def seen(zone: Zone) -> str:
    """Zset: technician → last sign of life (ms); the only home of the lease."""
    return f"{{{zone}}}:seen"


def jobs(zone: Zone) -> str:
    """Zset: live and not yet archived jobs → when made (ms); what ops list."""
    return f"{{{zone}}}:jobs"


def runner(zone: Zone, kind: str) -> str:
    """String with a short TTL: which node runs this zone's ``scheduler``, ``push`` or ``archiver``."""
    return f"{{{zone}}}:runner:{kind}"


def runners(zone: Zone, kind: str) -> str:
    """Zset with a short TTL: nodes that could do this zone's work of that kind → when last heard of (ms)."""
    return f"{{{zone}}}:runners:{kind}"


def push_cursor(zone: Zone) -> str:
    """String: the seq up to which notifications have been derived and pushed."""
    return f"{{{zone}}}:push"


def job(zone: Zone, job_id: JobId) -> str:
    """Hash: the job."""
    return f"{{{zone}}}:job:{job_id}"


def offers(zone: Zone, job_id: JobId) -> str:
    """Hash: technician → ``status wave opens_at expires_at distance_m``."""
    return f"{{{zone}}}:job:{job_id}:offers"


def causes(zone: Zone, job_id: JobId) -> str:
    """List: keys and verdicts of the job's last 16 changes."""
    return f"{{{zone}}}:job:{job_id}:causes"


def bids(zone: Zone, job_id: JobId) -> str:
    """Hash: technician → his latest bid, ``status id at amount rest`` (lua/lib/bids.lua)."""
    return f"{{{zone}}}:job:{job_id}:bids"


def waves(zone: Zone, job_id: JobId) -> str:
    """List: JSON of each wave: who was in and who was out, by reason."""
    return f"{{{zone}}}:job:{job_id}:waves"


def payments(zone: Zone, job_id: JobId) -> str:
    """Hash: ``charge`` or ``refund`` and the payment service's reference → that payment (lua/lib/payment.lua)."""
    return f"{{{zone}}}:job:{job_id}:payments"


def disputes(zone: Zone) -> str:
    """Zset: jobs frozen by a dispute → since when (ms)."""
    return f"{{{zone}}}:disputes"


def dispute(zone: Zone, dispute_id: str) -> str:
    """String: the job that a dispute is about."""
    return f"{{{zone}}}:dispute:{dispute_id}"


def technician(zone: Zone, technician_id: TechnicianId) -> str:
    """Hash: eligibility, capacity, load, rating, last fix, where indexed."""
    return f"{{{zone}}}:tech:{technician_id}"


def technician_jobs(zone: Zone, technician_id: TechnicianId) -> str:
    """Set: jobs held."""
    return f"{{{zone}}}:tech:{technician_id}:jobs"


def technician_offers(zone: Zone, technician_id: TechnicianId) -> str:
    """Zset: open offers → deadline (ms): the pull list."""
    return f"{{{zone}}}:tech:{technician_id}:offers"


def user_jobs(zone: Zone, user: UserId) -> str:
    """Zset: what is live for a user → when it was made (ms)."""
    return f"{{{zone}}}:user:{user}:jobs"


def live(zone: Zone) -> str:
    """Not a key but the channel of what may be lost: positions of technicians who hold jobs."""
    return f"{{{zone}}}:live"


def supply(zone: Zone, service: ServiceId) -> str:
    """Geo: technicians who could take such a job now; a hint, checked again against the hot record."""
    return f"{{{zone}}}:supply:{service}"


def demand(zone: Zone, service: ServiceId) -> str:
    """Geo: open jobs whose dispatch is broadcast."""
    return f"{{{zone}}}:demand:{service}"


def wide(zone: Zone, service: ServiceId) -> str:
    """Geo: of these, those whose present wave is over the whole zone; some are over, which whoever finds takes out."""
    return f"{{{zone}}}:wide:{service}"


def blocks(zone: Zone, user: UserId) -> str:
    """Set: whom a user blocked, and who blocked him."""
    return f"{{{zone}}}:user:{user}:blocks"


def probe(zone: Zone) -> str:
    """String with a short TTL: written to see whether the server takes writes."""
    return f"{{{zone}}}:probe"


def request(zone: Zone, principal: UserId, key: str) -> str:
    """String with a TTL: the verdict on a command done under this request key."""
    return f"{{{zone}}}:req:{principal}:{key}"


def reference(zone: Zone, principal: UserId) -> str:
    """Hash: the principal's ``reference`` → job."""
    return f"{{{zone}}}:ref:{principal}"


def account(user: UserId) -> str:
    """Hash: role, active, version, out, life: what is checked on every request. Of no zone, so that it is there when
    any zone is closed.
    """
    return f"{{u:{user}}}:account"


def ticket(zone: Zone, digest: str) -> str:
    """String with a TTL: the principal behind a one-use ticket, by the ticket's digest."""
    return f"{{{zone}}}:ticket:{digest}"


def sockets(zone: Zone, user: UserId) -> str:
    """Zset with a TTL: the user's open sockets over all gateways, ``<when taken>:<session>`` → last touched (ms)."""
    return f"{{{zone}}}:sockets:{user}"


def streams(zone: Zone, user: UserId) -> str:
    """Zset with a TTL: the same of his event streams, which are counted apart."""
    return f"{{{zone}}}:sockets:{user}:streams"


def limit(zone: Zone, name: str, who: str) -> str:
    """String with a TTL: a GCRA meter's theoretical arrival time (ms)."""
    return f"{{{zone}}}:limit:{name}:{who}"
