"""The pages that ``make web`` built into ``server/web/built/``, and the files that they consist of."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from server.http.responses import Header

FOLDER = Path(__file__).parent / "built"
TYPES = {
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".png": b"image/png",
    ".woff2": b"font/woff2",
    ".json": b"application/json",
    ".webmanifest": b"application/manifest+json",
    ".txt": b"text/plain; charset=utf-8",
}
IMMUTABLE: Header = (b"cache-control", b"public, max-age=31536000, immutable")


class Entry(msgspec.Struct, frozen=True):
    """The files of one page, by name. ``preloads`` are the scripts that its script imports at once, ``later`` those
    that it may import afterwards.
    """

    scripts: list[str]
    styles: list[str]
    preloads: list[str]
    fonts: list[str]
    later: list[str]


class ServedFile(msgspec.Struct, frozen=True):
    """A file with a fixed path, such as a service worker, which a browser looks for under the same name each time."""

    file: str
    type: str


class Manifest(msgspec.Struct, frozen=True):
    """The content of the build: the pages, the script that runs before a page is shown, and files with fixed paths."""

    entries: dict[str, Entry]
    boot: str
    named: dict[str, str]
    """Files that a script loads by itself."""
    served: dict[str, ServedFile]
    bytes: dict[str, int]
    """The size of each file as it is sent, compressed if that is smaller."""


class BuiltFile(NamedTuple):
    """One file of the build: its content, the same compressed (None if that is not smaller), and its type."""

    body: bytes
    packed: bytes | None
    media: bytes


class BuiltPages:
    """The present build. It is read again after a new build, so that a developer only has to reload the page."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._manifest: Manifest | None = None
        self._built_at = 0.0
        self._files: dict[str, BuiltFile | None] = {}

    def manifest(self) -> Manifest | None:
        """Return the present manifest; None if nothing is built."""
        path = self._folder / "manifest.json"
        try:
            built_at = path.stat().st_mtime
            if built_at != self._built_at:
                manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
                self._manifest, self._built_at, self._files = manifest, built_at, {}
        except FileNotFoundError:
            self._manifest, self._built_at, self._files = None, 0.0, {}
        return self._manifest

    def file(self, name: str) -> BuiltFile | None:
        """Return the file ``name`` of the build; None if the build has no such file. Only names of the manifest are
        joined to the folder, so that no name can point outside the folder.
        """
        manifest = self.manifest()
        if manifest is None or name not in manifest.bytes:
            return None
        if name not in self._files:
            self._files[name] = self._read(name)
        return self._files[name]

    def _read(self, name: str) -> BuiltFile | None:
        path = self._folder / name
        packed = path.with_name(f"{name}.gz")
        try:
            body = path.read_bytes()
            return BuiltFile(body, packed.read_bytes() if packed.exists() else None, TYPES[path.suffix])
        except FileNotFoundError:  # a new build is replacing the files
            return None
