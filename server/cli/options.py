"""The flags that several commands share, and how flags become Settings."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from engine.process.settings import Settings, load

Data = Annotated[
    str | None, typer.Option(metavar="DIR", help="Data directory (default: CALLOUT_DATA, else ./.callout).")
]
Redis = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Redis >= 7.0 or Valkey >= 8. Default: an embedded Valkey under --data."),
]
Database = Annotated[
    str | None,
    typer.Option(metavar="URL", help="postgresql://... or sqlite:///... Default: SQLite under --data."),
]
KeyFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Signing key that several hosts share, instead of the one in --data."),
]
Blueprints = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Folder with your own blueprints (*.toml), added to the shipped ones."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def settings_of(**flags: Any) -> Settings:
    """The settings from flags, then ``CALLOUT_*``, then callout.toml in this directory. A flag that is None was not
    given. Raises SettingsError.
    """
    return load(flags)
