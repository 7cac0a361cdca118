"""What is wrong with a blueprint is told, each problem in a sentence that names the file and the place, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.blueprint import catalogue
from engine.blueprint.catalogue import BlueprintError
from tests.blueprint.wrong import WHOLE, WRONG


@pytest.mark.parametrize(("old", "new", "said"), WRONG, ids=[said for _, _, said in WRONG])
def test_each_problem_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    """What is written instead of what was right is told, with the file's name in front."""
    assert WHOLE.count(old) >= 1
    path = tmp_path / "walks.toml"
    path.write_text(WHOLE.replace(old, new, 1))
    _, problems = catalogue.read_file(path)
    assert [problem for problem in problems if problem.startswith("walks.toml: ") and said in problem], problems


def test_all_problems_of_all_files_come_in_one_report(tmp_path: Path) -> None:
    """Several in one file, one that is no TOML, one that is no blueprint: none hides another."""
    text = WHOLE.replace('to = "walking"', 'to = "flying"').replace('propose = ["booked"]', 'propose = ["flying"]')
    (tmp_path / "a.toml").write_text(text)
    (tmp_path / "b.toml").write_text("= [")
    (tmp_path / "c.toml").write_text(text.replace('"active"', '"busy"').replace('by = ["mediator"]', 'by = ["judge"]'))
    with pytest.raises(BlueprintError) as caught:
        catalogue.load_blueprints("walks", tmp_path)
    told = "\n".join(caught.value.problems)
    for part in (
        "a.toml: command start: unknown state 'flying'",
        "a.toml: price: propose: 'flying'",
        "a.toml: state 'walking' cannot be reached",
        "b.toml: Invalid statement",
        "c.toml: states.walking.phase",
        "c.toml: states.back.phase",
        "c.toml: commands.settle.by[0]",
    ):
        assert part in told


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """In one folder a name stands once: which of the two holds would be chance."""
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(WHOLE)
    with pytest.raises(BlueprintError, match=r"b.toml: name 'walks' is that of a.toml too"):
        catalogue.load_blueprints("walks", tmp_path)


def test_what_is_whole_is_told_so(tmp_path: Path) -> None:
    """The blueprint from which all the wrong ones were made has no problem, and neither has one that ships."""
    path = tmp_path / "walks.toml"
    path.write_text(WHOLE)
    assert catalogue.read_file(path)[1] == []
    assert [catalogue.read_file(each)[1] for each in sorted(catalogue.shipped_folder().glob("*.toml"))] == [[]] * 5


BILLS = """
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
BILL = '[commands.bill]\nby = ["customer"]\nfrom = ["held"]\ncharges = true\nevent = "payment.requested"\n'
PAY = '[commands.pay]\nby = ["service"]\nfrom = ["held"]\nto = "over"\ndoes = "capture"\nevent = "payment.received"\n'
REPLACE = '[commands.replace]\nby = ["ops"]\nfrom = ["held"]\ndoes = "assign"\nevent = "job.accepted"\n'
TOLD = ("job.created", "job.searching", "job.accepted", "job.finished", "job.expired")


@pytest.mark.parametrize(
    ("command", "own", "comes"),
    [
        ("", [], None),
        (BILL, ["payment.requested"], "command bill: its event 'job.status'"),
        (PAY, ["payment.received"], "command claim: its event 'job.status'"),
        (REPLACE, [], "command replace: its event 'job.unassigned'"),
    ],
    ids=["nothing", "nothing is due", "captured before", "in place of another"],
)
def test_what_a_step_tells_besides_is_to_be_declared(
    tmp_path: Path, command: str, own: list[str], comes: str | None
) -> None:
    """A charge with nothing due and a payment taken with a later step are told as `job.status`, and who is replaced as
    `job.unassigned`: not declared, they would be told to nobody; declared where they do not come, they never come.
    """
    path = tmp_path / "bills.toml"
    kind = "job.unassigned" if command == REPLACE else "job.status"
    rules = "".join(f'[events."{each}"]\nto = ["customer", "service"]\n' for each in (*TOLD, *own))
    path.write_text(BILLS + command + rules)
    assert catalogue.read_file(path)[1] == ([f"bills.toml: {comes} is told to nobody"] if comes else [])
    path.write_text(BILLS + command + rules + f'[events."{kind}"]\nto = ["customer"]\n')
    never = f"bills.toml: event {kind}: it never comes: neither a command nor the engine gives rise to it"
    assert catalogue.read_file(path)[1] == ([] if comes else [never])
