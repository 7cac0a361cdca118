"""Tests of the linter of signatures: if the customer signs, no other step may request the payment."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.blueprint import catalogue

MANAGED = (catalogue.shipped_folder() / "managed.toml").read_text()
SIGN = '[commands.sign]\nby = ["customer"]\nfrom = ["work_done"]\nto = "signed"\n'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (SIGN, SIGN.replace('["customer"]', '["customer", "ops"]'), 'command sign: signs, so by must be ["customer"]'),
        (SIGN, SIGN.replace('["customer"]', '["customer", "engine"]'), "command sign: signs, so by must be"),
        (
            SIGN,
            SIGN.replace('["work_done"]', '["work_done", "in_progress"]'),
            "command sign: signs, so from must be one",
        ),
        (SIGN, SIGN.replace('to = "signed"\n', ""), "command sign: signs, so it must have a to"),
        (SIGN, f'{SIGN}does = "reissue"\n', "command sign: signs, so it can have neither does nor code"),
        ('event = "job.signed"', 'event = "job.status"', "command sign: signs, so its event must be 'job.signed'"),
        ("signs = true\n", "", "command sign: its name is that of the route that signs"),
        ("signs = true\n", "", "command sign: its event 'job.signed' is that of a command that signs"),
        ("[commands.finish]\n", "[commands.finish]\ncharges = true\n", "command finish: charges, but 'sign' signs"),
        (
            '[commands.finish]\nby = ["holder"]\nfrom = ["in_progress"]\nto = "work_done"',
            '[commands.finish]\nby = ["holder"]\nfrom = ["in_progress"]\nto = "signed"',
            "command finish: leads to 'signed', which the signature alone may reach",
        ),
        ('says = "The work is being done"', 'says = "x"\nthen = "signed"', "signs, but a state passes on to 'signed'"),
        (
            '[commands.unassign]\nby = ["ops"]\nfrom = ["assigned",',
            '[commands.unassign]\nby = ["ops"]\nfrom = ["signed", "assigned",',
            "command unassign: gives a signed job another holder",
        ),
        (
            "[commands.expire]",
            SIGN.replace("sign]", "agree]") + 'signs = true\nevent = "job.signed"\n[commands.expire]',
            "signs: a job is signed once",
        ),
        (
            'source = "quote"',
            'source = "quote"\nhours = ["in_progress", "signed"]',
            "signs, but price.hours has 'signed'",
        ),
        (
            'timers = [{ after_s = 86400, warn = "warn" }, { after_s = 172800, warn = "escalate" }]',
            'timers = [{ after_s = 86400, command = "sign" }]',
            "state work_done: timer 1 gives 'sign', which is not by the engine",
        ),
    ],
)
def test_each_problem_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Each invalid change of `managed` is reported with the expected message."""
    assert old in MANAGED
    path = tmp_path / "managed.toml"
    path.write_text(MANAGED.replace(old, new, 1))
    _, problems = catalogue.read_file(path)
    assert [problem for problem in problems if message in problem], problems
