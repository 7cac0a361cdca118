"""Examples of replies about demand. They are a part of the table in server/api/examples.py."""

from __future__ import annotations

from typing import Any

CELL, PARENT, AT_NOON = "881f1d4881fffff", "871f1d488ffffff", "2026-01-31T12:00:00.000Z"
_CORNERS = [[13.408, 52.526], [13.401, 52.522], [13.402, 52.517], [13.41, 52.515], [13.417, 52.519], [13.416, 52.524]]

REPLIES: dict[str, Any] = {
    "demand_find": {
        "items": [
            {
                "area": CELL,
                "polygon": {"type": "Polygon", "coordinates": [[*_CORNERS, _CORNERS[0]]]},
                "score": 96.5,
                "lift": 1.4,
                "waiting": 3,
                "free": 1,
                "multiplier": 1200,
                "ahead": [{"h": 1, "mean": 4.2, "p10": 2, "p90": 7}, {"h": 24, "mean": 3.1, "p10": 1, "p90": 6}],
                "sample": 812,
                "as_of": AT_NOON,
            },
            {"area": "881f1d4885fffff", "score": 12.0, "from": PARENT, "as_of": AT_NOON},
        ],
        "next": None,
    },
    "demand_clusters": {
        "items": [
            {
                "area": CELL,
                "areas": [CELL, "881f1d4885fffff"],
                "sample": 845,
                "share": 0.31,
                "waiting": 3,
                "free": 2,
                "expected": 4.6,
                "as_of": AT_NOON,
            }
        ],
        "next": None,
    },
    "demand_backtest": {
        "items": [
            {"by": "cell", "h": 1, "candidate": "profile", "error": 21.4, "served": True, "as_of": AT_NOON},
            {"by": "cell", "h": 1, "candidate": "last_week", "error": 33.9, "served": False, "as_of": AT_NOON},
        ]
    },
}
