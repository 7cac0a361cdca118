"""The message checker finds lost and doubled chat messages, and reports no others."""

from __future__ import annotations

import pytest

from server.simulation import message_checker
from server.simulation.message_checker import MessageChecker


@pytest.fixture
def checker(monkeypatch: pytest.MonkeyPatch) -> MessageChecker:
    """Return a checker of a room with two members. It counts a message as lost at once, without waiting for a late
    arrival."""
    monkeypatch.setattr(message_checker, "DELIVERY_S", 0.0)
    new_checker = MessageChecker()
    for user in ("customer", "technician"):
        new_checker.record_member("room", user, 0)
    return new_checker


def say(checker: MessageChecker, n: int, *receivers: str) -> None:
    """Record the message ``n`` and those who receive it."""
    checker.record_said("room", n)
    for user in receivers:
        checker.record_received("room", user, n)


def test_each_member_must_receive_each_message(checker: MessageChecker) -> None:
    """A message that a member does not receive is lost, whether a later one arrives or not; each counts once."""
    say(checker, 1, "customer", "technician")
    assert (checker.said, checker.received, checker.lost(), checker.doubled) == (1, 2, 0, 0)
    say(checker, 2, "customer")
    assert checker.lost() == 1
    say(checker, 3, "customer", "technician")
    assert (checker.lost(), checker.doubled) == (1, 0)


def test_a_message_that_arrives_twice_is_doubled(checker: MessageChecker) -> None:
    """A message counts as doubled if the same member has received it before, also if others came in between."""
    say(checker, 1, "customer", "technician", "technician")
    say(checker, 2, "customer", "technician")
    checker.record_received("room", "customer", 1)
    assert (checker.doubled, checker.lost()) == (2, 0)


def test_who_left_and_who_came_later_need_not_receive_a_message(checker: MessageChecker) -> None:
    """A member need not receive messages from after they left or from before they joined. A message that was lost
    before they left still counts."""
    say(checker, 1, "customer")
    checker.forget_member("technician", "room")
    say(checker, 2, "customer")
    checker.record_member("room", "mediator", 2)
    say(checker, 3, "customer", "mediator")
    assert (checker.lost(), checker.doubled) == (1, 0)


def test_a_message_on_its_way_is_not_lost(checker: MessageChecker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message counts as lost only after the time in which it may arrive."""
    monkeypatch.setattr(message_checker, "DELIVERY_S", 60.0)
    say(checker, 1, "customer")
    assert checker.lost() == 0


def test_old_rooms_are_dropped_without_losing_their_counts(
    checker: MessageChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checker stores only the last rooms in memory, and still counts the lost messages of the others."""
    monkeypatch.setattr(message_checker, "MAX_ROOMS", 2)
    say(checker, 1, "customer")
    for room in ("a", "b", "c"):
        checker.record_member(room, "customer", 0)
    assert checker.lost() == 1
