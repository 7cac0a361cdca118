"""``callout vault``: verify a receipt of the vault without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from engine.process.settings import SettingsError
from server.cli import options
from server.cli.printable import printable

if TYPE_CHECKING:
    from engine.vault.checks import Check
    from engine.vault.evidence import Evidence

EXIT_WRONG, EXIT_INCOMPLETE = 1, 3
UNCHECKED = ("pending", "erased", "retired")
"""The results of checks that could not be made."""


@click.group()
def vault() -> None:
    """Verify what customers have signed."""


@vault.command
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--public-key",
    "keys",
    metavar="KEY",
    multiple=True,
    help="Only signatures of this key are good (base64; repeatable).",
)
@options.as_json
def verify(*, file: Path, keys: tuple[str, ...], as_json: bool) -> int:
    """Verify FILE, a receipt from `GET /v1/vault/{receipt}?format=zip`, without a server and without a network.

    Each check is printed with its result. The exit code is 0 if all are good, 1 if something was changed or is missing,
    2 if FILE is not a receipt, and 3 if nothing is wrong but a part cannot be checked: the audit tree does not cover
    the receipt yet, or FILE says that the part was erased, or that the server has deleted it because of its age. This
    statement in FILE is not signed.

    Without --public-key, the keys in FILE are trusted: a forger could put their own keys there. Compare them with `GET
    /v1/vault/keys`, or with those that a witness has stored.
    """
    from engine.vault import checks
    from engine.vault.package import NotAPackage, read_package

    try:
        evidence, contents = read_package(file)
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}") from None
    except NotAPackage as error:
        raise SettingsError(f"{file}: no file of the vault: {printable(str(error))}") from None
    if keys:
        known = [key for key in evidence.keys if key.public in keys]
        evidence = msgspec.structs.replace(evidence, keys=known)
    results = checks.run_checks(evidence, contents)
    verified, pending = checks.is_complete(results), checks.is_pending(results)
    if as_json:
        unchecked = [check.name for check in results if check.result in UNCHECKED]
        found = {"receipt": evidence.id, "verified": verified, "pending": pending, "unchecked": unchecked}
        print(json.dumps({**found, "checks": msgspec.to_builtins(results)}))
    else:
        _print_report(evidence, results, has_keys=bool(keys))
    return 0 if verified else EXIT_INCOMPLETE if pending or checks.is_verified(results) else EXIT_WRONG


def _print_report(evidence: Evidence, results: list[Check], *, has_keys: bool) -> None:
    wrong = [check.name for check in results if check.result in ("failed", "missing")]
    unchecked = [check.name for check in results if check.result in UNCHECKED]
    if wrong:
        verdict = f"WRONG: {', '.join(wrong)}"
    else:
        verdict = f"INCOMPLETE, not checked: {', '.join(unchecked)}" if unchecked else "verified"
    print(f"{printable(evidence.id)}: {verdict}")
    for check in results:
        print(f"  {check.name:<17} {check.result}{f': {check.detail}' if check.detail else ''}")
    if any(check.result in ("erased", "retired") for check in results):
        print("  The file says that something was erased, or is too old. Nobody signs that: ask the server.")
    if any(check.result == "pending" for check in results):
        print("  The audit tree of this file does not cover the signature yet. Get the file again in a minute.")
    if not has_keys:
        for key in evidence.keys:
            print(f"  key {printable(key.id)} ({printable(key.use)}): {printable(key.public)}")
        print("  These keys come from the file itself: compare them, or give them with --public-key.")
