"""The flags that several commands share, and the function that makes Settings from flags."""

from __future__ import annotations

from typing import Any

import click

from engine.process.settings import Settings, read_settings

data = click.option("--data", metavar="DIR", help="Data directory (default: CALLOUT_DATA, else ./.callout).")
redis = click.option(
    "--redis", metavar="URL", help="Redis >= 7.0 or Valkey >= 8. Default: an embedded Valkey under --data."
)
database = click.option(
    "--database", metavar="URL", help="postgresql://... or sqlite:///... Default: SQLite under --data."
)
key_file = click.option(
    "--key-file", metavar="FILE", help="Signing key that several hosts share, instead of the one in --data."
)
blueprints = click.option(
    "--blueprints", metavar="DIR", help="Folder with your own blueprints (*.toml), added to the shipped ones."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")


def load_settings(**flags: Any) -> Settings:
    """Return the settings. Flags replace ``CALLOUT_*`` variables, and these replace callout.toml of the current
    directory. None means that the flag was not given. Raises SettingsError.
    """
    return read_settings(flags)
