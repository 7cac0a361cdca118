"""Connections to public addresses only, for requests to an address that a user chose.

The name is resolved, each address is checked, and the connection goes to a checked address. So a name that resolves to
a public address at the check and to a private one afterwards reaches nothing. (Rejected: a check of the URL. It cannot
know what a name resolves to at the moment of the connection.)
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpcore

_NAT64 = ip_network("64:ff9b::/96")
_TUNNELS = tuple(ip_network(each) for each in ("2002::/16", "2001::/32", "::/96"))
"""6to4, Teredo and IPv4-compatible addresses. No push service has one, and each contains an IPv4 address."""
RESOLVER_COUNT = 16
"""How many names are resolved at once. The threads are not those of the event loop's executor: names whose servers do
not answer would occupy them, and files and passwords would wait.
"""


class PrivateAddress(Exception):
    """Raised when a name resolves to an address that is not public."""


class PublicNetwork(httpcore.AsyncNetworkBackend):
    """The network of a connection pool. ``trusted`` are hosts with ports (``host:port``) that may be private."""

    def __init__(self, trusted: Collection[str] = ()) -> None:
        self._trusted = frozenset(trusted)
        self._inner = httpcore.AnyIOBackend()
        self._resolvers = ThreadPoolExecutor(RESOLVER_COUNT, thread_name_prefix="push-resolver")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of ``host`` that answers; each has its share of ``timeout``. Raises
        PrivateAddress, httpcore.ConnectError.
        """
        addresses = await self._resolve(host, port)
        if f"{host}:{port}" not in self._trusted and not all(is_public(each) for each in addresses):
            raise PrivateAddress(f"{host} is no public address")
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        share_s = timeout and timeout / max(1, len(addresses))
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, share_s, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Wait, before the pool connects again."""
        await asyncio.sleep(seconds)

    def close(self) -> None:
        """End the threads that resolve names; those that still wait for an answer end by themselves."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def _resolve(self, host: str, port: int) -> list[str]:
        loop, name = asyncio.get_running_loop(), host.strip("[]")
        try:
            found = await loop.run_in_executor(
                self._resolvers, partial(socket.getaddrinfo, name, port, type=socket.SOCK_STREAM)
            )
        except (OSError, UnicodeError) as error:  # a name that IDNA does not allow is a UnicodeError
            raise httpcore.ConnectError(f"{host}: {error}") from error
        return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public internet."""
    found = ip_address(address)
    if isinstance(found, IPv6Address) and found in _NAT64:  # how a network without IPv4 reaches a host that has only it
        found = IPv4Address(int(found) & 0xFFFFFFFF)
    elif isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return found.is_global and not found.is_multicast and not any(found in each for each in _TUNNELS)
