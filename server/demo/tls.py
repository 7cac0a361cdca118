"""TLS for the phones of a local network: a listener that forwards the decrypted bytes to the server of the demo.

Browsers allow geolocation, push and service workers only in pages with TLS. The library trustme makes the certificate
at each start. It is signed by a certificate authority that exists only in memory; the authority's own certificate is
written to the data directory, so that it can be installed on a phone. (Rejected: TLS in the server itself. A production
server is behind a proxy, which renews its certificates.)

For the server, all forwarded connections come from this machine. ``peers`` has the real addresses for the guard of the
demo.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from engine.process.datadir import CannotStart

AUTHORITY_FILE = "demo-ca.pem"
READ_BYTES = 64 * 1024
PEER_KEPT_S = 60.0
"""How long (s) the address of a connection is known after its end. The server may still work on a request of a client
that has gone, and would treat the request as one from this machine. This time is longer than the relay waits for an
answer. The operating system does not use the port again within this time (TIME_WAIT).
"""


class Forwarder:
    """Forwards connections to one server. ``peers`` are the real addresses, by the port that the server sees, and
    ``open`` is the number of connections.
    """

    def __init__(self, url: str) -> None:
        self.peers: dict[int, str] = {}
        self.open = 0
        self._forgetting: dict[int, asyncio.TimerHandle] = {}
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until one of its sides ends."""
        try:
            from_server, to_server = await asyncio.open_connection(self._host, self._port)
        except OSError:
            return writer.close()
        port = to_server.get_extra_info("sockname")[1]
        self._begin(port, (writer.get_extra_info("peername") or ("",))[0])  # none: the client has gone
        pumps = {asyncio.create_task(_pump(reader, to_server)), asyncio.create_task(_pump(from_server, writer))}
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._end(port)
            for end in (writer, to_server):
                end.close()
        return None

    def _begin(self, port: int, address: str) -> None:
        if earlier := self._forgetting.pop(port, None):
            earlier.cancel()
        self.peers[port] = address
        self.open += 1

    def _end(self, port: int) -> None:
        self.open -= 1
        self._forgetting[port] = asyncio.get_running_loop().call_later(PEER_KEPT_S, self._forget, port)

    def _forget(self, port: int) -> None:
        del self._forgetting[port], self.peers[port]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(READ_BYTES):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def run_forwarder(url: str, address: str, port: int, data: Path) -> AsyncIterator[tuple[Forwarder, str]]:
    """Listen with TLS on all addresses of this machine while the block runs. Yield the forwarder, and the URL for other
    devices, with ``address``. Raises CannotStart if trustme is missing or the port is in use.
    """
    forwarder = Forwarder(url)
    context = create_context(address, data)
    try:
        server = await asyncio.start_server(forwarder.forward, "0.0.0.0", port, ssl=context)
    except OSError as error:
        raise CannotStart(f"cannot listen with TLS on port {port}: {error.strerror}") from error
    try:
        yield forwarder, f"https://{address}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def create_context(address: str, data: Path) -> ssl.SSLContext:
    """Return a TLS context with a new certificate for ``address`` and this machine. Raises CannotStart."""
    try:
        import trustme
    except ImportError as error:
        raise CannotStart("--tls needs the library trustme: pip install 'callout[tls]'") from error
    authority = trustme.CA(organization_name="Callout demo")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(address, "localhost", "127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(data / AUTHORITY_FILE))
    return context
