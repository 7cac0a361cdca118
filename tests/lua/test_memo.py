"""Tests of `lib/memo`: a function that remembers its results parses a text once, and forgets all beyond its limit."""

from __future__ import annotations

import fakeredis

from engine.store import scripts

LUA_SOURCE = """
%s
local calls = {}
local parse = Memo.of(function(text)
  calls[text] = (calls[text] or 0) + 1
  return text == 'nothing' and false or {text = text}
end)
%s
"""


def run_lua(code: str) -> object:
    """Run `code` in Lua; `parse` returns a table for a text, and `calls` counts how often each text was parsed."""
    memo = (scripts.scripts_folder() / "lib" / "memo.lua").read_text()
    return fakeredis.FakeRedis(version=(7, 2)).eval(LUA_SOURCE % (memo, code), 0)


def test_a_text_is_parsed_once_also_if_it_gives_nothing() -> None:
    """A second call with the same text returns the first result without running the function again, even if that result
    is false.
    """
    same = "local one, other = parse('a'), parse('a') parse('nothing') parse('nothing') "
    assert run_lua(same + "return {one == other and 1 or 0, calls.a, calls.nothing, parse('b').text}") == [
        1,
        1,
        1,
        b"b",
    ]


def test_beyond_its_limit_it_forgets_all_texts() -> None:
    """With one text more than `Memo.MAX` all texts are forgotten, so that the memory is bounded; results stay right."""
    fill = "parse('a') for i = 1, Memo.MAX do parse('t' .. i) end "
    assert run_lua(fill + "local last = parse('a').text return {last, calls.a, calls.t1}") == [b"a", 2, 1]
