"""The loader of the Lua scripts: it joins them into one library of functions and parses their headers.

Redis stores the library like data (``FUNCTION LOAD``). Its name contains a digest of its text, so that processes of two
releases have a library each. A file of lua/lib/ is in the library once for all scripts. (Rejected: a separate EVAL
script for each, with the files of lua/lib/ copied into it. They filled Lua's heap three times over, and its garbage
collection took a quarter of a claim's time.)

``--- @include "lib/<name>"`` names a file that a script needs. Redis reports errors with line numbers of the library,
so the loader records the file and line of each line and rewrites the message for the person who reads it.

An included file defines one top-level local: a table named after the file, whose members are its functions and
constants (``Bids.parse`` in ``lib/bids``). In the library the top-level locals of all included files share one scope,
and Lua allows 200 locals in a scope. A file includes exactly the files whose tables it uses. The loader checks both.

The header comment of a script is its contract. The loader parses it, and a test compares it with the script.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

FUNCTION_PREFIX = "callout_"
"""The prefix of all library names."""
EPOCH_ARGUMENT = "epoch"
"""The first argument of nearly all scripts; the store adds it."""
REST_ARGUMENT_MARK = "…"
"""The suffix of a last argument that is a list."""
READ_ONLY_SUFFIXES = ("_read", "_list")
"""The suffixes of verbs that only read."""

_INCLUDE_PATTERN = re.compile(r'^--- @include "(?P<name>[a-z_/]+)"\s*$')
_HEADER_PATTERN = re.compile(r"\A--\[\[ (?P<name>\w+): (?P<summary>.*?)\n(?P<body>.*?)\]\]", re.S)
_HEADER_ROW_PATTERN = re.compile(r"^(KEYS|ARGV|OK|ERR|EMITS|FLAGS|TOUCHES)\b[ \t]*(.*(?:\n[ \t]+\S.*)*)", re.M)
_LOCAL_PATTERN = re.compile(r"^local (?:function )?(\w+)")
_FUNCTION_PATTERN = re.compile(r"^\s*function (\w+)\.(\w+)")
_CONSTANTS_PATTERN = re.compile(r"^\w+\.\w+(?:, \w+\.\w+)* = ")
_MEMBER_PATTERN = re.compile(r"(\w+)\.(\w+)")
_COMMENT_OR_STRING_PATTERN = re.compile(r"--.*|'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")
_USED_TABLE_PATTERN = re.compile(r"\b([A-Z]\w*)\.\w")
_ERROR_LINE_PATTERN = re.compile(r"(?:@?user_(?:script|function)|\[string \"[^\"]*\"\]):(\d+)")


Value = str | bytes | int | float
Keys = Mapping[str, str]
"""The keys of a call, by the names of the script's KEYS."""
Args = Mapping[str, Value | Sequence[Value]]
"""The arguments of a call, by the names of the script's ARGV without ``epoch``; a list for one that ends in ``…``."""

_PickValues = Callable[[Mapping[str, Any]], "tuple[Any, ...]"]


class _SourceLine(NamedTuple):
    """One line of a script. ``place`` is its file and line number."""

    text: str
    place: str


class ScriptError(Exception):
    """Raised when a script cannot be used: it is missing, has no header, or includes a missing file."""


@dataclass(frozen=True, slots=True)
class Script:
    """One script: its parsed header, and its ``source`` for EVAL, which begins with all included files.

    ``function`` is the script's name for FCALL, available after its library is loaded.
    """

    name: str
    summary: str
    keys: tuple[str, ...]
    argv: tuple[str, ...]
    ok: tuple[str, ...]
    err: tuple[str, ...]
    emits: tuple[str, ...]
    flags: tuple[str, ...]
    touches: str
    source: str = field(repr=False)
    function: str = ""
    argument_names: tuple[str, ...] = field(init=False)
    """The names of the arguments from the caller: all except the epoch."""
    _pick_keys: _PickValues = field(init=False, repr=False, compare=False)
    _pick_args: _PickValues = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given = tuple(name.removesuffix(REST_ARGUMENT_MARK) for name in self.argv if name != EPOCH_ARGUMENT)
        rest = bool(self.argv) and self.argv[-1].endswith(REST_ARGUMENT_MARK)
        object.__setattr__(self, "argument_names", given)
        object.__setattr__(self, "_pick_keys", _make_picker(self.keys))
        object.__setattr__(self, "_pick_args", _make_picker_with_rest(given) if rest else _make_picker(given))

    @property
    def is_read_only(self) -> bool:
        """Whether the script changes nothing. The suffix of its name decides (``READ_ONLY_SUFFIXES``)."""
        return self.name.endswith(READ_ONLY_SUFFIXES)

    def call(self, keys: Keys, args: Args, *epoch: str) -> tuple[Value, ...]:
        """Return the FCALL command, with keys and arguments in the order of the header. Raises TypeError if a name is
        missing or unknown.
        """
        if len(keys) == len(self.keys) and len(args) == len(self.argument_names):
            try:
                return "FCALL", self.function, len(keys), *self._pick_keys(keys), *epoch, *self._pick_args(args)
            except KeyError:
                pass  # the number of names is right, but one name is wrong
        wrong = (_difference_text("KEYS", self.keys, keys), _difference_text("ARGV", self.argument_names, args))
        raise TypeError(f"{self.name}: {'; '.join(filter(None, wrong))}")


@dataclass(frozen=True, slots=True)
class ScriptLibrary(Mapping[str, Script]):
    """A mapping of all scripts by name. ``source`` is the text for FUNCTION LOAD; ``lines`` has the file and line
    number of each line of ``source``.
    """

    name: str
    source: str = field(repr=False)
    lines: tuple[str, ...] = field(repr=False)
    scripts: dict[str, Script] = field(repr=False)

    def __getitem__(self, script: str) -> Script:
        return self.scripts[script]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scripts)

    def __len__(self) -> int:
        return len(self.scripts)

    def locate(self, message: str) -> str:
        """Return the ``message`` of a Redis error with each line number replaced by the file and line in ``lua/``."""

        def file_and_line(match: re.Match[str]) -> str:
            number = int(match[1])
            return self.lines[number - 1] if 0 < number <= len(self.lines) else match[0]

        return _ERROR_LINE_PATTERN.sub(file_and_line, message)


def _make_picker(names: Sequence[str]) -> _PickValues:
    """Return a function that takes a mapping and returns the values of ``names``, in this order, as a tuple. A single
    name needs a lambda, because ``itemgetter`` of one name returns no tuple.
    """
    if len(names) > 1:
        return itemgetter(*names)
    return lambda given: tuple(given[name] for name in names)


def _make_picker_with_rest(names: Sequence[str]) -> _PickValues:
    """Return the same function as ``_make_picker``, but the last name is that of a list: its items end the tuple."""
    fixed, last = _make_picker(names[:-1]), names[-1]
    return lambda given: (*fixed(given), *given[last])


def _difference_text(row: str, declared: Sequence[str], given_values: Mapping[str, Any]) -> str:
    """Return a text about the names that are missing or unknown; "" if there are none."""
    missing, unknown = sorted(set(declared) - set(given_values)), sorted(set(given_values) - set(declared))
    parts = (f" {what} {', '.join(names)}" for what, names in (("lacks", missing), ("does not know", unknown)) if names)
    text = " and".join(parts)
    return f"{row}{text}" if text else ""


def scripts_folder() -> Path:
    """Return the folder of the scripts: inside the installed package, or beside it in a checkout.

    A wheel contains the scripts as ``engine/lua``. An editable install has no such folder, because it does not apply
    the forced includes of a build. Raises ScriptError if there is no such folder.
    """
    here = Path(__file__).resolve().parents[1]
    for place in (here / "lua", here.parent / "lua"):
        if place.is_dir():
            return place
    raise ScriptError(f"no lua folder in {here} nor beside it")


@functools.cache
def load_installed_library() -> ScriptLibrary:
    """Return the library of this release. It is loaded at the first call in a process. Raises ScriptError."""
    return load_library(scripts_folder())


def load_library(root: Path) -> ScriptLibrary:
    """Build the library from all scripts in ``root``. Raises ScriptError with the name of the wrong file."""
    tables = {_table_name(path.stem): f"lib/{path.stem}" for path in (root / "lib").glob("*.lua")}
    shared: dict[str, list[_SourceLine]] = {}
    scripts: dict[str, Script] = {}
    bodies: dict[str, list[_SourceLine]] = {}
    for path in sorted(root.glob("*.lua")):
        text, lines = path.read_text(), _read_lines(root, path)
        included: list[str] = []
        _include_file(root, path, lines, shared, included)
        _check_includes(_lines_after_header(lines), tables)
        whole = [line.text for name in included for line in shared[name]] + [line.text for line in lines]
        scripts[path.stem], bodies[path.stem] = _parse_script(path, text, "\n".join(whole)), lines
    for name, lines in shared.items():
        _check_table(name, lines)
        _check_includes(lines, tables, own=_table_name(Path(name).name))
    return _build_library(shared, scripts, bodies)


def _read_lines(root: Path, path: Path) -> list[_SourceLine]:
    """Read the lines of a script."""
    place = path.relative_to(root)
    return [_SourceLine(text, f"{place}:{number}") for number, text in enumerate(path.read_text().splitlines(), 1)]


def _include_file(
    root: Path, path: Path, lines: list[_SourceLine], shared: dict[str, list[_SourceLine]], included: list[str]
) -> None:
    """Add each file that ``lines`` include to ``included`` and ``shared``, after the files that the file itself
    includes. Raises ScriptError if a file is missing.
    """
    for number, line in enumerate(lines, 1):
        found = _INCLUDE_PATTERN.match(line.text)
        if not found or (name := found["name"]) in included:
            continue
        included_path = root / f"{name}.lua"
        if name not in shared and not included_path.is_file():
            raise ScriptError(f"{path.name}:{number}: no {name}.lua to include")
        own = shared.get(name) or _read_lines(root, included_path)
        _include_file(root, included_path, own, shared, included)
        included.append(name)
        shared.setdefault(name, own)


def _parse_script(path: Path, script_text: str, source: str) -> Script:
    """Parse the header of a script. Raises ScriptError if it is missing or names a key or an argument twice."""
    header = _HEADER_PATTERN.match(script_text)
    if not header or header["name"] != path.stem:
        raise ScriptError(f"{path.name}: must open with '--[[ {path.stem}: what it does'")
    rows = {name: tuple(words.split()) for name, words in _HEADER_ROW_PATTERN.findall(header["body"])}
    for row in ("KEYS", "ARGV"):
        if doubled := [name for name, times in Counter(rows.get(row, ())).items() if times > 1]:
            raise ScriptError(f"{path.name}: {row} names {', '.join(doubled)} twice")
    return Script(
        name=path.stem,
        summary=header["summary"].strip(),
        keys=rows.get("KEYS", ()),
        argv=rows.get("ARGV", ()),
        ok=rows.get("OK", ()),
        err=rows.get("ERR", ()),
        emits=rows.get("EMITS", ()),
        flags=rows.get("FLAGS", ()),
        touches=" ".join(rows.get("TOUCHES", ())),
        source=source,
    )


def _table_name(stem: str) -> str:
    """Return the name of the table that a library file defines: the file ``late_join`` defines ``LateJoin``."""
    return "".join(part.capitalize() for part in stem.split("_"))


def _check_table(file: str, lines: Sequence[_SourceLine]) -> None:
    """Raise ScriptError unless a library file defines its table once and each member once, and nothing else."""
    table = _table_name(Path(file).name)
    defined: dict[str, str] = {}
    for line in lines:
        if (found := _LOCAL_PATTERN.match(line.text)) and line.text.rstrip() != f"local {table} = {{}}":
            raise ScriptError(
                f"{line.place}: the only top-level local is {table}; make {found[1]} a member or use do … end"
            )
        for owner, member in _member_names(line.text):
            if owner != table:
                raise ScriptError(f"{line.place}: {owner}.{member} is defined outside the file of {owner}")
            if member in defined:
                raise ScriptError(f"{line.place}: {owner}.{member} is defined at {defined[member]} already")
            defined[member] = line.place
    if sum(line.text.rstrip() == f"local {table} = {{}}" for line in lines) != 1:
        raise ScriptError(f"{file}.lua: must define 'local {table} = {{}}' once")


def _member_names(line_text: str) -> Iterator[tuple[str, str]]:
    """Yield table and name of each member that a line defines: a top-level constant, or a function at any depth."""
    if found := _FUNCTION_PATTERN.match(line_text):
        yield found[1], found[2]
    elif found := _CONSTANTS_PATTERN.match(line_text):
        yield from _MEMBER_PATTERN.findall(found[0])


def _lines_after_header(lines: Sequence[_SourceLine]) -> Sequence[_SourceLine]:
    """Return the lines of a script without its header comment."""
    end = next((number for number, line in enumerate(lines, 1) if line.text == "]]"), 0)
    return lines[end:]


def _check_includes(lines: Sequence[_SourceLine], tables: Mapping[str, str], own: str = "") -> None:
    """Raise ScriptError unless a file includes exactly the library files whose tables it uses, each once.

    For Lua a table that is not included is a global that does not exist: an error only when the line runs that uses it.
    ``own`` is the table that the file itself defines.
    """
    included: dict[str, str] = {}
    for line in lines:
        if found := _INCLUDE_PATTERN.match(line.text):
            if found["name"] in included:
                raise ScriptError(f"{line.place}: {found['name']} is included at {included[found['name']]} already")
            included[found["name"]] = line.place
    used: set[str] = set()
    for line in lines:
        for table in _USED_TABLE_PATTERN.findall(_COMMENT_OR_STRING_PATTERN.sub("", line.text)):
            if table != own and table in tables:
                used.add(tables[table])
                if tables[table] not in included:
                    raise ScriptError(f"{line.place}: {table} is used, and {tables[table]} is not included")
    for name, place in included.items():
        if name not in used:
            raise ScriptError(f"{place}: includes {name} and does not use it")


def _build_library(
    shared: Mapping[str, list[_SourceLine]], scripts: Mapping[str, Script], bodies: Mapping[str, list[_SourceLine]]
) -> ScriptLibrary:
    """Build the library: the included files, then a registered function for each script."""
    lines = [line for part in shared.values() for line in part]
    for name, script in scripts.items():
        flags = ", ".join(f"'{flag}'" for flag in script.flags)
        opening = f"redis.register_function{{function_name = '{name}', flags = {{{flags}}},"
        opening += " callback = function(KEYS, ARGV)"
        lines += [_SourceLine(opening, name), *bodies[name], _SourceLine("end}", name)]
    text = "\n".join(line.text for line in lines)
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:12]
    library = FUNCTION_PREFIX + digest
    for name in scripts:
        text = text.replace(f"function_name = '{name}'", f"function_name = '{name}_{digest}'")
    return ScriptLibrary(
        name=library,
        source=f"#!lua name={library}\n{text}",
        lines=(library, *(line.place for line in lines)),
        scripts={name: replace(script, function=f"{name}_{digest}") for name, script in scripts.items()},
    )
