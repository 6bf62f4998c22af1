"""BGP: KEEPALIVE.

Source  RFC 4271 sections 4.1 (header), 4.2 (OPEN), 4.4 (KEEPALIVE). Beats are one way: each side sends its own.
Sees    the header of each message.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.letters import number
from analyzer.protocols.messages.state import BEAT, BROKEN, SAID
from analyzer.protocols.verdict import MORE, NO, YES

WANT = 19
_MARKER = 16
_OPEN, _KEEPALIVE, _ROUTE_REFRESH = 1, 4, 5
_SHORTEST_OPEN = 29


@routine
def looks_like_bgp(first: U8, at: int, n: int, midstream: int) -> int:
    """Answer YES for sixteen bytes of ones and an OPEN, in mid-stream for any message."""
    k = 0
    while k < n and k < _MARKER and first[at + k] == 255:
        k += 1
    if k < _MARKER:
        return MORE if k == n else NO
    if n < WANT:
        return MORE
    length, kind = number(first, at + 16, 2), int(first[at + 18])
    if midstream:
        return YES if length >= WANT and _OPEN <= kind <= _ROUTE_REFRESH else NO
    return YES if length >= _SHORTEST_OPEN and kind == _OPEN else NO


@routine
def take_bgp(s: Records) -> int:
    """Marker, length, type."""
    for k in range(_MARKER):
        if s.head[k] != 255:
            return BROKEN
    length, kind = number(s.head, 16, 2), int(s.head[18])
    if length < WANT or kind < _OPEN or kind > _ROUTE_REFRESH or (kind == _KEEPALIVE and length != WANT):
        return BROKEN
    s.proof, s.left = 1, length - WANT
    return BEAT if kind == _KEEPALIVE else SAID
