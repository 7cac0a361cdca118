"""Tests that Lua and Python derive the same channels from the audience that a blueprint declares."""

from __future__ import annotations

import fakeredis
import pytest

from engine.blueprint import audience
from engine.store import scripts

LUA_SOURCE = """
local Job = {public_json = function() return '{}' end}
%s
%s
local job = {id = 'j1', customer = 'c1', holder = 't1', unaccepted = '0', service = 's1'}
local channels = {}
for channel in string.gmatch(Audience.channels(ARGV[1], job), '%%S+') do channels[#channels + 1] = channel end
for _, copy in ipairs(Audience.restricted_copies(job, ARGV[1], '')) do channels[#channels + 1] = copy[1] end
return channels
"""


@pytest.mark.parametrize("word", sorted(audience.AUDIENCE_WORDS))
def test_lua_and_python_address_the_same_channels(word: str) -> None:
    """Each audience word of a blueprint stands for the same channels in Lua and in Python, apart from the watchers'
    channel `job:<id>`, which only Lua adds.
    """
    source = LUA_SOURCE % tuple(
        (scripts.scripts_folder() / "lib" / name).read_text() for name in ("memo.lua", "audience.lua")
    )
    reply = fakeredis.FakeRedis(version=(7, 2)).eval(source, 0, word)
    channels = {channel.decode() for channel in reply} - {"job:j1"}
    assert channels == audience.whole_job_channels([word], "c1", "t1")
    assert audience.whole_job_channels(word.split(), "c1", "t1") or word == audience.TECHNICIANS_WORD
