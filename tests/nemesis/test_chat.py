"""The checker finds and names what is wrong with the messages of a history."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.nemesis.checker import KINDS, check
from tests.nemesis.histories import CARLA, E1, TOM, good_history, op_of, operation
from tests.nemesis.history import Entry, Heard, History, Joined, Operation

ROOM = "room_main_1"


def message(seq: int, n: int, op: Operation, client_id: str = "c1") -> Entry:
    """Return the event of Tom's message to Carla."""
    return Entry(seq, E1, "message.created", "user:carla user:tom", TOM, f"{op.key}:0", ROOM, n, client_id=client_id)


def add_message(history: History) -> None:
    """Add a message of Tom to the history. Carla sees it when she opens the room."""
    said = operation(100, 110, TOM, "say", job=ROOM, seq=6, version=1)
    history.add(said, message(6, 1, said), operation(120, 130, CARLA, "join", job=ROOM, version=1))
    history.add(*(Heard(person, "main", E1, 6, "message.created", 112, ROOM) for person in (CARLA, TOM)))


def forget_message(history: History) -> None:
    """Spoil the history: a message was not delivered."""
    add_message(history)
    history.heard.remove(next(h for h in history.heard if (h.p, h.seq) == (CARLA, 6)))


def lose_message(history: History) -> None:
    """Spoil the history: a message was acknowledged, and no store has it."""
    add_message(history)
    history.add(operation(140, 150, TOM, "say", job=ROOM, seq=7, version=2))


def say_twice(history: History) -> None:
    """Spoil the history: a message that was sent again with another key is stored twice."""
    add_message(history)
    again = operation(140, 150, TOM, "say", job=ROOM, seq=7, version=2)
    history.add(again, message(7, 2, again))


def skip_number(history: History) -> None:
    """Spoil the history: a number is missing between two messages."""
    add_message(history)
    later = operation(140, 150, TOM, "say", job=ROOM, seq=7, version=3)
    history.add(later, message(7, 3, later, "c2"))


def hide_message(history: History) -> None:
    """Spoil the history: a member opens the room and does not see the newest message."""
    add_message(history)
    op_of(history, CARLA, "join").version = 0


SPOILED = [
    (forget_message, "lost"),
    (lose_message, "undone"),
    (say_twice, "done_twice"),
    (skip_number, "message_numbers"),
    (hide_message, "unseen_message"),
]


def test_a_good_chat_has_no_flaw() -> None:
    """A message that was said, delivered and seen is no flaw, nor one that a replay leaves out of a closed room."""
    history = good_history()
    add_message(history)
    assert [flaw.text for flaw in check(history).flaws] == []
    forget_message(closed := good_history())
    closed.add(Entry(7, E1, "room.closed", "user:carla user:tom", job=ROOM))
    closed.add(Joined(CARLA, CARLA, "main", E1, 7, True, 200, after=5))
    assert [flaw.text for flaw in check(closed).flaws] == []


@pytest.mark.parametrize(("spoil", "kind"), SPOILED, ids=lambda each: getattr(each, "__name__", each))
def test_a_bad_chat_is_found_and_named(spoil: Callable[[History], None], kind: str) -> None:
    """Each fault that was put into the chat is named by its kind."""
    history = good_history()
    spoil(history)
    assert kind in check(history).counts and kind in KINDS
