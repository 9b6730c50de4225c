from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from pipeline.serve.http.connections import Connections


@dataclass(eq=False)
class Peer:
    is_idle: bool = True


def test_the_oldest_stranger_makes_room() -> None:
    places: Connections[Peer] = Connections(3, 3)
    known, first, second = Peer(), Peer(), Peer()
    for each in (known, first, second):
        assert places.enter(each, "a") == []
    places.own(known, "key shop")
    assert places.enter(Peer(), "b") == [first]
    assert places.enter(Peer(), "b") == [second]
    assert len(places) == 3


def test_an_address_makes_room_for_itself() -> None:
    places: Connections[Peer] = Connections(10, 2)
    first, second, elsewhere = Peer(), Peer(), Peer()
    for each, address in ((elsewhere, "b"), (first, "a"), (second, "a")):
        assert places.enter(each, address) == []
    assert places.enter(Peer(), "a") == [first]


def test_addresses_of_one_ipv6_network_are_one() -> None:
    places: Connections[Peer] = Connections(10, 1)
    first = Peer()
    places.enter(first, "2001:db8::1")
    assert places.enter(Peer(), "2001:db8:0:1::1") == []
    assert places.enter(Peer(), "2001:db8::2") == [first]


def test_without_strangers_whoever_has_most_gives_one_that_is_idle() -> None:
    places: Connections[Peer] = Connections(3, 3)
    busy, idle, others = Peer(is_idle=False), Peer(), Peer()
    for each, owner in ((others, "key till"), (busy, "key shop"), (idle, "key shop")):
        places.enter(each, "a")
        places.own(each, owner)
    assert places.enter(Peer(), "a") == [idle]


def test_only_where_all_are_known_and_busy_is_a_newcomer_turned_away() -> None:
    places: Connections[Peer] = Connections(1, 1)
    busy, newcomer = Peer(is_idle=False), Peer()
    places.enter(busy, "a")
    places.own(busy, "key shop")
    assert places.enter(newcomer, "a") == [newcomer]
    places.leave(busy)
    assert places.enter(newcomer, "a") == []


@given(st.lists(st.tuples(st.sampled_from(["enter", "own", "leave"]), st.integers(0, 9), st.booleans()), max_size=80))
def test_there_are_never_more_than_there_are_places_and_nothing_is_kept_of_the_gone(
    steps: list[tuple[str, int, bool]],
) -> None:
    places: Connections[Peer] = Connections(6, 3)
    held: list[Peer] = []
    for step, number, is_idle in steps:
        if step == "enter":
            peer = Peer(is_idle)
            leaving = places.enter(peer, f"192.0.2.{number % 3}")
            held = [each for each in (*held, peer) if each not in leaving]
        elif held:
            peer = held[number % len(held)]
            if step == "own":
                places.own(peer, f"key {number % 2}")
            else:
                places.leave(peer)
                held.remove(peer)
        assert len(places) == len(held) <= 6
    for peer in held:
        places.leave(peer)
    assert not places._strangers
    assert not places._of_address
    assert not places._known
    assert not places._owner


def test_addresses_of_ipv4_at_a_listener_for_both_are_told_apart() -> None:
    places: Connections[Peer] = Connections(10, 1)
    first = Peer()
    places.enter(first, "::ffff:192.0.2.7")
    assert places.enter(Peer(), "::ffff:192.0.2.8") == []
    assert places.enter(Peer(), "::ffff:192.0.2.7") == [first]
