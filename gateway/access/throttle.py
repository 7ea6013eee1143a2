"""How often one peer may be wrong. Pure: time is an argument.

An attempt is paid for before it is checked and given back when it was right, so attempts that run
at the same time count as well. IPv6 peers count by their /64: whoever has one address has them all.
A peer behind a proxy shares its allowance with the others there: those whose password has been
checked lately are not asked to pay.
"""

import ipaddress
import math
from collections import OrderedDict

from protocol.errors import TooManyRequests


class Throttle:
    """``failures_max`` at once, and one more each ``failure_s``; ``peers_max`` are remembered."""

    def __init__(self, failures_max: int, failure_s: float, peers_max: int) -> None:
        self._failures_max = failures_max
        self._failure_s = failure_s
        self._peers_max = peers_max
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """by network: attempts that are left, and at what time"""

    def pay(self, peer: str, now: float) -> str:
        """One attempt of that peer; returns what to give back to. Raises `TooManyRequests`."""
        network = network_of(peer)
        left = self._refilled(network, now)
        if left < 1.0:
            wait_s = math.ceil((1.0 - left) * self._failure_s)
            raise TooManyRequests("Too many wrong passwords came from there. Try later.", wait_s)
        self._keep(network, left - 1.0, now)
        return network

    def give_back(self, network: str, now: float) -> None:
        """It was right, or was not checked at all."""
        self._keep(network, self._refilled(network, now) + 1.0, now)

    def _refilled(self, network: str, now: float) -> float:
        left, at = self._left.get(network, (float(self._failures_max), now))
        return min(left + max(0.0, now - at) / self._failure_s, self._failures_max)

    def _keep(self, network: str, left: float, now: float) -> None:
        self._left[network] = (left, now)
        self._left.move_to_end(network)
        if len(self._left) > self._peers_max:
            self._left.popitem(last=False)


def network_of(peer: str) -> str:
    """What counts as one peer: an IPv4 address, an IPv6 /64; a port does not matter."""
    for text in (peer, peer.rpartition(":")[0]):
        try:
            address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
        except ValueError:
            continue
        if isinstance(address, ipaddress.IPv4Address):
            return str(address)
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return peer[:64]
