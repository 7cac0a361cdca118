"""Print the start message of a demo: a box with its addresses and logins, and a QR code for a phone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import segno
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from server.demo.addresses import Reach

PAGES = (("Start", "/"), ("Console", "/console"), ("Customer", "/book"), ("Technician", "/tech"), ("API", "/docs"))

Login = tuple[str, str, str]
"""Role, e-mail and password."""


def print_welcome(
    console: Console, url: str, phone_url: str, data: Path, logins: Sequence[Login], reach: Reach
) -> None:
    """Print addresses, logins and the QR code of ``phone_url``: in a box on a terminal, otherwise as plain lines."""
    notes = _notes(url, phone_url, data, reach)
    if not console.is_terminal:
        console.print(f"Callout is at {url}   (data and demo.log in {data}; stop it with Ctrl-C)", markup=False)
        for name, path in PAGES[1:]:
            console.print(f"  {name:<11} {url}{path}", markup=False)
        for role, email, password in logins:
            console.print(f"  {role:<19} {email}   password {password}", markup=False)
        for note in notes:
            console.print(note, markup=False)
        return
    box = Table.grid(padding=(0, 2))
    for name, path in PAGES:
        box.add_row(f"[bold]{name}[/bold]", f"{url}{'' if path == '/' else path}")
    box.add_row()
    for role, email, _ in logins:
        box.add_row(role, email)
    for password in {password for _, _, password in logins}:
        box.add_row("password", password)
    both = Table.grid(padding=(0, 3))
    both.add_row(box, qr_text(phone_url))
    console.print(Panel(both, title="Callout demo", subtitle="Ctrl-C stops it", expand=False, border_style="cyan"))
    for note in notes:
        console.print(note, markup=False, style="dim")


def _notes(url: str, phone_url: str, data: Path, reach: Reach) -> list[str]:
    notes = [f"Open {url} in a browser of this machine: one click signs in. Data and demo.log are in {data}."]
    if not reach.is_lan:
        return [*notes, "For a phone in your network, start it with --lan; for its GPS too with --lan --tls."]
    notes.append(f"Other devices: {phone_url}")
    if not reach.is_open:
        notes.append("They sign in with e-mail and password; --lan-open allows one click to everybody there.")
    if reach.has_tls:
        notes.append("A phone warns of the certificate, because it was made here a moment ago.")
    return notes


def qr_text(url: str) -> Text:
    """Return the QR code of a URL as lines of block characters, two modules high each."""
    written = io.StringIO()
    segno.make_qr(url, error="l").terminal(written, border=1, compact=True)
    return Text.from_ansi(written.getvalue().rstrip("\n"))
