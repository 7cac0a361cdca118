"""Only `lib/supply` changes the fields of a technician's record that the summaries repeat, so that no script can forget
the summary.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.store import scripts

LUA_FOLDER = Path(scripts.scripts_folder())
SUMMARY_FIELDS = {"lat", "lon", "fix_at", "acc", "rating", "load", "capacity", "services"}
JOB_KEYS = {"job_key", "job.key"}
"""A job's record has a place too."""


def fields_written(source: str) -> list[str]:
    """Return the fields in SUMMARY_FIELDS that a source writes itself with a command of Redis, except in the record of
    a job. HSETNX is not counted, because it does not change a field that exists.
    """
    code = re.sub(r"--[^\n]*", "", re.sub(r"--\[\[.*?\]\]", "", source, flags=re.S))
    found = []
    for call in re.finditer(r"redis\.p?call\(\s*'(?:HSET|HMSET|HINCRBY|HINCRBYFLOAT|HDEL)',([^,]*),", code):
        depth, end = 1, call.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(code[end], 0)
            end += 1
        if call[1].strip() not in JOB_KEYS:
            found += [name for name in re.findall(r"'(\w+)'", code[call.end() : end]) if name in SUMMARY_FIELDS]
    return found


@pytest.mark.parametrize("path", sorted(LUA_FOLDER.rglob("*.lua")), ids=lambda p: p.stem)
def test_no_script_writes_a_field_of_the_summary_itself(path: Path) -> None:
    """`Supply.write` writes such a field and then the summary, and only `lib/supply` writes summaries."""
    source = path.read_text()
    assert fields_written(source) == []
    if path.stem != "summaries":
        assert "'summaries'" not in source
    if path.stem not in ("summaries", "supply"):
        assert not re.search(r"\bSummaries\.(write|write_all|moved|remove)\b", source)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("redis.call('HSET', tech_key, 'clock', clock, 'lat', (lat or ''), 'load', 1)", ["lat", "load"]),
        ("redis.call('HINCRBY', zone.tag .. 'tech:' .. id, 'load', 1)", ["load"]),
        ("redis.call('HSET', tech.key,\n  'rating', rating)", ["rating"]),
        ("redis.call('HSET', tech.key, 'free_at', zone.now) -- 'lat'", []),
        ("redis.call('HSET', job.key, 'lat', lat)", []),
        ("redis.call('HSETNX', tech_key, 'load', 0)", []),
    ],
)
def test_the_search_for_such_writes_finds_them(line: str, found: list[str]) -> None:
    """`fields_written` finds the fields in calls of one line and of several, and ignores comments and job records."""
    assert fields_written(line) == found
