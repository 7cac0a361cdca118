"""``callout audit witness``: watch the audit tree of a server from another machine."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.process.settings import SettingsError
from engine.types import is_zone
from server.cli.command_failed import CommandFailed

if TYPE_CHECKING:
    import httpx

    from engine.audit.signed_note import Head
    from engine.audit.witness import Alarm, WitnessState

TIMEOUT_S = 10.0
MAX_REPLY_BYTES = 256 * 1024
DEFAULT_NAME = "callout-witness"


_MALFORMED_ERRORS = (ValueError, TypeError, AttributeError, LookupError, RecursionError)
"""The errors when an answer, or a file of the witness, does not have the expected content."""


class _NoAnswer(Exception):
    """Raised if the server gave no usable answer."""


@click.command
@click.argument("url")
@click.option("--zone", default="main", help="The zone whose tree is watched.")
@click.option("--state", metavar="DIR", default="callout-witness", help="Where the last head and the keys are stored.")
@click.option(
    "--every", "interval_s", type=click.FloatRange(0.1, 86_400), default=60.0, help="Seconds between two looks."
)
@click.option("--once", is_flag=True, help="Look once and exit.")
@click.option("--name", default=DEFAULT_NAME, help="The name in the witness's cosignatures.")
@click.option("--webhook", metavar="URL", help="Where each new alarm is posted as JSON.")
@click.option("--accept", is_flag=True, help="Start again with what the server shows now; the old head is set aside.")
def witness(
    url: str,
    *,
    zone: str,
    state: str,
    interval_s: float,
    once: bool,
    name: str,
    webhook: str | None,
    accept: bool,
) -> int:
    """Watch the audit tree of the server at URL, and print an alarm when the tree shrank or forked.

    Run it on another machine. It stores the last head and accepts a newer one only with a proof that the tree has only
    grown. Each accepted head is cosigned and stored in --state. The first head and the server's keys are trusted. The
    exit code is 1 after an alarm.
    """
    if not is_zone(zone):
        raise SettingsError(f"--zone {zone}: not a zone")
    if not name.isascii() or not name.isprintable() or not name or " " in name or "+" in name:
        raise SettingsError(f"--name {name}: letters, digits, . and - please")
    if not url.startswith(("http://", "https://")):
        raise SettingsError(f"{url} is no URL of a server: http://… or https://…")
    from engine.audit.witness import UnusableState, WitnessState

    try:
        stored = WitnessState(Path(state), zone)
        if accept:
            stored.set_aside(int(time.time()))
        return asyncio.run(_Watch(url, zone, stored, name, webhook).run(None if once else interval_s))
    except UnusableState as error:
        raise CommandFailed(f"--state {error}") from None


class _Watch:
    """The watch of one zone's audit tree on another server."""

    def __init__(self, url: str, zone: str, state: WitnessState, name: str, webhook: str | None) -> None:
        self._url = url.rstrip("/")
        self._zone = zone
        self._state = state
        self._name = name
        self._webhook = webhook
        self._had_alarm = False
        self._last_alarm: Alarm | None = None

    async def run(self, interval_s: float | None) -> int:
        """Check the tree once (``interval_s`` None), or every ``interval_s`` seconds until interrupted. Return the exit
        code.
        """
        import httpx

        async with httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False) as client:
            while True:
                await self._check_and_report(client)
                if interval_s is None:
                    return 1 if self._had_alarm else 0
                await asyncio.sleep(interval_s)

    async def _check_and_report(self, client: httpx.AsyncClient) -> None:
        from engine.audit.witness import Alarm

        try:
            alarm = await self._check_head(client)
        except _NoAnswer as error:
            alarm = Alarm("unreachable", str(error))
        except _MALFORMED_ERRORS as error:
            alarm = Alarm("unreadable", str(error))
        if alarm is None:
            self._last_alarm = None
            return
        self._had_alarm = True
        if alarm != self._last_alarm:  # the same alarm is reported once
            self._last_alarm = alarm
            await self._report_alarm(client, alarm)

    async def _check_head(self, client: httpx.AsyncClient) -> Alarm | None:
        """Read the server's newest signed head, and accept it or return the alarm. Raises _NoAnswer, ValueError."""
        from engine.audit import signed_note, witness

        reply = await self._read(client, "/head")
        seen = signed_note.parse_head(str(reply["head"]["note"]))
        last = self._state.last_head()
        keys = self._state.server_keys() or await self._read_keys(client)
        proof = await self._read_proof(client, last, seen) if last and witness.needs_proof(last, seen) else None
        alarm = witness.find_alarm(last, seen, keys, proof)
        if alarm is None:
            self._state.pin_keys(keys)
            self._state.accept(seen, self._name, int(time.time()))
            if last is None or seen.size > last.size:
                print(json.dumps({"ok": True, "origin": seen.origin, "size": seen.size, "root": seen.root.hex()}))
        return alarm

    async def _read_keys(self, client: httpx.AsyncClient) -> list[bytes]:
        reply = await self._get(client, "/v1/vault/keys?limit=200")
        keys = [key for key in reply["items"] if key["use"] == "audit" and key.get("revoked") is None]
        return [base64.b64decode(key["public"], validate=True) for key in keys]

    async def _read_proof(self, client: httpx.AsyncClient, last: Head, seen: Head) -> list[bytes] | None:
        """Return the proof that the tree of head ``last`` grew into the tree of head ``seen``; None if the server has
        none.
        """
        query = f"?from={last.size}&to={seen.size}&tree={seen.tree}"
        try:
            reply = await self._read(client, f"/consistency{query}")
        except FileNotFoundError:
            return None
        return [bytes.fromhex(value) for value in reply["consistency"]["hashes"]]

    async def _read(self, client: httpx.AsyncClient, path: str) -> Any:
        return await self._get(client, f"/v1/audit/{self._zone}{path}")

    async def _get(self, client: httpx.AsyncClient, path: str) -> Any:
        """Return the JSON of a reply. Raises _NoAnswer, FileNotFoundError for 404, ValueError for unexpected
        content.
        """
        import httpx

        try:
            async with client.stream("GET", self._url + path) as reply:
                body = b""
                async for part in reply.aiter_bytes():
                    body += part
                    if len(body) > MAX_REPLY_BYTES:
                        raise ValueError(f"{path}: the answer is too large")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _NoAnswer(f"{self._url}: {error or type(error).__name__}") from error
        if reply.status_code == 404 and "consistency" in path:
            raise FileNotFoundError(path)
        if reply.status_code != 200:
            raise _NoAnswer(f"{self._url}{path}: status {reply.status_code}")
        return _AnyReply(json.loads(body))

    async def _report_alarm(self, client: httpx.AsyncClient, alarm: Alarm) -> None:
        """Print the alarm on stdout and stderr, and post it to the webhook."""
        import httpx

        from server import logs

        try:
            last = self._state.last_head()
        except ValueError:
            last = None
        message = {
            "ok": False,
            "alarm": alarm.kind,
            "text": alarm.text,
            "url": self._url,
            "zone": self._zone,
            "last_size": last.size if last else None,
        }
        print(json.dumps(message), flush=True)
        logs.write_line(f"callout: {alarm.kind}: {alarm.text}")
        if self._webhook:
            try:
                (await client.post(self._webhook, json=message)).raise_for_status()
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                logs.write_line(f"callout: the webhook was not reached: {error or type(error).__name__}")


class _AnyReply(dict[str, Any]):
    """The object of a reply. A missing member raises ValueError, as every unexpected content does."""

    def __init__(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise ValueError("the answer is no object")
        super().__init__({name: _AnyReply(each) if isinstance(each, dict) else each for name, each in value.items()})

    def __missing__(self, name: str) -> Any:
        raise ValueError(f"the answer has no {name}")
