"""Check who may use the one-click logins and the faults of a demo: only a person at this machine, in a page of this
server.

A caller of these routes can become an admin with one request. Therefore four things are checked. The peer must be this
machine, because others may reach the port. No proxy may stand between the peer and the server: a proxy or a tunnel at
this machine forwards the requests of others, often with a ``Host`` of this machine. The ``Host`` must name this
machine: with DNS rebinding, a stranger's page has a name that resolves to 127.0.0.1, and the browser then treats the
page and this server as the same site. The browser must report that the request comes from a page of this server,
because any page may send a POST.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

from server.web.demo_relay import Visit

SAME_SITE = (None, "same-origin", "none")
"""``Sec-Fetch-Site`` of a page of this server, of an address that a person typed, and of a program."""
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@\s]+))(?::[0-9]*)?")
"""A ``Host`` header: an IPv6 address in brackets, or a name or an IPv4 address; and a port."""


def refusal_of(visit: Visit, peer: str, *, is_open: bool) -> str:
    """Return why the visit is refused; "" if it is allowed. ``peer`` is the address of the caller, and ``is_open``
    whether the demo answers the whole network (`--lan-open`).
    """
    if not is_open and not _is_loopback(peer):
        return "Only this machine may do this; `callout demo --lan-open` allows it to the whole network"
    if is_open and not _is_near(peer):
        return "Only the local network may do this"
    if visit.forwarded:
        return f"A proxy sent this ({visit.forwarded}): who is behind it is not known"
    if len(visit.hosts) != 1 or not _is_own_name(_host_name(visit.hosts[0]), is_open=is_open):
        return "Open the demo by the address that it printed: this Host is another name"
    if visit.origin is not None and visit.origin.partition("://")[2] != visit.hosts[0]:
        return "This page is of another site"
    if visit.fetch_site not in SAME_SITE:
        return "This page is of another site"
    if visit.method == "POST" and visit.content_type.partition(";")[0].strip() != "application/json":
        return "Send JSON: a form of another site cannot"
    return ""


def _is_loopback(address: str) -> bool:
    found = _ip_of(address)
    return found is not None and (getattr(found, "ipv4_mapped", None) or found).is_loopback


def _is_near(address: str) -> bool:
    """Return whether an address is of this machine or of a private network, not one of the internet."""
    found = _ip_of(address)
    return found is not None and not (getattr(found, "ipv4_mapped", None) or found).is_global


def _is_own_name(name: str, *, is_open: bool) -> bool:
    """Return whether a name or address is this machine's, without asking a DNS server that others control."""
    if name == "localhost" or _is_loopback(name):
        return True
    own = socket.gethostname().lower()
    return is_open and (_ip_of(name) is not None or name in (own, f"{own}.local"))


def _host_name(host: str) -> str:
    """Return the name in a ``Host`` header, without the port and the brackets of an IPv6 address; "" if the header has
    another form.
    """
    found = _HOST.fullmatch(host)
    return (found[1] or found[2]).lower() if found else ""


def _ip_of(address: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(address)
    except ValueError:
        return None
