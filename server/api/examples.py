"""Examples of requests and replies by the name of their route, for the OpenAPI document. A test checks them against
their types and schemas.
"""

from __future__ import annotations

from typing import Any

from server.api import part_examples

JOB_ID = "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g"
CUSTOMER = "usr_01jb4zp0a1b2c3d4e5f6g7h8j9"
TECHNICIAN = "usr_01jb4zp7k8m9n0p1q2r3s4t5v6"
SERVICE = "srv_01jb4zpc1d2e3f4g5h6j7k8m9n"
AT_NOON, LATER = "2026-01-31T12:00:00.000Z", "2026-01-31T12:15:00.000Z"

POSITION = {"lat": 52.52, "lon": 13.405}

_USER = {
    "id": TECHNICIAN,
    "email": "ada@example.org",
    "name": "Ada",
    "role": "technician",
    "phone": "+49 30 1234567",
    "active": True,
    "created_at": AT_NOON,
}
_SIGNED_IN = {
    "user": _USER,
    "access_token": "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1c3IifQ.c2ln",
    "refresh_token": "rft_2mX9",
    "token_type": "Bearer",
    "expires_in": 3600,
}
_SERVICE = {
    "name": "Boiler repair",
    "category": "heating",
    "base_amount": 9000,
    "currency": "EUR",
    "pricing": "flat",
    "duration_min": 60,
    "active": True,
}
_CARD = {
    "id": TECHNICIAN,
    "name": "Ada",
    "services": [SERVICE],
    "zone": "main",
    "rating": 4.5,
    "rating_count": 12,
    "online": True,
    "phone": "+49 30 1234567",
    "capacity": 1,
    "load": 0,
    "kyc": "approved",
    "account": "approved",
}
_OPEN_JOB = {
    "id": JOB_ID,
    "zone": "main",
    "blueprint": "home_service",
    "status": "broadcasted",
    "phase": "open",
    "version": 1,
    "service": SERVICE,
    **POSITION,
    "amount": 9000,
    "currency": "EUR",
    "pricing": "flat",
    "scheduled_for": None,
    "created_at": AT_NOON,
    "updated_at": AT_NOON,
    "at": {"broadcasted": AT_NOON},
    "expires_at": LATER,
}
_FULL_JOB = {
    **_OPEN_JOB,
    "customer": {"id": CUSTOMER, "name": "Grace"},
    "address": "Torstrasse 1",
    "postal_code": "10119",
    "notes": None,
    "reference": "order-4711",
    "metadata": {"floor": 3},
}
_ACCEPTED_JOB = {
    **_FULL_JOB,
    "status": "accepted",
    "phase": "assigned",
    "version": 2,
    "technician": {"id": TECHNICIAN, "name": "Ada", "rating": 4.5},
    "at": {"broadcasted": AT_NOON, "accepted": AT_NOON},
    "actions": ["depart"],
}
_WITHDRAWN_JOB = {**_FULL_JOB, "version": 3, "actions": ["assign", "cancel"]}
_QUOTE = {
    "id": "quo_main_01jb4zqk3m8r5t7v9x2c6d8f0h",
    "zone": "main",
    "customer": {"id": CUSTOMER},
    "blueprint": "managed",
    "service": SERVICE,
    **POSITION,
    "amount": 10800,
    "currency": "EUR",
    "pricing": "flat",
    "multiplier": 1200,
    "breakdown": [
        {"line": "base", "amount": 9000, "says": "Base price"},
        {"line": "demand", "amount": 1800, "says": "High demand in the area: × 1.2"},
        {"line": "rounding", "amount": 0, "says": "Rounded to 50 minor units"},
    ],
    "created_at": AT_NOON,
    "expires_at": LATER,
}
_PAYMENT = {"reference": "ch_1", "status": "captured", "amount": 9000, "currency": "EUR"}

REQUESTS: dict[str, Any] = part_examples.REQUESTS | {
    "auth_register": {
        "email": "ada@example.org",
        "password": "correct horse battery",
        "name": "Ada",
        "role": "technician",
        "phone": "+49 30 1234567",
    },
    "auth_login": {"email": "ada@example.org", "password": "correct horse battery"},
    "auth_refresh": {"refresh_token": "rft_2mX9"},
    "auth_ticket": {"for": "socket"},
    "services_create": _SERVICE,
    "technicians_patch": {"services": [SERVICE]},
    "technicians_review": {"kyc": "approved", "account": "approved"},
    "technicians_availability": {"online": True, **POSITION},
    "technicians_location": {**POSITION, "accuracy": 12.0, "at": AT_NOON},
    "jobs_create": {
        "service": SERVICE,
        **POSITION,
        "address": "Torstrasse 1",
        "postal_code": "10119",
        "reference": "order-4711",
        "metadata": {"floor": 3},
    },
    "choices_preview": {"service": SERVICE, **POSITION, "address": "Torstrasse 1", "customer": CUSTOMER},
    "quotes_create": {"blueprint": "managed", "service": SERVICE, **POSITION, "postal_code": "10119"},
    "quotes_put_pricing": {"max": 1500},
    "jobs_edit": {"notes": "Ring twice", "version": 1},
    "jobs_claim": {"version": 1},
    "jobs_respond": {"status": "accepted"},
    "jobs_reassign": {"reason": "The van broke down"},
    "jobs_command": {"code": "042137"},
    "jobs_commands": {
        "items": [
            {"command": "depart", "key": "52ec0fdb-f05b-4171-ae5f-d5c4d21e13e5", "occurred_at": AT_NOON},
            {"command": "arrive", "key": "1b0f2cc9-92ad-4f4c-8d3b-0a4f6f3a2f55", "occurred_at": LATER},
        ]
    },
    "bids_create": {"amount": 8500, "note": "Tomorrow at nine"},
    "prices_create": {"amount": 12000, "reason": "A new valve"},
    "payments_create": _PAYMENT,
    "vault_sign": {"sha256": "5f" * 32, "name": "Carla Customer", "strokes": [[[10, 40], [60, 12], [110, 44]]]},
    "disputes_create": {"reason": "The heating is cold again"},
    "disputes_resolve": {"outcome": "resume", "note": "Comes back tomorrow"},
    "rooms_say": {"text": "I am at the door", "client_id": "01JB4ZR1"},
    "rooms_mark_read": {"n": 12},
    "rooms_add_member": {"user": "usr_01jb4zp9a1b2c3d4e5f6g7h8j9"},
    "ratings_create": {"stars": 5, "comment": "On time"},
    "devices_put": {"platform": "android", "token": "fcm-dLw1x:APA91bE"},
    "users_suspend": {"reason": "Three complaints", "jobs": "reassign"},
    "erasures_create": {"reason": "Asked by e-mail", "password": "correct horse"},
    "erasures_export": {"password": "correct horse"},
    "announcements_create": {
        "event": "announcement.storm",
        "data": {"text": "Storm from noon on"},
        "roles": ["technician"],
    },
}
REPLIES: dict[str, Any] = {
    **part_examples.REPLIES,
    "auth_register": _SIGNED_IN,
    "auth_login": _SIGNED_IN,
    "auth_refresh": _SIGNED_IN,
    "auth_ticket": {"ticket": "tic_8fK2", "expires_in": 30},
    "users_me": {
        "user": _USER,
        "technician": _CARD,
        "poll": {"connected": 60, "disconnected": 15},
        "fix": {"every_s": 30, "distance_m": 250},
    },
    "services_create": {"service": {"id": SERVICE, **_SERVICE}},
    "technicians_patch": {"technician": _CARD},
    "technicians_review": {"technician": _CARD},
    "devices_put": {"device": {"id": "pixel-7", "platform": "android", "updated_at": AT_NOON}},
    "jobs_create": {"job": {**_FULL_JOB, "actions": ["cancel"]}, "message": "Booking received"},
    "jobs_read": {"job": _ACCEPTED_JOB},
    "quotes_create": {"quote": _QUOTE},
    "quotes_read": {"quote": {**_QUOTE, "used_by": JOB_ID}},
    "jobs_find": {"items": [_FULL_JOB], "next": None, "as_of": {"main": {"epoch": "e1", "seq": 131}}},
    "jobs_claim": {"job": _ACCEPTED_JOB, "message": "Job accepted"},
    "jobs_respond": {"job": _ACCEPTED_JOB, "message": "Job accepted"},
    "jobs_reassign": {"job": _WITHDRAWN_JOB},
    "jobs_command": {"job": {**_ACCEPTED_JOB, "status": "on_the_way", "version": 3, "actions": ["arrive"]}},
    "offers_find": {
        "items": [
            {
                "job": {**_OPEN_JOB, "technician": None},
                "status": "sent",
                "wave": 1,
                "offered_at": AT_NOON,
                "expires_at": "2026-01-31T12:01:00.000Z",
                "distance_m": 830.0,
            }
        ],
        "next": None,
        "as_of": {"main": {"epoch": "e1", "seq": 131}},
    },
    "events_read_or_stream": {
        "events": [
            {
                "type": "offer.closed",
                "event": "job_taken",
                "zone": "main",
                "seq": 132,
                "at": AT_NOON,
                "data": {"job": {"id": JOB_ID}, "reason": "taken", "message": "Booking already taken"},
            }
        ],
        "cursor": "main:e1:132",
        "recovered": True,
    },
    "requests_read": {
        "key": "52ec0fdb-f05b-4171-ae5f-d5c4d21e13e5",
        "status": "done",
        "seq": 132,
        "job": JOB_ID,
    },
    "about_problem": {
        "problem": {
            "code": "taken",
            "status": 409,
            "title": "Booking already taken",
            "temporary": False,
            "means": "Another technician has the job.",
        }
    },
}
