"""Which connection of one capture is which of the other, also behind a NAT that gave it another address.

What    A segment is known by the sequence and acknowledgement numbers it carries: 64 bits that two connections have in
        common by chance in no capture. The connections that share most of them are one. Segments that a network card
        put together or took apart share the number they begin with, often enough.
        Where a box rewrites sequence numbers, the same addresses do, if both captures have the SYN.
Gives   Pair
Limits  A proxy ends one TCP connection and begins another: these are two connections, and stay unpaired.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzer.kernel import I64
from analyzer.twopoint.point import SYN, Point

_ENDS = ("client_ip", "client_port", "server_ip", "server_port")


class Pair(NamedTuple):
    """Connection `first` of the first capture is `second` of the second.

    by       "sequence" or "address"
    swapped  the second capture, which may have begun late, takes the client for the server
    shift    what must be added to the second capture's sequence numbers of client and server to have the first's
    """

    first: int
    second: int
    by: str
    swapped: bool
    shift: tuple[int, int]


def pairs_of(one: Point, two: Point) -> list[Pair]:
    """Return the connections that both captures have, by number in the first."""
    key_one, at_one = _numbers(one)
    key_two, at_two = _numbers(two)
    _, in_one, in_two = np.intersect1d(key_one, key_two, assume_unique=True, return_indices=True)
    here, there = at_one[in_one], at_two[in_two]
    order = np.lexsort((two.segments["flow"][there], one.segments["flow"][here]))
    here, there = here[order], there[order]
    places = _places(one.segments["flow"][here], two.segments["flow"][there])
    found: dict[int, Pair] = {}
    taken: set[int] = set()
    for (first, second), shared in sorted(places.items(), key=lambda item: (item[1].start - item[1].stop, item[0])):
        if first not in found and second not in taken:
            found[first] = _paired(one, two, here[shared], there[shared])
            taken.add(second)
    for pair in _by_address(one, two, found, taken):
        found[pair.first] = pair
    return [found[first] for first in sorted(found)]


def _numbers(point: Point) -> tuple[NDArray[np.uint64], I64]:
    """Return what segments are known by, each once, and the segment that had it first; a bare RST has half of it."""
    has_ack = point.wire & np.uint64(0xFFFFFFFF) != 0
    told = np.flatnonzero(has_ack | (point.segments["bits"] & SYN != 0) | (point.segments["len"] > 0))
    keys, first = np.unique(point.wire[told], return_index=True)
    return keys, told[first]


def _places(first: I64, second: I64) -> dict[tuple[int, int], slice]:
    """Return where in sorted columns each pair of connections stands."""
    if first.size == 0:
        return {}
    new = np.flatnonzero((np.diff(first) != 0) | (np.diff(second) != 0)) + 1
    bounds = [0, *new.tolist(), first.size]
    return {(int(first[a]), int(second[a])): slice(a, b) for a, b in pairwise(bounds)}


def _paired(one: Point, two: Point, here: I64, there: I64) -> Pair:
    """Return the pair that shares these segments."""
    mine, theirs = one.segments[here], two.segments[there]
    swapped = bool(np.count_nonzero(mine["side"] != theirs["side"]) * 2 > here.size)
    first, second = int(mine["flow"][0]), int(theirs["flow"][0])
    shift = []
    for side in (0, 1):
        shared = np.flatnonzero(mine["side"] == side)
        if shared.size:
            shift.append(int(mine["seq"][shared[0]] - theirs["seq"][shared[0]]))
        else:
            shift.append(_shift_on_the_wire(one, two, first, second, side, swapped))
    return Pair(first, second, "sequence", swapped, (shift[0], shift[1]))


def _shift_on_the_wire(one: Point, two: Point, first: int, second: int, side: int, swapped: bool) -> int:
    """Return the shift of a side that said nothing both captures have: numbers on the wire are the same."""
    base = []
    for point, flow, at_side in ((one, first, side), (two, second, side ^ swapped)):
        where = point.of(flow)
        rows = np.flatnonzero(point.segments["side"][where] == at_side)
        if rows.size == 0:
            return 0
        base.append(int(point.wire[where][rows[0]] >> np.uint64(32)) - int(point.segments["seq"][where][rows[0]]))
    return (base[1] - base[0] + (1 << 31)) % (1 << 32) - (1 << 31)


def _by_address(one: Point, two: Point, found: dict[int, Pair], taken: set[int]) -> list[Pair]:
    """Return pairs of connections of the same ends, both from their SYN on, that said something of the same length.

    Their times say nothing: the clocks may be hours apart.
    """

    def ends(flow: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(flow[name] for name in _ENDS)

    free: dict[tuple[Any, ...], list[int]] = {}
    for number, flow in two.flows.items():
        if number not in taken and flow["start_seen"]:
            free.setdefault(ends(flow), []).append(number)
    more = []
    for number, flow in one.flows.items():
        others = free.get(ends(flow), []) if number not in found and flow["start_seen"] else []
        for other in others:
            if _said(one, number) & _said(two, other):
                more.append(Pair(number, other, "address", swapped=False, shift=(0, 0)))
                others.remove(other)
                break
    return more


def _said(point: Point, flow: int) -> set[tuple[int, int]]:
    """Return where the data of a connection ends, with its side."""
    rows = point.segments[point.of(flow)]
    rows = rows[rows["len"] > 0]
    return set(zip(rows["side"].tolist(), (rows["seq"] + rows["len"]).tolist(), strict=True))
