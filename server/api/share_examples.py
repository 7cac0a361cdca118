"""Examples of links to jobs. They are a part of the tables in server/api/examples.py."""

from __future__ import annotations

from typing import Any

_SHARE: dict[str, Any] = {
    "id": "shr_01jb4zqk3m8r5t7v9x2c6d8f0k",
    "url": "/track/9Jq3vXoT4bNw2mZkYcR8sLf1HdGuP0eAi5Q7xOtBnVlWjMyKzDrSgCpEhIaFu6U",
    "expires_at": "2026-02-01T12:00:00.000Z",
}

REQUESTS: dict[str, Any] = {"shares_create": {"ttl_s": 86_400}}
REPLIES: dict[str, Any] = {
    "shares_create": {"share": _SHARE},
    "shares_read": {"share": _SHARE},
    "shares_follow": {
        "phase": "active",
        "says": "The technician is on the way",
        "position": {
            "lat": 52.524,
            "lon": 13.401,
            "at": "2026-01-31T12:07:58.000Z",
            "age_s": 2.4,
            "stale": False,
            "heading": 95.0,
            "accuracy": 8.0,
        },
        "eta_s": 240,
        "as_of": "2026-01-31T12:08:00.400Z",
    },
}
