"""The linter of ``needs_files``: the numbers of files that a job must have before a command can be given."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.blueprint.reach import states_after_signature
from engine.blueprint.schema import Blueprint, Command

MAX_FILES = 20
"""The most files of a job (``JobFiles.MAX_OF_USER`` in Lua)."""
_match_kind = re.compile(r"[a-z][a-z0-9_]{0,31}").fullmatch


def file_problems(blueprint: Blueprint) -> Iterator[str]:
    """Yield the problems of the files that commands need."""
    for name, command in blueprint.commands.items():
        if command.needs_files:
            yield from (f"command {name}: needs_files: {problem}" for problem in _problems(blueprint, command))


def _problems(blueprint: Blueprint, command: Command) -> Iterator[str]:
    yield from (f"{kind!r} is not small letters, digits and _" for kind in command.needs_files if not _match_kind(kind))
    if min(command.needs_files.values()) < 1 or sum(command.needs_files.values()) > MAX_FILES:
        yield f"a number from 1 on for each kind, and at most {MAX_FILES} in all"
    if command.effect != "move":
        yield f'only a command that does "move" can need files, not "{command.effect}"'
    if "engine" in command.by:
        yield "the engine cannot add files"
    signed = states_after_signature(blueprint)
    for state in command.from_:
        if state in signed:
            yield f"nobody can add files in {state!r}, after the signature"
        found = blueprint.states.get(state)
        if found and (found.phase not in ("assigned", "active") or found.is_asked):
            yield f"nobody can add files in {state!r}, before a technician has accepted"
