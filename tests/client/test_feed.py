"""The feed of the client, without a network: it delivers events once, in order, and after the snapshot that they
follow.
"""

from __future__ import annotations

from typing import Any

import pytest

from callout_client import Cursors, Ended, Listeners, Sync
from callout_client.feed import Feed


class RecordedFeed:
    """A feed, with a record of what it delivered."""

    def __init__(self, cursors: Any = None, *, synced: bool = True) -> None:
        self.delivered: list[Any] = []
        self.repeats: list[int] = []
        on = Listeners(
            lambda push: self.delivered.append(push.get("seq")),
            sync=self._record_sync if synced else None,
            repeat=lambda push: self.repeats.append(push["seq"]),
        )
        self.feed = Feed(on, cursors)

    def _record_sync(self, sync: Sync) -> None:
        """Record that a snapshot was delivered."""
        self.delivered.append("sync")

    def receive_connect_reply(self, seq: int, *, recovered: bool = False, missed: int = 0, epoch: str = "e1") -> Any:
        """Pass to the feed a connect reply with the zone `main`, whose head is ``seq``. Return the heads of the zones
        that need a snapshot.
        """
        zone = {"epoch": epoch, "seq": seq, "recovered": recovered, "missed": missed}
        return self.feed.join_zones({"main": zone})

    def push(self, *seqs: int) -> None:
        """Pass an event for each of ``seqs`` to the feed."""
        for seq in seqs:
            self.feed.deliver_push({"type": "x", "zone": "main", "seq": seq})

    def begin(self, heads: Any, snapshot: Any) -> bool:
        """Pass a snapshot of the zone `main` to the feed. Return whether it is older than the connection."""
        return self.feed.deliver_snapshot(heads, Sync(("main",), {"main": None}, snapshot))


def cursors_at(seq: int, epoch: str = "e1") -> dict[str, Any]:
    """Return cursors with this position in the zone `main`."""
    return {"main": {"epoch": epoch, "seq": seq}}


def test_pushes_wait_for_the_snapshot() -> None:
    """Pushes that arrive before the snapshot wait for it. Pushes that the snapshot contains are repeats; the others are
    delivered after it. A newer head in the meantime does not move the cursor.
    """
    recorded = RecordedFeed()
    heads = recorded.receive_connect_reply(10)
    recorded.push(11, 12, 13)
    recorded.feed.advance_to_head({"zone": "main", "epoch": "e1", "seq": 13})
    assert (recorded.delivered, recorded.feed.cursors.by_zone) == ([], {})
    assert recorded.begin(heads, {"cursor": cursors_at(12)}) is False
    assert (recorded.delivered, recorded.repeats) == (["sync", 13], [11, 12])


@pytest.mark.parametrize("cursor", [cursors_at(9), cursors_at(12, "e0")])
def test_begin_reports_a_snapshot_older_than_the_connection(cursor: Any) -> None:
    """If the snapshot is older than the head of the connection, ``begin`` returns True and the cursor is that of the
    snapshot: the client must reconnect from there, because the events between do not arrive.
    """
    recorded = RecordedFeed()
    assert recorded.begin(recorded.receive_connect_reply(10), {"cursor": cursor}) is True
    assert recorded.feed.cursors.by_zone == cursor


def test_no_push_is_delivered_after_an_older_snapshot() -> None:
    """After a snapshot that is older than the connection, pushes of that connection are not delivered, because they
    would leave a gap. The next connection delivers them all.
    """
    recorded = RecordedFeed()
    heads = recorded.receive_connect_reply(10)
    recorded.push(11)
    assert recorded.begin(heads, {"cursor": cursors_at(8)}) is True
    recorded.push(12)
    assert (recorded.delivered, recorded.feed.cursors.by_zone) == (["sync"], cursors_at(8))
    recorded.receive_connect_reply(12, recovered=True, missed=4)
    recorded.push(9, 10, 11, 12)
    assert recorded.delivered == ["sync", 9, 10, 11, 12]


def test_a_poll_continues_after_an_older_snapshot() -> None:
    """After an older snapshot, a polling client needs no new connection: the next poll starts at the
    snapshot's cursor.
    """
    recorded = RecordedFeed()
    heads = recorded.feed.deliver_poll({"events": [], "cursor": "main:e1:30", "recovered": False})
    assert recorded.begin(heads, {"cursor": cursors_at(20)}) is True
    push = {"type": "x", "zone": "main", "seq": 25}
    recorded.feed.deliver_poll({"events": [push], "cursor": "main:e1:30", "recovered": True})
    assert recorded.delivered == ["sync", 25]


def test_without_a_snapshot_the_feed_continues_from_the_head() -> None:
    """If the snapshot was refused, or the program has no listener for it, the feed continues from the head."""
    for recorded in (RecordedFeed(), RecordedFeed(cursors_at(3, "e0"), synced=False)):
        heads = recorded.receive_connect_reply(10)
        if heads:
            recorded.begin(heads, None)
        assert recorded.feed.cursors.by_zone == cursors_at(10)
        recorded.push(10, 11)
        assert recorded.delivered[-1] == 11 and recorded.repeats == [10]


def test_a_poll_that_was_not_recovered() -> None:
    """After a poll with `recovered` false, the zone waits for a snapshot. Events of earlier polls were delivered."""
    recorded = RecordedFeed(cursors_at(3))
    push = {"type": "x", "zone": "main", "seq": 4}
    assert recorded.feed.deliver_poll({"events": [push], "cursor": "main:e1:8", "recovered": True}) == {}
    assert recorded.feed.cursors.by_zone == cursors_at(8)
    heads = recorded.feed.deliver_poll({"events": [], "cursor": "main:e2:30", "recovered": False, "reason": "epoch"})
    assert (heads, recorded.feed.cursors.by_zone) == (cursors_at(30, "e2"), {})
    recorded.begin(heads, {"cursor": cursors_at(31, "e2")})
    assert recorded.delivered == [4, "sync"]


def test_an_event_whose_listener_raised_is_not_handled() -> None:
    """If a listener raises, the cursor remains before the event, so that the program receives the event again after a
    restart.
    """

    def fail(push: Any) -> None:
        raise KeyError("badge")

    feed = Feed(Listeners(fail), cursors_at(3))
    with pytest.raises(Ended) as ended:
        feed.deliver_push({"type": "x", "zone": "main", "seq": 4})
    assert isinstance(ended.value.__cause__, KeyError)
    assert feed.cursors.by_zone == cursors_at(3)


def test_cursors_as_text_and_as_object() -> None:
    """Cursors can be converted to the text form that polls use, and back."""
    places = {"main": {"epoch": "e1", "seq": 131}, "north": {"epoch": "e2", "seq": 9}}
    assert str(Cursors(places)) == "main:e1:131,north:e2:9"
    assert Cursors.parse("main:e1:131,north:e2:9") == places == Cursors.parse(places)
    assert Cursors.parse("") == {}
