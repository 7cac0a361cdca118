"""Settings: flags, then ``CALLOUT_*``, then ``callout.toml``. Each has one name, one default, one unit."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.types import DEFAULT_ZONE


class SettingsError(ValueError):
    """The settings cannot be used; the text says which and why, all of them at once."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator may set. Durations end in ``_s`` and are seconds; sizes end in ``_bytes``."""

    data: str = "./.callout"
    """Data directory: the embedded Valkey, SQLite and the signing key live here."""
    redis: str | None = None
    """URL of a Redis >= 7.0 or Valkey >= 8; without it one is embedded under ``data``."""
    database: str | None = None
    """SQLAlchemy URL (``postgresql://``, ``sqlite://``); without it SQLite under ``data``."""
    host: str = "127.0.0.1"
    port: int = 8700
    zones: tuple[str, ...] = (DEFAULT_ZONE,)
    roles: tuple[Literal["gateway", "scheduler", "archiver", "push"], ...] = (
        "gateway",
        "scheduler",
        "archiver",
        "push",
    )
    blueprints: str | None = None
    """A folder of TOML files added to the shipped blueprints (same name: the user's wins)."""
    blueprint: str = "home_service"
    """The default blueprint of each zone: of jobs that name none, and of events without a job."""
    key_file: str | None = None
    """The signing key, shared by hosts; without it ``<data>/signing.key``, made at first start."""
    origins: tuple[str, ...] = ()
    """Exact web origins that may call (CORS) and open WebSockets."""
    limits: Literal["on", "off"] = "on"
    lease_s: float = 90.0
    job_lifetime_s: float | None = None
    """Overrides every blueprint's job lifetime; for load tests."""
    memory_bytes: int = 64 * 1024 * 1024
    """What a gateway keeps of each zone's log for resuming clients."""
    memory_s: float = 600.0
    log_window_s: float = 600.0
    log_window_bytes: int = 256 * 1024 * 1024
    ping_s: float = 25.0
    pong_s: float = 10.0
    max_sockets: int = 50_000
    """WebSockets that one gateway holds at most; over it the upgrade is refused with 503."""
    user_sockets: int = 5
    """WebSockets of one user over all gateways, and streams at one; over it his oldest goes with 4505. Not counted with
    ``limits`` off.
    """
    accepts: int = 1_000
    """WebSockets that one gateway lets in a second; over it 503. Not counted with ``limits`` off."""
    token_warning_s: float = 60.0
    """How long before a socket's token ends its client is told (``token.expiring``)."""
    token_grace_s: float = 10.0
    """How long after its token's end a socket stays open for a ``refresh``; then 4003."""
    drain_s: float = 5.0
    """Over how long a gateway that stops sends its clients away (4000)."""
    push_url: str | None = None
    push_secret: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"


PREFIX = "CALLOUT_"


def load(flags: Mapping[str, Any], *, env: Mapping[str, str] | None = None, file: Path | None = None) -> Settings:
    """Join the three sources; ``flags`` that are None were not given.

    Raises SettingsError naming every unknown or wrong setting at once.
    """
    env = os.environ if env is None else env
    path = file or Path("callout.toml")
    merged: dict[str, Any] = {}
    if path.is_file():
        try:
            merged.update(tomllib.loads(path.read_text()))
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{path}: {error}") from error
    names = set(Settings.__struct_fields__)
    merged.update({n: env[PREFIX + n.upper()] for n in names if PREFIX + n.upper() in env})
    merged.update({n: v for n, v in flags.items() if v is not None})
    return _convert(merged)


def _convert(merged: dict[str, Any]) -> Settings:
    problems = [f"unknown setting {name!r}" for name in sorted(set(merged) - set(Settings.__struct_fields__))]
    values: dict[str, Any] = {}
    hints = {f.name: f.type for f in msgspec.structs.fields(Settings)}
    for name, raw in merged.items():
        if name not in hints:
            continue
        value = raw.split(",") if isinstance(raw, str) and name in ("zones", "roles", "origins") else raw
        try:
            values[name] = msgspec.convert(value, hints[name], strict=False)
        except msgspec.ValidationError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise SettingsError("; ".join(problems))
    return Settings(**values)
