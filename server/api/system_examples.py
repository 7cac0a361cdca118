"""Examples of replies about the server. They are a part of the table in server/api/examples.py."""

from __future__ import annotations

from typing import Any

AT_NOON, BEFORE = "2026-01-31T12:00:00.000Z", "2026-01-31T08:00:00.000Z"

REPLIES: dict[str, Any] = {
    "system_read_stats": {
        "step_s": 2,
        "items": [
            {
                "at": AT_NOON,
                "claims_per_s": 12.5,
                "open_jobs": 48,
                "p50_s": 0.005,
                "p99_s": 0.02,
                "lag_s": 0.0018,
                "sockets": 214,
                "errors": 0,
            }
        ],
    },
    "system_read_system": {
        "system": {
            "processes": [
                {
                    "id": "9f2c41ab07bd13c5",
                    "name": "gateway 1",
                    "host": "callout-a",
                    "pid": 4711,
                    "version": "1.0.0",
                    "roles": ["gateway"],
                    "started_at": BEFORE,
                    "seen_at": AT_NOON,
                    "sockets": 107,
                    "streams": 1,
                    "lag_s": 0.0018,
                }
            ],
            "zones": [
                {
                    "zone": "main",
                    "open": True,
                    "why": "",
                    "epoch": "e1-9f2c41ab",
                    "seq": 131,
                    "archived": 129,
                    "lag_s": 0.2,
                    "pushed": 131,
                    "opened_at": BEFORE,
                    "open_jobs": 48,
                }
            ],
            "redis": [{"name": "Redis", "version": "8.1.0", "memory_bytes": 4194304, "clients": 9}],
            "database": "sqlite",
            "problems": [],
        }
    },
    "system_read_settings": {
        "items": [
            {"name": "push_secret", "value": "•••", "is_default": False},
            {"name": "workers", "value": "1", "is_default": True},
        ]
    },
    "system_search": {
        "items": [
            {"kind": "technician", "id": "usr_01jb4zp7k8m9n0p1q2r3s4t5v6", "title": "Ada", "detail": "technician"},
            {
                "kind": "job",
                "id": "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g",
                "title": "Torstrasse 1",
                "detail": "accepted",
            },
        ]
    },
}
