"""Every change of a job's keys that no event contains is noted for the log's field `state` (lua/lib/job_state.lua)."""

from __future__ import annotations

import re
from pathlib import Path

from engine.rules import job_document
from engine.store import scripts
from tests.support.for_each import for_each

LUA_FOLDER = Path(scripts.scripts_folder())
DOCUMENT_FIELDS = {*job_document.EVENT_MEMBERS, "full", "pub", "holder", "card", "updated", "unaccepted", "scheduled"}
"""The fields of a job's hash that follow from its document (engine/rebuild/job_record.py)."""
SAVED_FIELDS = {"expires", "last", "claimed", "mode", "entered"}
"""The fields that `JobState.save` notes."""
EXCEPTIONS = {
    "job_archived.lua": {"recorded"},  # the field is the mark itself
    "job_create.lua": {
        "bp",
        "wave",
        "owner",
        "preferred",
        "contact",
        "begins",
        "created",
        "recorded",
    },
    "lib/watchdog.lua": {"watch"},  # a look that changes no report (engine/rebuild/ephemeral.py)
}
"""Other fields that a file writes by itself."""
WRITE_PATTERN = re.compile(r"redis\.call\('(?:HSET|HDEL|HINCRBY)', (?:job\.key|job_key)\b")
OFFER_PATTERN = re.compile(r"redis\.call\('(?:HSET|HDEL)', offers\b")
OFFER_FILES = {"lib/offers.lua", "lib/offer_creation.lua"}
"""The files that write offers, and note them."""


def _rest_of_call(code: str) -> str:
    """Return the part of ``code`` up to the parenthesis that closes the call in which it begins."""
    depth = 1
    for position, character in enumerate(code):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return code[:position]
    raise ValueError("the call does not end")


@for_each(sorted(LUA_FOLDER.rglob("*.lua")), lambda path: path.stem)
def test_a_field_that_no_event_contains_is_written_by_job_fields(path: Path) -> None:
    """A script may write a field of a job's hash directly only if the job's document contains the field, or if the
    field is saved with each step. Only two files write offers.
    """
    name, code = str(path.relative_to(LUA_FOLDER)), re.sub(r"--[^\n]*", "", path.read_text())
    allowed = DOCUMENT_FIELDS | SAVED_FIELDS | EXCEPTIONS.get(name, set())
    for match in WRITE_PATTERN.finditer(code):
        assert set(re.findall(r"'([a-z_]+)'", _rest_of_call(code[match.end() :]))) <= allowed
    assert name in OFFER_FILES or not OFFER_PATTERN.search(code)
