"""BGP: KEEPALIVE, and NOTIFICATION, which closes a connection.

Source  RFC 4271 sections 4.1 (header), 4.2 (OPEN), 4.4 (KEEPALIVE), 4.5 (NOTIFICATION: it always names an
        error; Cease is none). Beats are one way: each side sends its own.
Sees    the header of each message, and a NOTIFICATION's error code.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.letters import number
from analyzer.protocols.messages.state import BEAT, BROKEN, FAILED, GOODBYE, SAID
from analyzer.protocols.messages.state import MORE as MORE_BYTES
from analyzer.protocols.verdict import MORE, NO, YES

WANT = 19
_MARKER = 16
_OPEN, _NOTIFICATION, _KEEPALIVE, _ROUTE_REFRESH = 1, 3, 4, 5
_CEASE = 6
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
    if kind == _NOTIFICATION and length > WANT and s.head_len == WANT:
        s.want = WANT + 1
        return MORE_BYTES
    s.proof, s.want, s.left = 1, WANT, length - s.head_len
    if kind == _NOTIFICATION:
        return GOODBYE if s.head[WANT] == _CEASE else FAILED
    return BEAT if kind == _KEEPALIVE else SAID
