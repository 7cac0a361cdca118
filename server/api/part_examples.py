"""The examples of parts of the interface, which have modules of their own, in one table. server/api/examples.py has all
examples.
"""

from __future__ import annotations

from collections import ChainMap
from typing import Any

from server.api import (
    about_examples,
    choice_examples,
    demand_examples,
    money_examples,
    plan_examples,
    schedule_examples,
    share_examples,
    system_examples,
)

REQUESTS: dict[str, Any] = dict(
    ChainMap(plan_examples.REQUESTS, money_examples.REQUESTS, schedule_examples.REQUESTS, share_examples.REQUESTS)
)
REPLIES: dict[str, Any] = dict(
    ChainMap(
        about_examples.REPLIES,
        choice_examples.REPLIES,
        demand_examples.REPLIES,
        money_examples.REPLIES,
        plan_examples.REPLIES,
        schedule_examples.REPLIES,
        share_examples.REPLIES,
        system_examples.REPLIES,
    )
)
