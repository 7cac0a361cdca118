"""Lua scripts: found, put together and described once, when the store opens.

``--- @include "lib/<name>"`` pulls a shared step in, once each. Redis reports errors by the line of what it was
given, so the loader keeps where each line came from and rewrites the message: a stack of pasted text is of no use
to the engineer who gets it at night.

Included files hold ``local function`` definitions only. The header comment of a script is its contract: the loader
parses it and a test compares it with the keys used and the words replied.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

_INCLUDE = re.compile(r'^--- @include "(?P<name>[a-z_/]+)"\s*$')
_HEADER = re.compile(r"\A--\[\[ (?P<name>\w+): (?P<does>.*?)\n(?P<body>.*?)\]\]", re.S)
_ROW = re.compile(r"^(KEYS|ARGV|OK|ERR|EMITS|TOUCHES)\b[ \t]*(.*(?:\n[ \t]+\S.*)*)", re.M)
_AT_LINE = re.compile(r"(?:user_script|@user_script|\[string \"[^\"]*\"\]):(\d+)")


class ScriptError(Exception):
    """A script that cannot be used: missing, without a header, or including what is not there."""


@dataclass(frozen=True, slots=True)
class Script:
    """One verb. ``sha`` is what EVALSHA takes; the rest is its header."""

    name: str
    does: str
    keys: tuple[str, ...]
    argv: tuple[str, ...]
    ok: tuple[str, ...]
    err: tuple[str, ...]
    emits: tuple[str, ...]
    touches: str
    source: str
    lines: tuple[str, ...] = field(repr=False)
    sha: str = ""

    def locate(self, message: str) -> str:
        """``message`` of a Redis error with each line number replaced by file and line of the source."""

        def place(match: re.Match[str]) -> str:
            number = int(match[1])
            return self.lines[number - 1] if 0 < number <= len(self.lines) else match[0]

        return _AT_LINE.sub(place, message)


def folder() -> Path:
    """Where the scripts are: inside the installed package, or beside it in a checkout.

    A wheel carries them as ``engine/lua``; an editable install has no such folder, since a build's forced
    includes are not there.
    """
    here = Path(__file__).resolve().parents[1]
    for place in (here / "lua", here.parent / "lua"):
        if place.is_dir():
            return place
    raise ScriptError(f"no lua folder in {here} nor beside it")


def load(root: Path | None = None) -> dict[str, Script]:
    """All scripts by name. Raises ScriptError naming the file at fault."""
    root = root or folder()
    return {path.stem: _read(root, path) for path in sorted(root.glob("*.lua"))}


def _read(root: Path, path: Path) -> Script:
    text = path.read_text()
    header = _HEADER.match(text)
    if not header or header["name"] != path.stem:
        raise ScriptError(f"{path.name}: must open with '--[[ {path.stem}: what it does'")
    rows = {name: tuple(words.split()) for name, words in _ROW.findall(header["body"])}
    lines: list[str] = []
    places: list[str] = []
    _expand(root, path, lines, places, seen=set())
    source = "\n".join(lines)
    return Script(
        name=path.stem,
        does=header["does"].strip(),
        keys=rows.get("KEYS", ()),
        argv=rows.get("ARGV", ()),
        ok=rows.get("OK", ()),
        err=rows.get("ERR", ()),
        emits=rows.get("EMITS", ()),
        touches=" ".join(rows.get("TOUCHES", ())),
        source=source,
        lines=tuple(places),
        sha=hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest(),
    )


def _expand(root: Path, path: Path, lines: list[str], places: list[str], seen: set[str]) -> None:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        include = _INCLUDE.match(line)
        if not include:
            lines.append(line)
            places.append(f"{path.relative_to(root)}:{number}")
            continue
        name = include["name"]
        if name in seen:
            continue
        seen.add(name)
        wanted = root / f"{name}.lua"
        if not wanted.is_file():
            raise ScriptError(f"{path.name}:{number}: no {name}.lua to include")
        _expand(root, wanted, lines, places, seen)
