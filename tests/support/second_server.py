"""The settings of a second server that shares the stores of a first one."""

from __future__ import annotations


def stores_of(data: str) -> dict[str, str]:
    """Return the settings that name the database, the key and the files of the server with this data directory."""
    return {"database": f"sqlite:///{data}/callout.db", "key_file": f"{data}/signing.key", "files": f"{data}/blobs"}
