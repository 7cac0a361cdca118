"""Examples of earnings and payouts. They are a part of the tables in server/api/examples.py."""

from __future__ import annotations

from typing import Any

_TECHNICIAN = "usr_01jb4zp7k8m9n0p1q2r3s4t5v6"
_AS_OF = {"main": {"epoch": "e1-9f2c41ab", "seq": 812}}
_REQUEST = {"technician": _TECHNICIAN, "amount": 42_500, "currency": "INR", "reference": "tr_1Px"}
_PAYOUT = {
    "id": "pyt_01jb5cz1k8m9n0p1q2r3s4t5v6",
    **_REQUEST,
    "status": "requested",
    "at": "2026-02-03T10:00:00.000Z",
}
_EARNED = {
    "zone": "main",
    "seq": 640,
    "kind": "earned",
    "at": "2026-02-01T12:30:00.000Z",
    "currency": "INR",
    "amount": 42_500,
    "available_at": "2026-02-02T12:30:00.000Z",
    "gross": 50_000,
    "fee": 7_500,
    "job": "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g",
}
REQUESTS: dict[str, Any] = {"payouts_create": _REQUEST, "payouts_settle": {"status": "paid"}}
REPLIES: dict[str, Any] = {
    "earnings_read": {
        "balance": [{"currency": "INR", "pending": 0, "available": 42_500, "paid_out": 0, "as_of": _AS_OF}],
        "items": [_EARNED],
        "next": None,
    },
    "earnings_statement": {
        "statement": {
            "technician": _TECHNICIAN,
            "month": "2026-02",
            "timezone": "Asia/Kolkata",
            "from": "2026-01-31T18:30:00.000Z",
            "to": "2026-02-28T18:30:00.000Z",
            "totals": [{"currency": "INR", "opening": 0, "closing": 42_500}],
            "lines": [{**_EARNED, "balance": 42_500}],
            "final": False,
            "as_of": _AS_OF,
        }
    },
    "payouts_find": {"items": [_PAYOUT], "next": None},
    "payouts_create": {"payout": _PAYOUT},
    "payouts_settle": {"payout": {**_PAYOUT, "status": "paid"}},
}
