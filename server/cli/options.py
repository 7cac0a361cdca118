"""The flags that several commands share, and the function that makes Settings from flags."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from engine.process.settings import Settings, read_settings

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


def load_settings(**flags: Any) -> Settings:
    """Return the settings. Flags replace ``CALLOUT_*`` variables, and these replace callout.toml of the current
    directory. None means that the flag was not given. Raises SettingsError.
    """
    return read_settings(flags)
