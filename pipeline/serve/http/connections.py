"""Which connections a node keeps when more come than it has places for. Pure.

Of a new connection nothing is known until it has shown a key, so it is always let in, and what makes room is the
oldest *stranger*: one that has shown none yet. Who holds all places and stays silent loses them one by one to whoever
comes, and a caller with a key is a stranger for one round trip only. Without strangers the caller with most connections
gives one that is idle. A newcomer is turned away only where every place is a known caller's that is being answered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Generic, Protocol, TypeVar

from pipeline.serve.addresses import network_of


class Connection(Hashable, Protocol):
    """What is kept or not."""

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for an answer on it."""


C = TypeVar("C", bound=Connection)


class Connections(Generic[C]):
    """All connections of a listener: strangers in the order in which they came, known ones by their owner."""

    def __init__(self, most: int, most_of_address: int) -> None:
        self._most = most
        self._most_of_address = most_of_address
        self._strangers: OrderedDict[C, str] = OrderedDict()
        self._of_address: dict[str, OrderedDict[C, None]] = {}
        self._known: dict[str, OrderedDict[C, None]] = {}
        self._owner: dict[C, str] = {}

    def __len__(self) -> int:
        return len(self._strangers) + len(self._owner)

    @property
    def strangers(self) -> int:
        """How many have shown no key."""
        return len(self._strangers)

    def enter(self, connection: C, address: str) -> Sequence[C]:
        """Take a new connection; return those that have to go for it: itself, where there is no place."""
        network = network_of(address)
        leaving = []
        of_address = self._of_address.get(network)
        if of_address is not None and len(of_address) >= self._most_of_address:
            leaving.append(next(iter(of_address)))
        elif len(self) >= self._most:
            found = self._least_missed()
            if found is None:
                return [connection]
            leaving.append(found)
        for each in leaving:
            self.leave(each)
        self._strangers[connection] = network
        self._of_address.setdefault(network, OrderedDict())[connection] = None
        return leaving

    def own(self, connection: C, owner: str) -> None:
        """Note who a connection has turned out to be of."""
        if connection not in self._strangers:
            return  # it is somebody's, or has ended
        self._forget_stranger(connection)
        self._owner[connection] = owner
        self._known.setdefault(owner, OrderedDict())[connection] = None

    def leave(self, connection: C) -> None:
        """Forget a connection, which may be forgotten already."""
        if connection in self._strangers:
            self._forget_stranger(connection)
        owner = self._owner.pop(connection, None)
        if owner is not None:
            of_owner = self._known[owner]
            del of_owner[connection]
            if not of_owner:
                del self._known[owner]

    def _least_missed(self) -> C | None:
        if self._strangers:
            return next(iter(self._strangers))
        largest = max(self._known.values(), key=len)
        return next((connection for connection in largest if connection.is_idle), None)

    def _forget_stranger(self, connection: C) -> None:
        network = self._strangers.pop(connection)
        of_address = self._of_address[network]
        del of_address[connection]
        if not of_address:
            del self._of_address[network]
