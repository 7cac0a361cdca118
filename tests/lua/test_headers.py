"""Tests that every script follows its header: it uses the declared keys and arguments, and its replies are declared and
mapped to errors.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.errors import ERROR_OF_REPLY_WORD
from engine.store import scripts
from engine.store.scripts import Script, ScriptError
from engine.zone import opening
from tests.support.for_each import for_each

SCRIPTS = scripts.load_installed_library()
INTERNAL_REPLIES = {"STALE_EPOCH", "OTHER_BLUEPRINT", "STALE_CODE", "LOOK", "STALE_TOKEN"}
"""Replies that the engine handles itself. No caller receives them as an error."""
OPENING_REPLIES = {"UNCOMPARED", *opening.CLOSED_REASONS}
"""Reasons for which `zone_open` leaves a zone closed."""
LUA_FOLDER = Path(scripts.scripts_folder())


def _strip_comments(source: str) -> str:
    """Return the source without its comments."""
    return re.sub(r"--[^\n]*", "", re.sub(r"--\[\[.*?\]\]", "", source, flags=re.S))


@functools.cache
def _engine_source() -> str:
    return "".join(path.read_text() for path in (LUA_FOLDER.parent / "engine").rglob("*.py"))


@functools.cache
def _reachable_code(script: str) -> str:
    """Return the script's own code followed by the code of every library function that it can call, directly or
    indirectly.
    """
    source = _strip_comments((LUA_FOLDER / f"{script}.lua").read_text())
    each = r"^ *function (\w+\.\w+)(.*?)(?=^ *function \w+\.|^local \w|^\w+\.\w+|\Z)"
    bodies = dict(re.findall(each, _strip_comments(SCRIPTS[script].source), re.M | re.S))
    code, unreached = source, set(bodies)
    while called := unreached.intersection(re.findall(r"\b(\w+\.\w+)\(", code)):
        unreached -= called
        code += "".join(bodies[function] for function in called)
    return code


def _matches_header(names: Sequence[str], header: Sequence[str]) -> bool:
    """Return whether `names` are those of the header in the same order, each equal or with a suffix."""
    pairs = list(zip(names, header, strict=False))
    return len(names) == len(header) and all(own == name or own.startswith(f"{name}_") for own, name in pairs)


@for_each(SCRIPTS.values(), lambda script: script.name)
def test_keys_declared_are_bound_in_order_and_used(script: Script) -> None:
    """The first line of each script binds the keys that its header declares, and the script uses each of them. A key
    may have a suffix (`job_key`), so that its plain name can be used for the record.
    """
    source = _strip_comments((LUA_FOLDER / f"{script.name}.lua").read_text())
    bound = re.search(r"local ([\w, ]+) = unpack\(KEYS\)", source)
    assert bound, "binds no KEYS"
    names = [n.strip() for n in bound[1].split(",")]
    assert _matches_header(names, script.keys)
    rest = source[bound.end() :]
    assert [k for k in names if not re.search(rf"\b{k}\b", rest)] == []


@for_each(SCRIPTS.values(), lambda script: script.name)
def test_arguments_declared_are_bound_in_order(script: Script) -> None:
    """Each script binds exactly the arguments that its header declares, in that order; a suffix may name their form
    (`plan_json`). An argument at the end that is a list is read by index.
    """
    source = _strip_comments((LUA_FOLDER / f"{script.name}.lua").read_text())
    bound = re.search(r"local ([\w,\s]+) =\s+unpack\(ARGV\)", source)
    names = tuple(n.strip() for n in bound[1].split(",")) if bound else ()
    if script.argv[-1].endswith("…"):
        assert _matches_header(names, script.argv[: len(names)]) and re.search(r"\bARGV\[", source)
    else:
        assert _matches_header(names, script.argv) and not re.search(r"\bARGV\[", source)


@for_each(SCRIPTS.values(), lambda script: script.name)
def test_keys_known_only_inside_are_declared(script: Script) -> None:
    """Each key of the zone whose name a script or its libraries build is in TOUCHES, or is one of its KEYS."""
    built = set(re.findall(r"zone\.tag \.\. '(\w+):?'", _reachable_code(script.name)))
    declared = set(re.findall(r"\{z\}:(\w+)", script.touches))
    assert {name for name in built - declared if not any(key.startswith(name) for key in script.keys)} == set()


@for_each([script for script in SCRIPTS.values() if script.is_read_only], lambda script: script.name)
def test_a_read_only_script_appends_no_event(script: Script) -> None:
    """A script that `Store.read` may call appends no event and writes no hash, so that a lost reply loses nothing."""
    assert not script.emits
    source = _strip_comments((LUA_FOLDER / f"{script.name}.lua").read_text())
    assert set(re.findall(r"redis\.call\('(\w+)'", source)) <= {
        "HGET",
        "HGETALL",
        "HMGET",
        "LRANGE",
        "XRANGE",
        "XREVRANGE",
        "ZRANGE",
        "ZREVRANGE",
        "ZREM",
        "ZREVRANGEBYSCORE",
    }


def test_a_call_is_ordered_by_the_header() -> None:
    """A call sends keys and arguments in the order of the header, even if they are passed in another order; a list
    comes at the end.
    """
    typing, touch = SCRIPTS["room_typing"], SCRIPTS["socket_touch"]
    call = typing.call({"room": "m", "meta": "z"}, {"on": 2, "user": 1}, "e1")
    assert call == ("FCALL", typing.function, 2, "z", "m", "e1", 1, 2)
    call = touch.call({"meta": "z"}, {"slots": ["k", "s", "k", "t"], "lease_ms": 5}, "e1")
    assert call == ("FCALL", touch.function, 1, "z", "e1", 5, "k", "s", "k", "t")


@pytest.mark.parametrize(
    ("names", "args", "why"),
    [
        ({"meta": "z"}, {"user": 1, "on": 2}, "KEYS lacks room"),
        ({"meta": "z", "room": "m", "log": "l"}, {"user": 1, "on": 2}, "KEYS does not know log"),
        ({"meta": "z", "rooms": "m"}, {"user": 1, "on": 2}, "KEYS lacks room and does not know rooms"),
        ({"meta": "z", "room": "m"}, {"user": 1}, "ARGV lacks on"),
        ({"meta": "z", "room": "m"}, {"user": 1, "off": 2}, "ARGV lacks on and does not know off"),
        ({"meta": "z", "room": "m"}, {"user": 1, "on": 2, "epoch": "e"}, "ARGV does not know epoch"),
    ],
)
def test_a_missing_or_unknown_name_is_refused(names: dict[str, str], args: dict[str, int | str], why: str) -> None:
    """A call with a missing or an unknown key or argument raises before anything is sent, and names that key or
    argument.
    """
    with pytest.raises(TypeError, match=f"^room_typing: {why}$"):
        SCRIPTS["room_typing"].call(names, args, "e1")


@pytest.mark.parametrize("row", ["KEYS meta a a", "ARGV epoch a epoch"])
def test_a_header_with_a_repeated_name_is_refused(tmp_path: Path, row: str) -> None:
    """A header with one name twice in a line is refused, because a call by names could not distinguish the two."""
    (tmp_path / "a_b.lua").write_text(f"--[[ a_b: x.\n{row}\n]]\nreturn 1\n")
    with pytest.raises(ScriptError, match=r"a_b\.lua: \w+ names (a|epoch) twice"):
        scripts.load_library(tmp_path)


@for_each(SCRIPTS.values(), lambda script: script.name)
def test_every_script_is_called_by_the_engine(script: Script) -> None:
    """The engine calls each script: a read-only one by `read`, others by `run` or by a call that it sends itself. Two
    scripts for prices share one call in the source, and the scripts of a rebuild share another.
    """
    text = _engine_source()
    how = "read" if script.is_read_only else "run" if script.argv[0] == "epoch" else "run_without_epoch"
    direct = re.search(rf'\.run_for_user\("{script.name}"', text) if "meta" not in script.keys else None
    direct = direct or re.search(rf'\.{how}\(\s*[\w.]+,\s*"{script.name}"|scripts\["{script.name}"\]\.call\(', text)
    direct = direct or re.search(rf'self\._call\(\s*"{script.name}"', text)
    packed = f'scripts["{script.name}"].call(' in text and script.name == "presence_touch"
    assert direct or packed or (script.name in ("price_propose", "price_answer") and f'"{script.name}"' in text)


@for_each(SCRIPTS.values(), lambda script: script.name)
def test_replies_are_declared_and_mapped(script: Script) -> None:
    """The header of a script declares exactly the words that the script can reply, and each of them is mapped to an
    error.
    """
    source = _strip_comments((LUA_FOLDER / f"{script.name}.lua").read_text())
    reply_words = set(ERROR_OF_REPLY_WORD) | INTERNAL_REPLIES | OPENING_REPLIES
    used = set(re.findall(r"return \{'([A-Z_]+)'", source))
    used |= reply_words & set(re.findall(r"'([A-Z_]+)'", _reachable_code(script.name)))
    refuses_technicians = "Tech.refusal(" in source and "Idempotency.refuse(" in source
    if not refuses_technicians and "DayPlan.refusal(" not in source:
        used -= {"PROFILE_INCOMPLETE", "KYC_NOT_APPROVED", "ACCOUNT_NOT_APPROVED"}
    if not any(each in source for each in ("Idempotency.lookup(", "Command.begin(", "return {'REUSED_KEY'")):
        used -= {"REUSED_KEY"}
    assert used - {"OK"} == set(script.err)
    assert set(script.err) - INTERNAL_REPLIES - OPENING_REPLIES <= set(ERROR_OF_REPLY_WORD)


@for_each(SCRIPTS.values(), lambda script: script.name)
def test_events_appended_are_declared(script: Script) -> None:
    """The header of a script declares exactly the event types that the script can append; `job.*` where the blueprint
    names the type.
    """
    code = _reachable_code(script.name)
    used = set(re.findall(r"'([a-z]+\.[a-z]+)'|type = '([a-z]+)'", code)) if "EventLog.append(" in code else set()
    used = {event for pair in used for event in pair if event}
    families = {event for event in script.emits if event.endswith(".*")}
    named_by_caller = re.search(r"type = (plan\.event|type|kind)\b", code)
    assert bool(families) <= bool(named_by_caller)
    emitted, declared = {e for e in used if f"{e.partition('.')[0]}.*" not in families}, set(script.emits) - families
    assert emitted <= declared
    assert named_by_caller or emitted == declared


@for_each(SCRIPTS.values(), lambda script: script.name)
def test_every_script_compares_the_epoch_first(script: Script) -> None:
    """Every script of a zone compares the caller's epoch before its first command to Redis, except `zone_open` and
    `zone_rebuild`, which decide about a closed zone. A script for a user has no epoch, because it belongs to no zone.
    """
    if script.name in ("zone_open", "zone_rebuild"):
        return
    if "meta" not in script.keys:
        assert "epoch" not in script.argv
        return
    assert script.argv[0] == "epoch"
    source = _strip_comments((LUA_FOLDER / f"{script.name}.lua").read_text())
    entered = source.index("Zone.enter(meta,")
    first_call = source.find("redis.call")
    assert first_call == -1 or entered < first_call


@for_each(sorted(LUA_FOLDER.rglob("*.lua")), lambda path: path.stem)
def test_scripts_are_short_and_use_what_every_server_has(path: Path) -> None:
    """A Lua file has at most 100 lines and uses no library that fakeredis or a plain Redis server lacks."""
    text = path.read_text()
    assert text.count("\n") <= 100
    assert not re.search(r"\b(cmsgpack|struct|sha1hex)\b|\bbit\.|^#!", text, re.M)


@for_each(sorted(LUA_FOLDER.rglob("*.lua")), lambda path: path.stem)
def test_no_expiry_is_a_literal(path: Path) -> None:
    """A lifetime or a delay is a named constant of the library file that it belongs to, and no literal in a call."""
    code = _strip_comments(path.read_text())
    literals = re.findall(r"'PX', \d+|'EX', \d+|'P?EXPIRE(?:AT)?', [^\n]*, \d+\)|zone\.now [+-] \d+", code)
    if path.parent == LUA_FOLDER:
        literals += re.findall(r"\b\d{4,}\b", re.sub(r"'[^'\n]*'", "", code))
    assert literals == []


def test_a_script_without_a_header_is_refused(tmp_path: Path) -> None:
    """A script that does not begin with its header is refused by its file name."""
    (tmp_path / "a_b.lua").write_text("return 1\n")
    with pytest.raises(ScriptError, match=r"a_b\.lua"):
        scripts.load_library(tmp_path)


def test_a_missing_include_is_named_with_file_and_line(tmp_path: Path) -> None:
    """An include of a missing file is refused with the file and the line of the include."""
    (tmp_path / "a_b.lua").write_text('--[[ a_b: x.\nKEYS meta\n]]\n--- @include "lib/none"\n')
    with pytest.raises(ScriptError, match=r"a_b\.lua:4"):
        scripts.load_library(tmp_path)


LIBRARY_TEXT = "local X = {}\nfunction X.f()\n  return 1\nend\n"
SCRIPT_TEXT = '--[[ a_b: x.\nKEYS meta\n]]\n--- @include "lib/x"\nreturn X.f()\n'


def write_scripts(root: Path, **files: str) -> Path:
    """Write a folder of scripts and return it: the script `a_b`, and the files of `lib` by their names."""
    (root / "lib").mkdir()
    (root / "a_b.lua").write_text(files.pop("a_b", SCRIPT_TEXT))
    for name, text in files.items():
        (root / "lib" / f"{name}.lua").write_text(text)
    return root


def test_an_error_is_located_in_its_source_file(tmp_path: Path) -> None:
    """`locate` replaces the line number of the joined source in Redis' error message by the file and the line in that
    file.
    """
    library = scripts.load_library(write_scripts(tmp_path, x=LIBRARY_TEXT.replace("return 1", "return nil + 1")))
    number = library.source.splitlines().index("  return nil + 1") + 1
    assert library.locate(f"ERR user_function:{number}: attempt to add") == "ERR lib/x.lua:3: attempt to add"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-- nothing\n", r"lib/x\.lua: must define 'local X = \{\}' once"),
        (LIBRARY_TEXT + "local X = {}\n", r"lib/x\.lua: must define 'local X = \{\}' once"),
        (LIBRARY_TEXT + "local function g() end\n", r"lib/x\.lua:5: the only top-level local is X; make g a member"),
        (
            LIBRARY_TEXT + "local LONG, WIDE = 1, 2\n",
            r"lib/x\.lua:5: the only top-level local is X; make LONG a member",
        ),
        ("local Y = {}\nfunction Y.f() end\n", r"lib/x\.lua:1: the only top-level local is X; make Y a member"),
        (LIBRARY_TEXT + "function Y.g() end\n", r"lib/x\.lua:5: Y\.g is defined outside the file of Y"),
        (LIBRARY_TEXT + "function X.f() end\n", r"lib/x\.lua:5: X\.f is defined at lib/x\.lua:2 already"),
        (LIBRARY_TEXT + "X.A, X.f = 1, 2\n", r"lib/x\.lua:5: X\.f is defined at lib/x\.lua:2 already"),
    ],
)
def test_a_library_file_defines_its_table_alone(tmp_path: Path, text: str, why: str) -> None:
    """A library file has one top-level local, the table named after the file, and defines each member once. All library
    files share Lua's limit of 200 locals.
    """
    with pytest.raises(ScriptError, match=why):
        scripts.load_library(write_scripts(tmp_path, x=text))


@pytest.mark.parametrize(
    ("library", "verb", "why"),
    [
        (
            LIBRARY_TEXT,
            SCRIPT_TEXT.replace("return", "return Y.f() or"),
            r"a_b\.lua:5: Y is used, and lib/y is not included",
        ),
        (LIBRARY_TEXT.replace("1", "Y.f()"), SCRIPT_TEXT, r"lib/x\.lua:3: Y is used, and lib/y is not included"),
        (
            LIBRARY_TEXT,
            SCRIPT_TEXT.replace("X.f()", "1 -- X.f() 'X.f()'"),
            r"a_b\.lua:4: includes lib/x and does not use it",
        ),
        ('--- @include "lib/y"\n' + LIBRARY_TEXT, SCRIPT_TEXT, r"lib/x\.lua:1: includes lib/y and does not use it"),
        (
            LIBRARY_TEXT,
            SCRIPT_TEXT.replace("return", '--- @include "lib/x"\nreturn'),
            r"a_b\.lua:5: lib/x is included at a_b\.lua:4",
        ),
    ],
)
def test_a_file_includes_what_it_uses(tmp_path: Path, library: str, verb: str, why: str) -> None:
    """A file that uses a library without including it, or includes one without using it, is refused. Lua would read a
    missing table as a global and fail only when that line runs.
    """
    with pytest.raises(ScriptError, match=why):
        scripts.load_library(write_scripts(tmp_path, a_b=verb, x=library, y=LIBRARY_TEXT.replace("X", "Y")))


def test_a_table_is_named_after_its_file_and_may_have_locals_in_a_block(tmp_path: Path) -> None:
    """`late_join` defines `LateJoin`; a local that only some of its functions need is in a `do` block."""
    text = "local LateJoin = {}\nLateJoin.A, LateJoin.B = 1, 2\n"
    text += "do\n  local n = 0\n  function LateJoin.f() return n end\nend\n"
    verb = SCRIPT_TEXT.replace("X.f", "LateJoin.f").replace("lib/x", "lib/late_join")
    assert "return LateJoin.f()" in scripts.load_library(write_scripts(tmp_path, a_b=verb, late_join=text)).source


def test_the_name_of_the_library_depends_on_its_source(tmp_path: Path) -> None:
    """Another source gives the library and its functions other names, so that two releases on one Redis do not replace
    each other's functions.
    """
    verb = tmp_path / "a_b.lua"
    verb.write_text("--[[ a_b: x.\n]]\nreturn 1\n")
    one, same = scripts.load_library(tmp_path), scripts.load_library(tmp_path)
    verb.write_text("--[[ a_b: x.\n]]\nreturn 2\n")
    other = scripts.load_library(tmp_path)
    assert one.name == same.name and one["a_b"].function == same["a_b"].function
    assert one.name != other.name and one["a_b"].function != other["a_b"].function
    assert one["a_b"].function in one.source


@pytest.mark.parametrize("path", sorted((LUA_FOLDER / "lib").glob("*.lua")), ids=lambda path: path.stem)
def test_a_library_file_begins_with_what_it_is_for(path: Path) -> None:
    """The first line of each library file is a comment that says what the file is for; the includes follow it."""
    assert path.read_text().startswith("-- ")
