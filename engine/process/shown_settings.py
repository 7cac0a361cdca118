"""The settings of a process as an admin may see them: no secret, and no password in an address."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from engine.process.settings import Settings

MASK = "•••"
SECRET_SETTINGS = frozenset({"push_secret", "stripe_key", "stripe_webhook_secret"})
HIDDEN_SETTINGS = frozenset({"zone_areas"})
"""Settings that another route shows: the zones."""
_CREDENTIALS = re.compile(r"(?<=://).*@")
"""What stands before the last @: the libraries that read an address accept a password with / ? and @."""
_PARAMETERS = re.compile(r"\?.*$")


class ShownSetting(msgspec.Struct, frozen=True):
    """One setting. ``value`` is its text, "" for none. ``is_default`` is true if it was not set."""

    name: str
    value: str
    is_default: bool


def shown_settings(settings: Settings) -> list[ShownSetting]:
    """Return all settings, sorted by name. A secret that is set is masked, and so are the user, the password and the
    parameters of an address.
    """
    fields = [field for field in msgspec.structs.fields(Settings) if field.name not in HIDDEN_SETTINGS]
    found = [(field.name, getattr(settings, field.name), field.default) for field in fields]
    return [ShownSetting(name, _text(name, value), value == default) for name, value, default in sorted(found)]


def _text(name: str, value: Any) -> str:
    if value is None or value == "":
        return ""
    if name in SECRET_SETTINGS:
        return MASK
    return ", ".join(_masked(str(each)) for each in (value if isinstance(value, tuple) else (value,)))


def _masked(text: str) -> str:
    if "://" not in text:
        return text
    return _PARAMETERS.sub(f"?{MASK}", _CREDENTIALS.sub(f"{MASK}@", text))
