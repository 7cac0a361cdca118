"""The users of the story tests, for tests of uploads over HTTP."""

from tests.story.conftest import scenario

__all__ = ["scenario"]
