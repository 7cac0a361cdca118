"""Examples of availability, schedules and working hours. They are a part of the tables in server/api/examples.py."""

from __future__ import annotations

from typing import Any

from engine.process.settings import Settings

_HOURS: dict[str, Any] = {
    "tz": "Europe/Berlin",
    "week": [{"day": day, "from": "08:00", "to": "17:00"} for day in range(1, 6)],
    "exceptions": [{"date": "2026-12-24"}, {"date": "2026-12-31", "from": "08:00", "to": "12:00"}],
}

REQUESTS: dict[str, Any] = {"schedules_put_hours": _HOURS}
REPLIES: dict[str, Any] = {
    "technicians_availability": {
        "online": True,
        "receiving": True,
        "blockers": [],
        "lease_s": Settings().lease_s,
        "fix": {"every_s": 30, "distance_m": 250},
        "clock_offset_s": 0.0,
    },
    "schedules_read": {
        "schedule": {
            "technician": "usr_01jb4zp7k8m9n0p1q2r3s4t5v6",
            "hours": _HOURS,
            "visits": [
                {
                    "job": "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g",
                    "from": "2026-01-31T12:00:00.000Z",
                    "to": "2026-01-31T13:00:00.000Z",
                    "booked": True,
                    "buffer_s": 900.0,
                },
                {
                    "job": "job_main_01jb4zqm5n6p7q8r9s0t1v2w3x",
                    "from": "2026-01-31T14:30:00.000Z",
                    "to": "2026-01-31T15:15:00.000Z",
                    "booked": True,
                    "buffer_s": 900.0,
                    "travel_s": 1310,
                },
            ],
        }
    },
    "schedules_put_hours": {"hours": _HOURS},
}
