"""The users of the story tests, on a server that drains quickly."""

from __future__ import annotations

import msgspec
import pytest

from engine.process.settings import Settings
from tests.story.conftest import scenario  # noqa: F401 (a fixture)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return the settings of each test, with a drain of one second."""
    return msgspec.structs.replace(settings, drain_s=1.0)
