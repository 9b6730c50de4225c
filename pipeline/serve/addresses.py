"""What an IP address says of who has it. Pure."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

MOST_REMEMBERED = 1_024
IPV6_NETWORK_BITS = 64
"""What one customer of a network has, who may use each address in it."""


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can connect to an address.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: it may resolve to anything
        return False


@lru_cache(MOST_REMEMBERED)
def plain(address: str) -> str:
    """Return an address in the one way that it is compared in: of IPv4 behind a socket of both, the IPv4 address.

    >>> plain("::ffff:192.0.2.7"), plain("2001:DB8:0::1%eth0"), plain("unix:")
    ('192.0.2.7', '2001:db8::1', 'unix:')
    """
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found.ipv4_mapped or found)


@lru_cache(MOST_REMEMBERED)
def network_of(address: str) -> str:
    """Return what counts as one address: of IPv6, the network of /64.

    >>> network_of("192.0.2.7"), network_of("2001:db8:1:2:3:4:5:6"), network_of("")
    ('192.0.2.7', '2001:db8:1:2::', '')
    >>> network_of("::ffff:192.0.2.7")
    '192.0.2.7'
    """
    same = plain(address)
    if ":" not in same:
        return same
    try:
        whole = int(ipaddress.IPv6Address(same))
    except ValueError:
        return same
    below = 128 - IPV6_NETWORK_BITS
    return str(ipaddress.IPv6Address(whole >> below << below))
