"""How far two clocks are apart, from what crossed between them in both directions.

What    A segment needs some time between the points, never less than none. The quickest of each direction bound the
        difference of the clocks from both sides; its middle is the estimate, half of what lies between them its error
        (as in NTP, RFC 5905 section 8). Which capture is nearer the client shows in the same numbers.
Gives   Clock
Limits  One difference for a connection: clocks that drift apart by more than the tolerance of `crossing` in its time
        blur what is told by time alone. Segments that were sent again say nothing, since the later is what arrived.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from analyzer.kernel import I64, Records
from analyzer.twopoint.point import FIN, PROBE, SYN, WINDOW_PROBE


class Clock(NamedTuple):
    """ahead_ns: second capture's clock minus the first's. path_ns: from one point to the other and back.

    near  which capture is nearer the client: 0 the first, 1 the second
    """

    ahead_ns: int
    path_ns: int
    near: int


def clock_of(mine: Records, theirs: Records) -> Clock | None:
    """Return the clocks' difference by one connection, None where not both directions have something in common.

    mine, theirs  SEGMENT rows of the two captures, with the same sequence numbers
    """
    spans = [_delays(mine, theirs, side) for side in (0, 1)]
    if not spans[0].size or not spans[1].size:
        return None
    from_client, from_server = spans
    near = 0 if np.median(from_client) >= np.median(from_server) else 1
    if near == 0:
        least, most = int(from_client.min()), int(from_server.max())
    else:
        least, most = int(from_server.min()), int(from_client.max())
    return Clock((least + most) // 2, max(least - most, 0), near)


def _delays(mine: Records, theirs: Records, side: int) -> I64:
    """Return second clock minus first of what `side` said, by where it ends, each time it was first seen.

    Of a side that only acknowledges, by what its ACKs say.
    """
    ends, at = _ends(mine, side)
    other_ends, other_at = _ends(theirs, side)
    if not ends.size or not other_ends.size:
        ends, at = _acks(mine, side)
        other_ends, other_at = _acks(theirs, side)
    _, here, there = np.intersect1d(ends, other_ends, assume_unique=True, return_indices=True)
    delays: I64 = theirs["ts"][other_at[there]] - mine["ts"][at[here]]
    return delays


def _ends(rows: Records, side: int) -> tuple[I64, I64]:
    """Return the numbers at which data, SYN and FIN of a side end, each once, and its first row."""
    bits = rows["bits"]
    said = ((rows["len"] > 0) | (bits & (SYN | FIN) != 0)) & (bits & (PROBE | WINDOW_PROBE) == 0)
    at = np.flatnonzero((rows["side"] == side) & said)
    extra = (bits[at] & SYN != 0).astype(np.int64) + (bits[at] & FIN != 0)
    ends, first = np.unique(rows["seq"][at] + rows["len"][at] + extra, return_index=True)
    return ends, at[first]


def _acks(rows: Records, side: int) -> tuple[I64, I64]:
    """Return the numbers that a side acknowledged, each once, and its first row."""
    at = np.flatnonzero((rows["side"] == side) & (rows["ack"] >= 0))
    acks, first = np.unique(rows["ack"][at], return_index=True)
    return acks, at[first]
