"""The members of a job are declared in engine/rules/job_document.py. Other lists of them, which cannot derive from the
declaration, agree with it.
"""

from __future__ import annotations

import re
import types
import typing
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from engine.archive.reader import JobFilter
from engine.domain.booking import Booking
from engine.rules import job_document
from engine.rules.job_document import COLUMN_MEMBERS, EDITABLE_MEMBERS, MEMBERS, STEP_MEMBERS, JobView, Party
from engine.sql.schema import jobs as job_rows
from server.schemas.jobs import Job, NewJob, PatchJob, PublicJob
from server.schemas.objects import Person, Proposal
from server.schemas.quotes import JobQuote
from server.schemas.signatures import JobSignature

ROOT = Path(__file__).resolve().parents[2]
LUA_FILE = "lua/lib/job.lua"
ALL_MEMBERS = {member.name for member in MEMBERS}
PUBLIC_MEMBERS = {member.name for member in MEMBERS if member.public}
JSON_TYPES = {datetime: str, Person: Party, Proposal: dict, JobQuote: dict, JobSignature: dict}


def fields_of(struct: type[msgspec.Struct]) -> set[str]:
    """Return the names of a Struct's fields."""
    return set(struct.__struct_fields__)


def json_type(hint: typing.Any) -> typing.Any:
    """Return the Python type that a value with this type hint has in decoded JSON."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is typing.Literal:
        return type(typing.get_args(hint)[0])
    origin = typing.get_origin(hint) or hint
    return JSON_TYPES.get(origin, origin)


def members_in_lua(function: str) -> set[str]:
    """Return the members that a function of lua/lib/job.lua writes."""
    source = (ROOT / LUA_FILE).read_text().partition(f"function Job.{function}(")[2].partition("\nend\n")[0]
    return set(re.findall(r'"(\w+)":', source))


MEMBER_LISTS = {
    "server/schemas/jobs.py: Job": (fields_of(Job), ALL_MEMBERS),
    "server/schemas/jobs.py: PublicJob": (fields_of(PublicJob), PUBLIC_MEMBERS),
    "server/schemas/jobs.py: PatchJob": (fields_of(PatchJob), EDITABLE_MEMBERS | {"version", "quote"}),
    "server/schemas/jobs.py: NewJob": (fields_of(NewJob), fields_of(Booking) | EDITABLE_MEMBERS),
    "engine/domain/booking.py: Booking": (fields_of(Booking) & EDITABLE_MEMBERS, EDITABLE_MEMBERS),
    f"{LUA_FILE}: full_json": (members_in_lua("full_json"), set(STEP_MEMBERS)),
    f"{LUA_FILE}: public_json": (members_in_lua("public_json"), PUBLIC_MEMBERS & set(STEP_MEMBERS)),
    "engine/rules/job_document.py: MEMBERS": (
        fields_of(JobView) & {member.name for member in MEMBERS},
        fields_of(JobView),
    ),
    "engine/rules/job_document.py: JobView": (fields_of(JobView) & set(COLUMN_MEMBERS), set(COLUMN_MEMBERS)),
    "engine/sql/schema.py: jobs": (set(job_rows.columns.keys()) - {"hot", "doc"}, set(COLUMN_MEMBERS)),
    "engine/archive/reader.py: JobFilter": (fields_of(JobFilter) - {"updated_after"} - set(COLUMN_MEMBERS), set[str]()),
}
"""For each list, by its file and name: the members that it contains, and the members that it must contain."""


@pytest.mark.parametrize("list_name", MEMBER_LISTS)
def test_each_list_of_members_agrees_with_the_declaration(list_name: str) -> None:
    """Each list contains exactly the declared members. A failure names the file, the members that it lacks, and those
    that are not declared.
    """
    members, declared = MEMBER_LISTS[list_name]
    missing, extra = sorted(declared - members), sorted(members - declared)
    assert members == declared, f"{list_name}: missing {missing}, not declared {extra}"


@pytest.mark.parametrize("struct", [Job, PublicJob], ids=lambda struct: struct.__name__)
def test_members_have_their_declared_type(struct: type[msgspec.Struct]) -> None:
    """Each member has the same JSON type in the API's schema and in the declaration."""
    declared = {member.name: member.json_type for member in MEMBERS}
    hints = typing.get_type_hints(struct)
    wrong = {name: hint for name, hint in hints.items() if name in declared and json_type(hint) is not declared[name]}
    assert wrong == {}, f"server/schemas/jobs.py: {struct.__name__}"


def test_pricing_comes_before_metadata_in_the_record() -> None:
    """In a job's record `pricing` comes before `metadata`, because lua/lib/cost.lua uses the first match of the name
    and customers choose the names in `metadata`.
    """
    assert job_document.RECORD_MEMBERS.index("pricing") < job_document.RECORD_MEMBERS.index("metadata")
