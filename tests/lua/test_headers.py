"""Every script keeps the contract in its header: keys declared are keys used, words replied are errors mapped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.errors import ERROR_OF_REPLY_WORD
from engine.store import scripts
from engine.store.scripts import Script, ScriptError

ALL = scripts.load_installed_library()
INTERNAL = {"STALE_EPOCH", "OTHER_BLUEPRINT", "STALE_CODE"}
OPENING = {"UNCOMPARED", "EMPTY", "BEHIND", "FOREIGN", "OLDER", "HOLE", "OTHER_DATABASE", "CLOSED"}
LUA = Path(scripts.scripts_folder())


def _code(source: str) -> str:
    """The source without comments."""
    return re.sub(r"--[^\n]*", "", re.sub(r"--\[\[.*?\]\]", "", source, flags=re.S))


def _reached(script: Script) -> str:
    """The script's own code with that of every library function that it can come to call."""
    own = _code((LUA / f"{script.name}.lua").read_text())
    each = r"^ *function (\w+\.\w+)(.*?)(?=^ *function \w+\.|^local \w|^\w+\.\w+|\Z)"
    bodies = dict(re.findall(each, _code(script.source), re.M | re.S))
    code, left = own, set(bodies)
    while called := {name for name in left if re.search(rf"\b{re.escape(name)}\(", code)}:
        left -= called
        code += "".join(bodies[name] for name in called)
    return code


def _declared(names: Sequence[str], header: Sequence[str]) -> bool:
    """Whether ``names`` are those of the header, in order, each as it is or with a suffix."""
    pairs = list(zip(names, header, strict=False))
    return len(names) == len(header) and all(own == name or own.startswith(f"{name}_") for own, name in pairs)


@pytest.mark.parametrize("script", ALL.values(), ids=lambda s: s.name)
def test_keys_declared_are_bound_in_order_and_used(script: Script) -> None:
    """The first line of each script binds the keys that its header declares, and each is used. A key may be bound with
    a suffix that says what it is (``job_key``), so that its plain name is free for the record.
    """
    own = _code((LUA / f"{script.name}.lua").read_text())
    bound = re.search(r"local ([\w, ]+) = unpack\(KEYS\)", own)
    assert bound, "binds no KEYS"
    names = [n.strip() for n in bound[1].split(",")]
    assert _declared(names, script.keys)
    rest = own[bound.end() :]
    assert [k for k in names if not re.search(rf"\b{k}\b", rest)] == []


@pytest.mark.parametrize("script", ALL.values(), ids=lambda s: s.name)
def test_arguments_declared_are_bound_in_order(script: Script) -> None:
    """Arguments are ordered by the header, so each script binds exactly those, where needed with a suffix that says in
    what form they come (``plan_json``); a list at the end it takes by number.
    """
    own = _code((LUA / f"{script.name}.lua").read_text())
    bound = re.search(r"local ([\w,\s]+) =\s+unpack\(ARGV\)", own)
    names = tuple(n.strip() for n in bound[1].split(",")) if bound else ()
    if script.argv[-1].endswith("…"):
        assert _declared(names, script.argv[: len(names)]) and re.search(r"\bARGV\[", own)
    else:
        assert _declared(names, script.argv) and not re.search(r"\bARGV\[", own)


@pytest.mark.parametrize("script", [s for s in ALL.values() if s.is_read_only], ids=lambda s: s.name)
def test_what_only_reads_tells_of_nothing(script: Script) -> None:
    """A script that `Store.read` may call appends no event and writes no hash, so that a lost reply loses nothing."""
    assert not script.emits
    own = _code((LUA / f"{script.name}.lua").read_text())
    assert set(re.findall(r"redis\.call\('(\w+)'", own)) <= {
        "HGET",
        "HGETALL",
        "ZRANGE",
        "ZREVRANGE",
        "ZREM",
        "ZREVRANGEBYSCORE",
    }


def test_a_call_is_ordered_by_the_header() -> None:
    """Whatever order they are given in, keys and arguments go out as the header lists them, a list at its end."""
    limit, touch = ALL["limit_take"], ALL["socket_touch"]
    call = limit.call({"meter": "m", "meta": "z"}, {"burst": 2, "interval_ms": 1}, "e1")
    assert call == ("FCALL", limit.function, 2, "z", "m", "e1", 1, 2)
    call = touch.call({"meta": "z"}, {"seats": ["k", "s", "k", "t"], "lease_ms": 5}, "e1")
    assert call == ("FCALL", touch.function, 1, "z", "e1", 5, "k", "s", "k", "t")


@pytest.mark.parametrize(
    ("names", "args", "why"),
    [
        ({"meta": "z"}, {"interval_ms": 1, "burst": 2}, "KEYS lacks meter"),
        ({"meta": "z", "meter": "m", "log": "l"}, {"interval_ms": 1, "burst": 2}, "KEYS does not know log"),
        ({"meta": "z", "metre": "m"}, {"interval_ms": 1, "burst": 2}, "KEYS lacks meter and does not know metre"),
        ({"meta": "z", "meter": "m"}, {"interval_ms": 1}, "ARGV lacks burst"),
        ({"meta": "z", "meter": "m"}, {"interval_ms": 1, "bursts": 2}, "ARGV lacks burst and does not know bursts"),
        ({"meta": "z", "meter": "m"}, {"interval_ms": 1, "burst": 2, "epoch": "e"}, "ARGV does not know epoch"),
    ],
)
def test_a_missing_or_unknown_name_is_refused(names: dict[str, str], args: dict[str, int | str], why: str) -> None:
    """A call that does not fit the header raises before anything is sent, and says which name is wrong."""
    with pytest.raises(TypeError, match=f"^limit_take: {why}$"):
        ALL["limit_take"].call(names, args, "e1")


@pytest.mark.parametrize("row", ["KEYS meta a a", "ARGV epoch a epoch"])
def test_a_header_that_names_one_thing_twice_is_refused(tmp_path: Path, row: str) -> None:
    """A call by names could not tell the two apart."""
    (tmp_path / "a_b.lua").write_text(f"--[[ a_b: x.\n{row}\n]]\nreturn 1\n")
    with pytest.raises(ScriptError, match=r"a_b\.lua: \w+ names (a|epoch) twice"):
        scripts.load_library(tmp_path)


@pytest.mark.parametrize("script", ALL.values(), ids=lambda s: s.name)
def test_every_script_is_called_by_the_engine(script: Script) -> None:
    """What reads is called by `read` and all else by `run`; the two scripts of a price share a call."""
    text = "".join(path.read_text() for path in (LUA.parent / "engine").rglob("*.py"))
    how = "read" if script.is_read_only else "run" if script.argv[0] == "epoch" else "run_without_epoch"
    direct = re.search(rf'\.{how}\(\s*[\w.]+,\s*"{script.name}"', text)
    assert direct or (script.name in ("price_propose", "price_answer") and f'"{script.name}"' in text)


@pytest.mark.parametrize("script", ALL.values(), ids=lambda s: s.name)
def test_replies_are_declared_and_mapped(script: Script) -> None:
    """Each word that a script can reply is in its header, each word in its header can be replied and is mapped."""
    own = _code((LUA / f"{script.name}.lua").read_text())
    known = set(ERROR_OF_REPLY_WORD) | INTERNAL | OPENING
    used = set(re.findall(r"return \{'([A-Z_]+)'", own))
    used |= known & set(re.findall(r"'([A-Z_]+)'", _reached(script)))
    if "Tech.refusal(" not in own or "Idempotency.refuse(" not in own:
        used -= {"PROFILE_INCOMPLETE", "KYC_NOT_APPROVED", "ACCOUNT_NOT_APPROVED"}
    if "Idempotency.lookup(" not in own and "Command.begin(" not in own:
        used -= {"REUSED_KEY"}
    assert used - {"OK"} == set(script.err)
    assert set(script.err) - INTERNAL - OPENING <= set(ERROR_OF_REPLY_WORD)


@pytest.mark.parametrize("script", ALL.values(), ids=lambda s: s.name)
def test_events_appended_are_declared(script: Script) -> None:
    """The header names every event that the script can append, and no other; `job.*` where the blueprint names it."""
    code = _reached(script)
    used = set(re.findall(r"'([a-z]+\.[a-z]+)'|type = '([a-z]+)'", code)) if "EventLog.append(" in code else set()
    used = {event for pair in used for event in pair if event}
    families = {event for event in script.emits if event.endswith(".*")}
    named_by_caller = re.search(r"type = (plan\.event|type|kind)\b", code)
    assert bool(families) <= bool(named_by_caller)
    told, declared = {e for e in used if f"{e.partition('.')[0]}.*" not in families}, set(script.emits) - families
    assert told <= declared
    assert named_by_caller or told == declared


@pytest.mark.parametrize("script", ALL.values(), ids=lambda s: s.name)
def test_every_script_asks_for_the_epoch_first(script: Script) -> None:
    """No script of a zone but zone_open writes before it has compared the caller's epoch; what is of no zone compares
    the version that it was given.
    """
    if script.name == "zone_open":
        return
    if "meta" not in script.keys:
        assert script.argv[0] == "version"
        return
    assert script.argv[0] == "epoch"
    own = _code((LUA / f"{script.name}.lua").read_text())
    entered = own.index("Zone.enter(meta,")
    first_call = own.find("redis.call")
    assert first_call == -1 or entered < first_call


@pytest.mark.parametrize("path", sorted(LUA.rglob("*.lua")), ids=lambda p: p.stem)
def test_scripts_are_short_and_use_what_every_server_has(path: Path) -> None:
    """At most 100 lines, and none of the libraries that fakeredis or a plain server lacks."""
    text = path.read_text()
    assert text.count("\n") <= 100
    assert not re.search(r"\b(cmsgpack|struct|sha1hex)\b|\bbit\.|^#!", text, re.M)


@pytest.mark.parametrize("path", sorted(LUA.rglob("*.lua")), ids=lambda p: p.stem)
def test_no_expiry_is_a_literal(path: Path) -> None:
    """A lifetime or a delay is a named constant of the library file that it belongs to, so that it has one home."""
    code = _code(path.read_text())
    literals = re.findall(r"'PX', \d+|'EX', \d+|'P?EXPIRE(?:AT)?', [^\n]*, \d+\)|zone\.now [+-] \d+", code)
    if path.parent == LUA:
        literals += re.findall(r"\b\d{4,}\b", re.sub(r"'[^'\n]*'", "", code))
    assert literals == []


def test_a_script_without_a_header_is_refused(tmp_path: Path) -> None:
    """A file that does not open with its contract is named in the error."""
    (tmp_path / "a_b.lua").write_text("return 1\n")
    with pytest.raises(ScriptError, match=r"a_b\.lua"):
        scripts.load_library(tmp_path)


def test_a_missing_include_is_named_with_file_and_line(tmp_path: Path) -> None:
    """An include of nothing says where it stands."""
    (tmp_path / "a_b.lua").write_text('--[[ a_b: x.\nKEYS meta\n]]\n--- @include "lib/none"\n')
    with pytest.raises(ScriptError, match=r"a_b\.lua:4"):
        scripts.load_library(tmp_path)


LIB = "local X = {}\nfunction X.f()\n  return 1\nend\n"
VERB = '--[[ a_b: x.\nKEYS meta\n]]\n--- @include "lib/x"\nreturn X.f()\n'


def written(root: Path, **files: str) -> Path:
    """A folder of scripts: the verb ``a_b``, and the files of ``lib`` by their names."""
    (root / "lib").mkdir()
    (root / "a_b.lua").write_text(files.pop("a_b", VERB))
    for name, text in files.items():
        (root / "lib" / f"{name}.lua").write_text(text)
    return root


def test_an_error_is_told_by_file_and_line_of_the_source(tmp_path: Path) -> None:
    """The server's line number of the joined text becomes the place in the file that somebody can open."""
    library = scripts.load_library(written(tmp_path, x=LIB.replace("return 1", "return nil + 1")))
    number = library.source.splitlines().index("  return nil + 1") + 1
    assert library.locate(f"ERR user_function:{number}: attempt to add") == "ERR lib/x.lua:3: attempt to add"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-- nothing\n", r"lib/x\.lua: must define 'local X = \{\}' once"),
        (LIB + "local X = {}\n", r"lib/x\.lua: must define 'local X = \{\}' once"),
        (LIB + "local function g() end\n", r"lib/x\.lua:5: the only top-level local is X; make g a member"),
        (LIB + "local LONG, WIDE = 1, 2\n", r"lib/x\.lua:5: the only top-level local is X; make LONG a member"),
        ("local Y = {}\nfunction Y.f() end\n", r"lib/x\.lua:1: the only top-level local is X; make Y a member"),
        (LIB + "function Y.g() end\n", r"lib/x\.lua:5: Y\.g is defined outside the file of Y"),
        (LIB + "function X.f() end\n", r"lib/x\.lua:5: X\.f is defined at lib/x\.lua:2 already"),
        (LIB + "X.A, X.f = 1, 2\n", r"lib/x\.lua:5: X\.f is defined at lib/x\.lua:2 already"),
    ],
)
def test_a_library_file_defines_its_table_alone(tmp_path: Path, text: str, why: str) -> None:
    """All library files share Lua's 200 locals: each has one, a table named after it, and defines each member once."""
    with pytest.raises(ScriptError, match=why):
        scripts.load_library(written(tmp_path, x=text))


@pytest.mark.parametrize(
    ("x", "verb", "why"),
    [
        (LIB, VERB.replace("return", "return Y.f() or"), r"a_b\.lua:5: Y is used, and lib/y is not included"),
        (LIB.replace("1", "Y.f()"), VERB, r"lib/x\.lua:3: Y is used, and lib/y is not included"),
        (LIB, VERB.replace("X.f()", "1 -- X.f() 'X.f()'"), r"a_b\.lua:4: includes lib/x and does not use it"),
        ('--- @include "lib/y"\n' + LIB, VERB, r"lib/x\.lua:1: includes lib/y and does not use it"),
        (LIB, VERB.replace("return", '--- @include "lib/x"\nreturn'), r"a_b\.lua:5: lib/x is included at a_b\.lua:4"),
    ],
)
def test_a_file_includes_what_it_uses(tmp_path: Path, x: str, verb: str, why: str) -> None:
    """Lua takes a table that is not included for a global, and says so only when that line runs."""
    with pytest.raises(ScriptError, match=why):
        scripts.load_library(written(tmp_path, a_b=verb, x=x, y=LIB.replace("X", "Y")))


def test_a_table_is_named_after_its_file_and_may_have_locals_in_a_block(tmp_path: Path) -> None:
    """``late_join`` defines ``LateJoin``; what only some of its functions see is local in a ``do`` block."""
    text = "local LateJoin = {}\nLateJoin.A, LateJoin.B = 1, 2\n"
    text += "do\n  local n = 0\n  function LateJoin.f() return n end\nend\n"
    verb = VERB.replace("X.f", "LateJoin.f").replace("lib/x", "lib/late_join")
    assert "return LateJoin.f()" in scripts.load_library(written(tmp_path, a_b=verb, late_join=text)).source


def test_the_name_of_the_library_says_what_is_in_it(tmp_path: Path) -> None:
    """Another text is another library with functions of other names, so that two releases do not meet."""
    verb = tmp_path / "a_b.lua"
    verb.write_text("--[[ a_b: x.\n]]\nreturn 1\n")
    one, same = scripts.load_library(tmp_path), scripts.load_library(tmp_path)
    verb.write_text("--[[ a_b: x.\n]]\nreturn 2\n")
    other = scripts.load_library(tmp_path)
    assert one.name == same.name and one["a_b"].function == same["a_b"].function
    assert one.name != other.name and one["a_b"].function != other["a_b"].function
    assert one["a_b"].function in one.source
