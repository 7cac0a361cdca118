"""Examples of day plans. They are a part of the tables in server/api/examples.py."""

from __future__ import annotations

from typing import Any

PLAN = {
    "id": "plan_main_01jb4zqk3m8r5t7v9x2c6d8f0g",
    "zone": "main",
    "date": "2026-02-01",
    "fixed": "started",
}
_MOVE = {
    "job": "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g",
    "version": 4,
    "from": "usr_01jb4zp7k8m9n0p1q2r3s4t5v6",
    "to": "usr_01jb4zpa2b3c4d5e6f7g8h9j0k",
    "at": "2026-02-01T09:00:00.000Z",
}
REQUESTS: dict[str, Any] = {"plans_create": {"zone": "main", "date": "2026-02-01", "fixed": "started", "budget_s": 2.0}}
REPLIES: dict[str, Any] = {
    "plans_create": {"plan": {**PLAN, "state": "computing"}},
    "plans_read": {
        "plan": {
            **PLAN,
            "state": "ready",
            "groups": [{"moves": [_MOVE], "saves_s": 1260}],
            "unserved": [],
            "expires_at": "2026-01-31T13:00:00.000Z",
        }
    },
    "plans_apply": {"applied": [0], "refused": []},
}
