"""What a client hears, without a network: once, in order, and after the snapshot that it follows from."""

from __future__ import annotations

from typing import Any

import pytest

from callout_client import Cursors, Ended, On, Sync
from callout_client.feed import Feed


class Heard:
    """A feed, and what came out of it."""

    def __init__(self, cursors: Any = None, *, synced: bool = True) -> None:
        self.told: list[Any] = []
        self.repeats: list[int] = []
        on = On(
            lambda push: self.told.append(push.get("seq")),
            sync=self._sync if synced else None,
            repeat=lambda push: self.repeats.append(push["seq"]),
        )
        self.feed = Feed(on, cursors)

    def _sync(self, sync: Sync) -> None:
        self.told.append("sync")

    def join(self, seq: int, *, recovered: bool = False, missed: int = 0, epoch: str = "e1") -> Any:
        zone = {"epoch": epoch, "seq": seq, "recovered": recovered, "missed": missed}
        return self.feed.join({"main": zone})

    def push(self, *seqs: int) -> None:
        for seq in seqs:
            self.feed.push({"type": "x", "zone": "main", "seq": seq})

    def begin(self, heads: Any, snapshot: Any) -> bool:
        return self.feed.begin(heads, Sync(("main",), {"main": None}, snapshot))


def at(seq: int, epoch: str = "e1") -> dict[str, Any]:
    return {"main": {"epoch": epoch, "seq": seq}}


def test_what_comes_before_the_snapshot_waits_for_it() -> None:
    """What the snapshot holds already is a repeat; the rest follows it; heads meanwhile move nothing."""
    heard = Heard()
    heads = heard.join(10)
    heard.push(11, 12, 13)
    heard.feed.head({"zone": "main", "epoch": "e1", "seq": 13})
    assert (heard.told, heard.feed.cursors.by_zone) == ([], {})
    assert heard.begin(heads, {"cursor": at(12)}) is False
    assert (heard.told, heard.repeats) == (["sync", 13], [11, 12])


@pytest.mark.parametrize("cursor", [at(9), at(12, "e0")])
def test_a_snapshot_older_than_the_connection_is_told_of(cursor: Any) -> None:
    """What lies between will not come on this connection: it has to begin anew, from the snapshot's cursor."""
    heard = Heard()
    assert heard.begin(heard.join(10), {"cursor": cursor}) is True
    assert heard.feed.cursors.by_zone == cursor


def test_behind_a_snapshot_older_than_the_connection_nothing_is_handed_on() -> None:
    """What came meanwhile and what still comes on that connection would leave a gap: the next one brings it all."""
    heard = Heard()
    heads = heard.join(10)
    heard.push(11)
    assert heard.begin(heads, {"cursor": at(8)}) is True
    heard.push(12)
    assert (heard.told, heard.feed.cursors.by_zone) == (["sync"], at(8))
    heard.join(12, recovered=True, missed=4)
    heard.push(9, 10, 11, 12)
    assert heard.told == ["sync", 9, 10, 11, 12]


def test_a_poll_goes_on_behind_an_older_snapshot() -> None:
    """There is no connection to begin anew: the next poll is from the snapshot's cursor."""
    heard = Heard()
    heads = heard.feed.polled({"events": [], "cursor": "main:e1:30", "recovered": False})
    assert heard.begin(heads, {"cursor": at(20)}) is True
    push = {"type": "x", "zone": "main", "seq": 25}
    heard.feed.polled({"events": [push], "cursor": "main:e1:30", "recovered": True})
    assert heard.told == ["sync", 25]


def test_without_a_snapshot_it_goes_on_from_the_head() -> None:
    """One that was refused, or was not wanted."""
    for heard in (Heard(), Heard(at(3, "e0"), synced=False)):
        heads = heard.join(10)
        if heads:
            heard.begin(heads, None)
        assert heard.feed.cursors.by_zone == at(10)
        heard.push(10, 11)
        assert heard.told[-1] == 11 and heard.repeats == [10]


def test_a_poll_that_lost_the_thread() -> None:
    """Its events count, and the zone waits for a snapshot."""
    heard = Heard(at(3))
    push = {"type": "x", "zone": "main", "seq": 4}
    assert heard.feed.polled({"events": [push], "cursor": "main:e1:8", "recovered": True}) == {}
    assert heard.feed.cursors.by_zone == at(8)
    heads = heard.feed.polled({"events": [], "cursor": "main:e2:30", "recovered": False, "reason": "epoch"})
    assert (heads, heard.feed.cursors.by_zone) == (at(30, "e2"), {})
    heard.begin(heads, {"cursor": at(31, "e2")})
    assert heard.told == [4, "sync"]


def test_an_event_whose_listener_raised_is_not_handled() -> None:
    """The cursor stays before it: the next life of the program is given it again."""

    def raises(push: Any) -> None:
        raise KeyError("badge")

    feed = Feed(On(raises), at(3))
    with pytest.raises(Ended) as ended:
        feed.push({"type": "x", "zone": "main", "seq": 4})
    assert isinstance(ended.value.__cause__, KeyError)
    assert feed.cursors.by_zone == at(3)


def test_cursors_in_either_spelling() -> None:
    """As text for a poll and as an object, there and back."""
    places = {"main": {"epoch": "e1", "seq": 131}, "north": {"epoch": "e2", "seq": 9}}
    assert str(Cursors(places)) == "main:e1:131,north:e2:9"
    assert Cursors.parse("main:e1:131,north:e2:9") == places == Cursors.parse(places)
    assert Cursors.parse("") == {}
