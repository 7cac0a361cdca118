"""The flags that several commands take, and how flags become Settings."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from engine.process.settings import Settings, load

Data = Annotated[
    str | None, typer.Option(metavar="DIR", help="Data directory (./.callout unless said, or CALLOUT_DATA).")
]
Redis = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Redis >= 7.0 or Valkey >= 8; without it one is embedded under --data."),
]
Database = Annotated[
    str | None,
    typer.Option(metavar="URL", help="postgresql://... or sqlite:///...; SQLite under --data unless said."),
]
KeyFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Signing key shared by several hosts, instead of the one in --data."),
]
Blueprints = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Blueprints (*.toml) of your own, added to the shipped ones."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def settings_of(**flags: Any) -> Settings:
    """Flags, then ``CALLOUT_*``, then callout.toml here; a flag that is None was not given. Raises
    SettingsError.
    """
    return load(flags)
