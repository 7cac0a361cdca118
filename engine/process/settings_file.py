"""The settings file: ``callout.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

ZONES_TABLE = "zones"
"""The name of the group of tables ``[zones.<name>]``, which are read by engine/process/zone_tables.py."""


def read_file(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the values of the settings file and its problems. A missing file has neither."""
    try:
        return _flatten_tables(tomllib.loads(path.read_text("utf-8"))) if path.is_file() else {}, []
    except RecursionError:
        return {}, [f"{path}: nested too deep"]
    except UnicodeDecodeError:
        return {}, [f"{path}: not UTF-8"]
    except (tomllib.TOMLDecodeError, OSError) as error:
        return {}, [f"{path}: {error}"]


def _flatten_tables(values: dict[str, Any]) -> dict[str, Any]:
    """Join the names of tables and keys: ``[app] min_version`` is the setting ``app_min_version``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        is_group = isinstance(value, dict) and name != ZONES_TABLE
        flat |= {f"{name}_{key}": each for key, each in value.items()} if is_group else {name: value}
    return flat
