"""If two parts of a rebuild write contents to the same key, the contents are joined only if their order does not
matter.
"""

from __future__ import annotations

import pytest

from engine.rebuild.contents import ContentConflict, Contents, GeoPoint, KeyContent, merge
from tests.support.for_each import for_each

CONFLICTS = {
    "another kind": (KeyContent("zset", {"a": "1"}), KeyContent("hash", {"b": "1"})),
    "another end": (KeyContent("set", frozenset({"a"}), 1), KeyContent("set", frozenset({"b"}))),
    "two values": (KeyContent("geo", {"a": GeoPoint("1", "2")}), KeyContent("geo", {"a": GeoPoint("1", "3")})),
    "two strings": (KeyContent("string", "a"), KeyContent("string", "b")),
    "two lists": (KeyContent("list", ("a",)), KeyContent("list", ("b",))),
}


@for_each(CONFLICTS, str)
def test_conflicts_are_refused(name: str) -> None:
    """Two contents of one key that exclude each other raise an error, and neither overwrites the other."""
    first, second = CONFLICTS[name]
    contents: Contents = {"key": first}
    with pytest.raises(ContentConflict, match="key"):
        merge(contents, {"key": second})
    assert contents == {"key": first}


def test_members_are_joined() -> None:
    """Sets and maps of the same key are joined, and the same content twice is no conflict."""
    contents: Contents = {"due": KeyContent("zset", {"a": "1"}), "jobs": KeyContent("set", frozenset({"a"}))}
    merge(contents, {"due": KeyContent("zset", {"a": "1", "b": "2"}), "jobs": KeyContent("set", frozenset({"b"}))})
    merge(contents, {"log": KeyContent("list", ("a",))})
    merge(contents, {"log": KeyContent("list", ("a",))})
    assert contents == {
        "due": KeyContent("zset", {"a": "1", "b": "2"}),
        "jobs": KeyContent("set", frozenset({"a", "b"})),
        "log": KeyContent("list", ("a",)),
    }
