"""Connections to public addresses only, for requests to an address that a user chose.

The name is resolved, each address is checked, and the connection goes to a checked address. So a name that resolves to
a public address at the check and to a private one afterwards reaches nothing. (Rejected: a check of the URL. It cannot
know what a name resolves to at the moment of the connection.)
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection, Iterable
from ipaddress import IPv6Address, ip_address, ip_network

import httpcore

_EMBEDDED_IPV4 = tuple(ip_network(each) for each in ("64:ff9b::/96", "2002::/16", "2001::/32", "::/96"))
"""NAT64, 6to4, Teredo and IPv4-compatible addresses: they contain an IPv4 address, which may be private."""


class PrivateAddress(Exception):
    """Raised when a name resolves to an address that is not public."""


class PublicNetwork(httpcore.AsyncNetworkBackend):
    """The network of a connection pool. ``trusted`` are hosts with ports (``host:port``) that may be private."""

    def __init__(self, trusted: Collection[str] = ()) -> None:
        self._trusted = frozenset(trusted)
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of ``host`` that answers. Raises PrivateAddress, httpcore.ConnectError."""
        addresses = await _resolve(host, port)
        if f"{host}:{port}" not in self._trusted and not all(is_public(each) for each in addresses):
            raise PrivateAddress(f"{host} is no public address")
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Wait, before the pool connects again."""
        await asyncio.sleep(seconds)


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public internet."""
    found = ip_address(address)
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return found.is_global and not found.is_multicast and not any(found in each for each in _EMBEDDED_IPV4)


async def _resolve(host: str, port: int) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(f"{host}: {error.strerror}") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
