"""What a rebuild does not restore, with the reasons. Everything else that a zone has in Redis is rebuilt exactly.

One test compares, key by key, a zone with the same zone after a rebuild from SQL, except for what this module lists.
Another test fails if a key of engine/store/keys.py is neither listed here nor compared.
"""

from __future__ import annotations

from collections.abc import Mapping

KEYS: Mapping[str, str] = {
    "log": "SQL has the events; the log begins again above the archive's head",
    "meta": "the opening writes new values: another epoch, another grace",
    "push": "what the notifier had not read yet is not notified of: the log begins again",
    "seen": "every lease starts again",
    "runner:*": "the leases of processes; they take them again within seconds",
    "runners:*": "the same",
    "paths": "the points of paths of the last minutes are in no event",
    "path:*": "the same",
    "pulse:*": "the pulse of areas: the chore of demand computes it again within a minute",
    "ticket:*": "a client asks for another one",
    "sockets:*": "gateways enter their sockets again",
    "limit:*": "a rate limit starts full",
    "probe": "a test of the health check",
    "dayplan:*": "a proposal of the last hour: ops ask for another one; what was applied is in the events of the jobs",
    "supply:*": "the places are as old as the last snapshot of positions; the members are compared",
    "people": "the same",
    "account": "of no zone: it is read from SQL when the user comes",
    "booked:*": "of no zone: the zone's own record knows a repeat, and SQL a reference; a repeat under a key alone, "
    "from the other side of a border, would be another booking",
    "presence": "of no zone: the next sign of life writes it",
    "samples": "of no zone: each process adds one again within two seconds",
}
"""Keys, without the zone's hash tag, and why they are not compared."""

TECHNICIAN_FIELDS: Mapping[str, str] = {
    "lat": "a position is in no event; SQL has the one of the last snapshot, 30 s old at most",
    "lon": "the same",
    "fix_at": "the same",
    "heading": "known again from the next fix",
    "acc": "the same",
    "jump": "the same",
    "rest": "the same",
    "rate": "the same",
    "clock": "the same",
    "place": "where the technician is indexed: they are indexed again",
    "match": "where open jobs were last searched for",
}
"""Fields of the records of technicians, and of their summaries."""

DUE_ENTRIES: Mapping[str, str] = {
    "match:": "it is scheduled again for technicians who came online or became free in the last minute",
    "notify:": "it is scheduled again for each room with unread messages",
    "read:": "a read mark that was not sent to anybody yet is lost",
}
"""Scheduled tasks by the beginnings of their names."""

ROOM_READ_FIELDS: Mapping[str, str] = {
    "told:": "when a read mark was last sent: the next one is sent at once",
}
"""Fields of the read marks of rooms, by their beginnings."""

JOB_FIELDS: Mapping[str, str] = {
    "watch": "what the watchdog of the holder has seen: it looks two more times",
    "arrival": "how near the holder was at the last fixes",
}
"""Fields of the records of jobs."""

ROOM_FIELDS: Mapping[str, str] = {
    "dropped": "the rebuild knows exactly the last client ids; Redis drops them some at a time",
    "scan": "where the removal of old client ids continues",
    "closing": "the seq of the room's closing, found again at the next look",
}
"""Fields of the records of rooms."""

IDEMPOTENCY_RECORDS = "refusals, repeats under another key, and commands that changed nothing have no event"
"""Which idempotency records are not restored, and why."""
