"""Tests of the linter of signatures: if the customer signs, no other step may request the payment."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.blueprint import catalogue

MANAGED = (catalogue.shipped_folder() / "managed.toml").read_text()
SIGN = '[commands.sign]\nby = ["customer"]\nfrom = ["work_done"]\nto = "signed"\n'
CAPTURE = '[commands.capture]\nby = ["service"]\nfrom = ["signed"]\nto = "paid"\n'


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
            "price: hours: 'signed' comes with the signature or after it",
        ),
        (
            'source = "quote"',
            'source = "quote"\nhours = ["in_progress", "paid"]',
            "price: hours: 'paid' comes with the signature or after it",
        ),
        (CAPTURE, CAPTURE.replace('["signed"]', '["work_done", "signed"]'), "takes a payment in 'work_done', which is"),
        (CAPTURE, f"{CAPTURE}charges = true\n", "command capture: charges, but it is taken when the price is paid"),
        (
            'to = "work_done"\ndoes = "thaw"\nresolves = "resume"',
            'to = "paid"\ndoes = "thaw"\nresolves = "complete"',
            "signs: the technician is paid in 'paid' (done), which is reached unsigned",
        ),
        (
            "[commands.expire]",
            '[commands.rework]\nby = ["ops"]\nfrom = ["signed"]\nto = "in_progress"\nevent = "job.status"\n'
            "[commands.expire]",
            "command sign: signs in 'work_done', to which a signed job can return",
        ),
        (SIGN, SIGN.replace('"work_done"', '"requested"'), "signs in 'requested', where a job may have no technician"),
        (SIGN, SIGN.replace('"work_done"', '"assigned"'), "signs in 'assigned', where a job may have no technician"),
        (
            'to = "requested"\ndoes = "release"\nevent = "job.unassigned"',
            'to = "work_done"\ndoes = "release"\nevent = "job.unassigned"',
            "signs in 'work_done', where a job may have no technician",
        ),
        (SIGN, SIGN.replace('"signed"', '"cancelled"'), "command sign: signs, but 'cancelled' is closed"),
        ("[edit]\n", '[edit]\nsigned = ["notes"]\n', "edit: 'signed' comes after the signature"),
        (
            'source = "quote"',
            'source = "quote"\npropose = ["signed"]',
            "price: propose: in 'signed' the price is fixed already",
        ),
        (
            'from = ["in_progress"]\nto = "work_done"\nneeds_files',
            'from = ["in_progress", "signed"]\nto = "work_done"\nneeds_files',
            "command finish: needs_files: nobody can add files in 'signed', after the signature",
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
