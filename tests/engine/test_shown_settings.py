"""An admin sees the settings of a process, and no secret."""

from __future__ import annotations

import re

from engine.process.settings import Settings
from engine.process.shown_settings import HIDDEN_SETTINGS, MASK, SECRET_SETTINGS, shown_settings

NOT_SECRET = {"key_file", "token_warning_s", "token_grace_s"}
"""Settings whose names look like secrets but are not."""


def test_no_secret_is_shown() -> None:
    """Every setting whose name looks like a secret is masked, and so are user, password and parameters in addresses."""
    names = [name for name in Settings.__struct_fields__ if re.search("secret|key|password|token", name)]
    assert set(names) - NOT_SECRET == SECRET_SETTINGS
    secret = dict.fromkeys(SECRET_SETTINGS, "hunter2")
    addresses = {"redis": "rediss://ada:hunter2@a:1/0", "database": "postgresql://ada:hunter2@b/c?password=hunter2"}
    addresses |= {"push_url": "https://push.example/?key=hunter2", "router": "osrm+http://r:5000"}
    shown = {each.name: each for each in shown_settings(Settings(**secret, **addresses))}  # type: ignore[arg-type]
    assert set(shown) == set(Settings.__struct_fields__) - HIDDEN_SETTINGS
    assert not any("hunter2" in each.value or "ada" in each.value for each in shown.values())
    assert {shown[name].value for name in SECRET_SETTINGS} == {MASK}
    assert shown["redis"].value == f"rediss://{MASK}@a:1/0"
    assert shown["database"].value == f"postgresql://{MASK}@b/c?{MASK}"
    assert shown["router"].value == "osrm+http://r:5000"
    for url in ("postgresql://ada:p/hunter2@b/c", "redis://:p@hunter2@b/c", "redis://:p?hunter2@b/c"):
        shown = {each.name: each for each in shown_settings(Settings(database=url, redis=url))}
        assert {shown["database"].value, shown["redis"].value} == {f"{url.partition('://')[0]}://{MASK}@b/c"}
    origins = {each.name: each for each in shown_settings(Settings(origins=("https://a:1", "https://b:2")))}["origins"]
    assert origins.value == "https://a:1, https://b:2"
    assert (shown["workers"].value, shown["workers"].is_default) == ("1", True)
