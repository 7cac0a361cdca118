"""Tests of the linter of blueprints: each problem is reported with file and place, and all problems in one report."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.blueprint import catalogue
from engine.blueprint.catalogue import BlueprintError
from tests.blueprint.wrong import INVALID_EDITS, VALID_BLUEPRINT


@pytest.mark.parametrize(("old", "new", "message"), INVALID_EDITS, ids=[message for _, _, message in INVALID_EDITS])
def test_each_problem_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Each invalid edit of the valid blueprint is reported with the file's name and the expected message."""
    assert VALID_BLUEPRINT.count(old) >= 1
    path = tmp_path / "walks.toml"
    path.write_text(VALID_BLUEPRINT.replace(old, new, 1))
    _, problems = catalogue.read_file(path)
    assert [problem for problem in problems if problem.startswith("walks.toml: ") and message in problem], problems


def test_one_report_has_all_problems_of_all_files(tmp_path: Path) -> None:
    """One report contains several problems of one file, a file that is no TOML and a file with unknown words; no
    problem hides another.
    """
    text = VALID_BLUEPRINT.replace('to = "walking"', 'to = "flying"').replace(
        'propose = ["booked"]', 'propose = ["flying"]'
    )
    (tmp_path / "a.toml").write_text(text)
    (tmp_path / "b.toml").write_text("= [")
    (tmp_path / "c.toml").write_text(text.replace('"active"', '"busy"').replace('by = ["mediator"]', 'by = ["judge"]'))
    with pytest.raises(BlueprintError) as caught:
        catalogue.load_blueprints("walks", tmp_path)
    report = "\n".join(caught.value.problems)
    for part in (
        "a.toml: command start: unknown state 'flying'",
        "a.toml: price: propose: 'flying'",
        "a.toml: state 'walking' cannot be reached",
        "b.toml: Invalid statement",
        "c.toml: states.walking.phase",
        "c.toml: states.back.phase",
        "c.toml: commands.settle.by[0]",
    ):
        assert part in report


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """Two files with the same blueprint name in one folder are refused, because the choice between them would depend on
    their order.
    """
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(VALID_BLUEPRINT)
    with pytest.raises(BlueprintError, match=r"b.toml: name 'walks' is that of a.toml too"):
        catalogue.load_blueprints("walks", tmp_path)


def test_valid_blueprints_have_no_problem(tmp_path: Path) -> None:
    """The valid blueprint and each shipped one have no problem."""
    path = tmp_path / "walks.toml"
    path.write_text(VALID_BLUEPRINT)
    assert catalogue.read_file(path)[1] == []
    assert [catalogue.read_file(each)[1] for each in sorted(catalogue.shipped_folder().glob("*.toml"))] == [[]] * 5


BILLS_TOML = """
name = "bills"
version = 1
title = "Bills"
dispatch = { waves = [{ size = 5, radius_m = 1000, interval_s = 10 }] }
[states]
wanted = { phase = "open", seeks = "broadcast", says = "Wanted" }
held = { phase = "assigned", says = "Held" }
over = { phase = "done", says = "Over" }
late = { phase = "closed", says = "Late" }
[commands.claim]
by = ["offered"]
from = ["wanted"]
to = "held"
does = "take"
event = "job.accepted"
[commands.finish]
by = ["holder"]
from = ["held"]
to = "over"
event = "job.finished"
[commands.expire]
by = ["engine"]
from = ["wanted"]
to = "late"
event = "job.expired"
"""
BILL_COMMAND = '[commands.bill]\nby = ["customer"]\nfrom = ["held"]\ncharges = true\nevent = "payment.requested"\n'
PAY_COMMAND = (
    '[commands.pay]\nby = ["service"]\nfrom = ["held"]\nto = "over"\ndoes = "capture"\nevent = "payment.received"\n'
)
REPLACE_COMMAND = '[commands.replace]\nby = ["ops"]\nfrom = ["held"]\ndoes = "assign"\nevent = "job.accepted"\n'
DECLARED_EVENTS = ("job.created", "job.searching", "job.accepted", "job.finished", "job.expired")


@pytest.mark.parametrize(
    ("command", "own_events", "missing_event"),
    [
        ("", [], None),
        (BILL_COMMAND, ["payment.requested"], "command bill: its event 'job.status'"),
        (PAY_COMMAND, ["payment.received"], "command claim: its event 'job.status'"),
        (REPLACE_COMMAND, [], "command replace: its event 'job.unassigned'"),
    ],
    ids=["nothing", "nothing is due", "captured before", "in place of another"],
)
def test_every_event_that_a_command_can_append_needs_a_rule(
    tmp_path: Path, command: str, own_events: list[str], missing_event: str | None
) -> None:
    """A command that can also append `job.status` or `job.unassigned` needs a rule for that event, or nobody would
    receive it. A rule for an event that no command can append is a problem too.
    """
    path = tmp_path / "bills.toml"
    kind = "job.unassigned" if command == REPLACE_COMMAND else "job.status"
    rules = "".join(f'[events."{each}"]\nto = ["customer", "service"]\n' for each in (*DECLARED_EVENTS, *own_events))
    path.write_text(BILLS_TOML + command + rules)
    assert catalogue.read_file(path)[1] == ([f"bills.toml: {missing_event} has no audience"] if missing_event else [])
    path.write_text(BILLS_TOML + command + rules + f'[events."{kind}"]\nto = ["customer"]\n')
    never = f"bills.toml: event {kind}: it never occurs: neither a command nor the engine emits it"
    assert catalogue.read_file(path)[1] == ([] if missing_event else [never])
