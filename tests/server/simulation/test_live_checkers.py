"""The checkers of a running demo find the constructed faults, and report nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from server.simulation.holder_checker import SETTLE_S, HolderChecker
from server.simulation.live_delivery import DELIVERY_S, LiveDelivery

LATER_S = DELIVERY_S + 1


def joined(user: str = "usr_a", *, seq: int = 10, recovered: bool = False) -> dict[str, Any]:
    """Return a reply to ``connect`` of a customer."""
    return {"user": {"id": user, "role": "customer"}, "zones": {"main": {"seq": seq, "recovered": recovered}}}


def push(seq: int) -> dict[str, Any]:
    """Return a logged push."""
    return {"type": "job.status", "zone": "main", "seq": seq}


def test_an_event_that_does_not_arrive_in_time_is_lost() -> None:
    """An entry of the log that is addressed to a connected user and does not arrive is lost, once."""
    delivery = LiveDelivery()
    delivery.record_join(joined(), 0.0)
    for seq in (11, 12):
        delivery.record_entry(seq, "job.status", ["user:usr_a"], 0.0)
    delivery.record_event("usr_a", push(11))
    delivery.settle(DELIVERY_S - 1)
    assert (delivery.lost, delivery.compared) == (0, 1)
    delivery.settle(LATER_S)
    delivery.settle(2 * LATER_S)
    assert (delivery.lost, delivery.compared) == (1, 2)


def test_what_nobody_must_receive_is_not_lost() -> None:
    """These entries do not count as lost: entries received before the log was read, entries for other users or for
    gateways, entries older than the connection, and entries that a user missed who has left or to whom the server
    reported a gap.
    """
    delivery = LiveDelivery()
    delivery.record_join(joined(), 0.0)
    delivery.record_join(joined("usr_left"), 0.0)
    delivery.record_event("usr_a", push(11))
    delivery.record_entry(11, "job.status", ["user:usr_a"], 0.0)
    delivery.record_entry(12, "job.status", ["user:usr_b", "user:usr_left"], 0.0)
    delivery.record_entry(13, "session.revoked", ["user:usr_a"], 0.0)
    delivery.record_entry(9, "job.status", ["user:usr_a"], 0.0)
    delivery.record_entry(14, "job.status", ["user:usr_a"], 0.0)
    delivery.record_leave("usr_left")
    delivery.record_join(joined(seq=14), 1.0)
    delivery.settle(LATER_S)
    assert (delivery.lost, delivery.compared) == (0, 1)


def test_a_user_gets_the_time_only_while_connected() -> None:
    """While a user is disconnected nothing counts as lost. An entry that the resumed session does not bring counts as
    lost.
    """
    delivery = LiveDelivery()
    delivery.record_join(joined(), 0.0)
    delivery.record_entry(11, "job.status", ["user:usr_a"], 0.0)
    delivery.record_disconnect("usr_a")
    delivery.settle(5 * LATER_S)
    assert delivery.lost == 0
    delivery.record_join(joined(seq=11, recovered=True), 5 * LATER_S)
    delivery.settle(5 * LATER_S + DELIVERY_S - 1)
    assert delivery.lost == 0
    delivery.settle(6 * LATER_S)
    assert delivery.lost == 1


def job(version: int, holder: str | None) -> dict[str, Any]:
    """Return a whole job."""
    technician = {"id": holder} if holder else None
    return {"id": "job_1", "version": version, "customer": {"id": "usr_c"}, "technician": technician}


@pytest.mark.parametrize(
    ("seen", "two_holders"),
    [
        ([], 1),
        ([job(3, "usr_a")], 1),
        ([job(3, None)], 0),
        ([job(3, "usr_b")], 0),
        ([job(2, "usr_b")], 1),
    ],
)
def test_a_second_claim_needs_a_release_between(seen: list[dict[str, Any]], two_holders: int) -> None:
    """Two acknowledged claims are two holders, unless a client received that the first technician lost the job between
    them. The event may come later than the claim.
    """
    holders = HolderChecker()
    holders.record_claim(job(2, "usr_a"), "usr_a", 0.0)
    holders.record_claim(job(4, "usr_b"), "usr_b", 0.0)
    for view in seen:
        holders.record_job(view)
    holders.settle(SETTLE_S - 1)
    holders.settle(SETTLE_S)
    assert (holders.claims, holders.two_holders) == (2, two_holders)


def test_two_views_of_one_version_must_agree() -> None:
    """The same version with two holders is an immediate proof, and a job counts once. Public parts prove nothing."""
    holders = HolderChecker()
    holders.record_job(job(2, "usr_a"))
    holders.record_job({"id": "job_1", "version": 2, "technician": None})
    holders.record_job(job(2, "usr_a"))
    assert holders.two_holders == 0
    holders.record_job(job(2, "usr_b"))
    holders.record_job(job(2, None))
    assert holders.two_holders == 1
