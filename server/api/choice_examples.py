"""Examples of replies about the engine's choice. They are a part of the table in server/api/examples.py."""

from __future__ import annotations

from typing import Any

TECHNICIAN, AT_NOON = "usr_01jb4zp7k8m9n0p1q2r3s4t5v6", "2026-01-31T12:00:00.000Z"

REPLIES: dict[str, Any] = {
    "choices_preview": {
        "preview": {
            "blueprint": "home_service",
            "state": "broadcasted",
            "mode": "broadcast",
            "starts_at": None,
            "at": AT_NOON,
            "radius_m": 3000,
            "visited": 2,
            "in": {"count": 1, "technicians": [TECHNICIAN]},
            "out": {"at_capacity": {"count": 1, "technicians": ["usr_01jb4zpa2b3c4d5e6f7g8h9j0k"]}},
            "scores": [
                {
                    "technician": TECHNICIAN,
                    "score": 0.42,
                    "distance": 0.42,
                    "rating": 0.0,
                    "acceptance": 0.0,
                    "waiting": 0.0,
                    "workload": 0.0,
                }
            ],
            "more": False,
        }
    },
    "choices_why": {
        "why": {
            "online": True,
            "receiving": False,
            "blockers": ["at_capacity"],
            "offers": {"since": AT_NOON, "count": 5, "outcomes": {"accepted": 2, "taken": 3}},
            "job": {
                "id": "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g",
                "asked": False,
                "wave": 1,
                "at": AT_NOON,
                "reason": "not_chosen",
            },
        }
    },
}
