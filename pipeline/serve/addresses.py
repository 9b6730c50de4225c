"""What an IP address says of who has it. Pure."""

from __future__ import annotations

import ipaddress

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


def network_of(address: str) -> str:
    """Return what counts as one address: of IPv6, the network of /64.

    >>> network_of("192.0.2.7"), network_of("2001:db8:1:2:3:4:5:6"), network_of("")
    ('192.0.2.7', '2001:db8:1:2::', '')
    """
    if ":" not in address:
        return address
    try:
        whole = int(ipaddress.IPv6Address(address.partition("%")[0]))
    except ValueError:
        return address
    below = 128 - IPV6_NETWORK_BITS
    return str(ipaddress.IPv6Address(whole >> below << below))
