"""How other devices reach a demo: the options, the forwarder with TLS, and the box with the addresses."""

from __future__ import annotations

import asyncio
import io
import ssl
import sys
from pathlib import Path

import pytest
from rich.console import Console

from engine.process.datadir import CannotStart
from server.demo import tls
from server.demo.addresses import Reach
from server.demo.tls import AUTHORITY_FILE, create_context, run_forwarder
from server.demo.welcome import print_welcome, qr_text
from server.serve import RunningServer
from tests.support.process import run_callout
from tests.support.wait import wait_until

LOGINS = [("customer", "robin@callout.example", "secret")]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--tls",), "need --lan"),
        (("--lan-open",), "need --lan"),
        (("--at", "Berlin"), "a latitude and a longitude"),
        (("--at", "89,0"), "at most 75 degrees"),
        (("--at", "nan,nan"), "at most 75 degrees"),
        (("--people", "2"), "--people"),
        (("--speed", "0"), "--speed"),
    ],
)
async def test_wrong_options_are_refused(flags: tuple[str, ...], says: str, tmp_path: Path) -> None:
    """A wrong option is refused with exit code 2 before a file is created."""
    done = await run_callout("demo", "--data", str(tmp_path / "data"), *flags)
    assert (done.code, done.out) == (2, "") and says in done.err
    assert not (tmp_path / "data").exists()


async def test_without_its_library_or_port_tls_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing library and a port in use are named in one line, with what to do."""
    async with run_forwarder("http://127.0.0.1:1", "127.0.0.1", 0, tmp_path) as (_, url):
        with pytest.raises(CannotStart, match="cannot listen with TLS on port"):
            async with run_forwarder("http://127.0.0.1:1", "127.0.0.1", int(url.rpartition(":")[2]), tmp_path):
                pytest.fail("two listeners on one port")
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(CannotStart, match=r"pip install 'callout\[tls\]'"):
        create_context("127.0.0.1", tmp_path)


async def test_a_phone_reaches_the_server_with_tls(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that trusts the demo's certificate authority reaches the server by TLS. The forwarder knows the real
    address of the client by the port that the server sees, also for a while after the connection has ended. Otherwise a
    request that the server still handles would count as one of this machine.
    """
    monkeypatch.setattr(tls, "PEER_KEPT_S", 0.5)
    failures: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, failure: failures.append(failure))
    async with run_forwarder(server.url, "127.0.0.1", 0, tmp_path) as (forwarder, url):
        context = ssl.create_default_context(cafile=str(tmp_path / AUTHORITY_FILE))
        port = int(url.rpartition(":")[2])
        for _ in range(5):  # a client that has gone at once has no address
            _, gone = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            gone.transport.abort()
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"GET /v1/meta HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await wait_until(lambda: forwarder.open == 1, what="the end of the connections whose clients have gone")
        assert [*forwarder.peers.values()][-1] == "127.0.0.1"
        writer.close()
        await wait_until(lambda: forwarder.open == 0, what="the end of the connection at the forwarder")
        assert [*forwarder.peers.values()][-1] == "127.0.0.1"
        await wait_until(lambda: not forwarder.peers, what="the end of the time in which the address is known")
    assert failures == []


def printed(reach: Reach, *, is_terminal: bool) -> str:
    """Return what a demo prints when it has started."""
    output = io.StringIO()
    console = Console(file=output, force_terminal=is_terminal, width=120, color_system=None, soft_wrap=True)
    print_welcome(console, "http://127.0.0.1:8700", "http://192.168.1.7:8700", Path("/data"), LOGINS, reach)
    return output.getvalue()


def test_the_box_has_addresses_logins_and_a_code_for_a_phone() -> None:
    """On a terminal the demo prints a box with a QR code, in a file plain lines. Both have the addresses of the demo
    and the logins.
    """
    box, lines = printed(Reach(), is_terminal=True), printed(Reach(), is_terminal=False)
    for text in (box, lines):
        assert all(
            part in text for part in ("http://127.0.0.1:8700/console", "robin@callout.example", "secret", "--lan")
        )
    code = qr_text("http://192.168.1.7:8700").plain.splitlines()
    assert len(code) >= 12 and all(line.strip() in box for line in code) and "▀" not in lines
    assert "--lan-open" in printed(Reach(is_lan=True), is_terminal=False)
    assert "--lan-open" not in printed(Reach(is_lan=True, is_open=True), is_terminal=False)
