"""Decides which network addresses a fetch may connect to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_NOT_PUBLIC_V4 = (
    IPv4Network("100.64.0.0/10"),  # shared by the customers of a provider
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv4Network("192.0.0.0/24"),  # of protocols, and Oracle's metadata; older releases of Python call most of it global
    IPv4Network("168.63.129.16/32"),  # what every machine on Azure asks for its own configuration
)
_NOT_PUBLIC_V6 = (
    IPv6Network("2001::/23"),  # of protocols
    IPv6Network("3fff::/20"),  # for documentation, as newer releases of Python know
)


def parsed(text: str) -> IPv4Address | IPv6Address:
    """Return an address; the IPv4 address of one that is mapped to IPv6.

    Raises:
        ValueError: It is not an address, or one with a zone.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"{text!r} has a zone, so it is of a local network")
        return address.ipv4_mapped or address
    return address


def is_public(text: str) -> bool:
    """Return True if an address is of the public internet.

    An address that carries another one, as NAT64 and 6to4 do, is judged by both.
    """
    try:
        address = parsed(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return _is_public_v4(address)
    if address in _NAT64:
        return _is_public_v4(IPv4Address(int(address) & 0xFFFF_FFFF))
    inner = address.sixtofour
    if inner is not None and not _is_public_v4(inner):
        return False
    return address in _GLOBAL_UNICAST and address.is_global and not any(address in network for network in _NOT_PUBLIC_V6)


def _is_public_v4(address: IPv4Address) -> bool:
    special = address.is_multicast or address.is_reserved or any(address in network for network in _NOT_PUBLIC_V4)
    return address.is_global and not special


def networks(given: Iterable[str]) -> Sequence[Network]:
    """Parse the networks that are allowed besides the public internet.

    Raises:
        ValueError: One of them is not a network.
    """
    if isinstance(given, str):
        raise ValueError(f"allow must be a list of networks, such as ['127.0.0.0/8'], not {given!r}")  # noqa: TRY004 - as below
    try:
        return [ip_network(one) for one in given]
    except ValueError as error:
        raise ValueError(f"allow must be networks, such as 127.0.0.0/8: {error}") from error
